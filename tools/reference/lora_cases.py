"""LoRA files: every spelling and algorithm, on every family, alone and together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .lora_files import LoraSpec, LoraUse
from .parity_case import ParityCase
from .pictures import PictureRequest

SHORT = PictureRequest(steps=3, width=48, height=32, seed=3)

SPELLINGS = ("kohya", "kohya-original", "peft", "peft-default", "processors", "lycoris", "comfy")
SPECS = {
    spec.name: spec
    for spec in (
        *(LoraSpec(spelling, spelling) for spelling in SPELLINGS),
        LoraSpec("cloneofsimo", "cloneofsimo"),
        LoraSpec("cloneofsimo-convs", "cloneofsimo", convs=True),
        LoraSpec("cloneofsimo-old", "cloneofsimo-old"),
        LoraSpec("no-alpha", alpha=False),
        LoraSpec("alphas", alphas=True),
        LoraSpec("unet-only", parts="unet"),
        LoraSpec("te-only", parts="te"),
        LoraSpec("locon", convs=True),
        LoraSpec("locon-original", "kohya-original", convs=True),
        LoraSpec("locon-mid", "kohya-original", "tucker", convs=True),
        LoraSpec("loha", "kohya", "loha", convs=True),
        LoraSpec("lokr", "lycoris", "lokr", convs=True),
        LoraSpec("lokr-both", "kohya-original", "lokr", convs=True),
        LoraSpec("lokr-full", "comfy", "lokr", convs=True),
        LoraSpec("dora-peft", "peft", "dora", "unet", alpha=False, size=0.5),
        LoraSpec("dora-scale", "kohya", "dora_scale", convs=True, size=0.5),
        LoraSpec("diff", "kohya", "diff", convs=True),
        LoraSpec("norms", "kohya", "norm"),
        LoraSpec("glora", "kohya", "glora", convs=True),
        LoraSpec("ia3", "lycoris", "ia3", convs=True),
        LoraSpec("oft", "kohya", "oft", convs=True),
        LoraSpec("boft", "lycoris", "boft", convs=True),
    )
}


def lora_cases() -> Iterator[ParityCase]:
    for model in ("sd15", "sd21", "sdxl"):
        linear = model != "sd15"  # diffusers cannot load what PEFT writes of DoRA on convolutions
        for name in SPECS:
            if (name != "dora-peft" or linear) and not (model == "sdxl" and name.startswith("cloneofsimo")):
                yield _case(model, name, (name, 1.0, 1.0))
        for scale in (0.0, 0.5, -1.0):
            yield _case(model, f"scale-{scale}", ("kohya", scale, scale))
        yield _case(model, "scales-apart", ("kohya", 0.25, 1.5))
        if linear:
            yield _case(model, "scale-dora-peft", ("dora-peft", 0.5, 0.5))
        yield _case(model, "scale-dora-scale", ("dora-scale", 0.5, 0.5))
        for name in ("lokr", "glora", "ia3", "oft", "boft"):
            yield _case(model, f"scale-{name}", (name, 0.5, 0.5))
        yield _case(model, "several", ("kohya", 0.5, 0.5), ("peft", 1.0, 1.0), ("locon-mid", -0.5, 0.25))
        for form in ("original", "bfloat16"):
            if form == "original" or model in ("sd15", "sdxl"):
                for name in ("kohya", "kohya-original", "lokr-full", "norms"):
                    yield replace(_case(model, name, (name, 1.0, 1.0)), form=form)
    yield _case("ssd1b", "kohya-original", ("locon-mid", 1.0, 1.0))
    yield _case("sd1", "kohya", ("kohya", 1.0, 1.0))


def _case(model: str, name: str, *uses: tuple[str, float, float]) -> ParityCase:
    loras = tuple(LoraUse(model, SPECS[spec], unet, text) for spec, unet, text in uses)
    return ParityCase(f"lora-{name}", model, replace(SHORT, lora=loras))
