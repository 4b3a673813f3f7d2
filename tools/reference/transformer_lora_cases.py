"""LoRA files for Flux, Stable Diffusion 3 and PixArt: every spelling and algorithm, folders and single files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from .chroma import BASE as CHROMA_BASE
from .dit import BASE as DIT_BASE
from .flux import base_of
from .flux2 import BASE as FLUX2_BASE
from .lora_algorithms import LoraSpec
from .lora_files import LoraUse
from .parity_case import ParityCase
from .pictures import PictureRequest
from .pixart import BASE as PIXART_BASE
from .qwen_image import BASE as QWEN_IMAGE_BASE
from .sd3 import BASE as SD3_BASE
from .z_image import BASE as Z_IMAGE_BASE

_ALL = "unet te t5"
_SPECS = (
    *(LoraSpec(spelling, spelling, parts=_ALL, size=0.6)
      for spelling in ("kohya-makers", "comfy-makers", "bare-makers", "peft-bare", "peft-base", "onetrainer", "lycoris")),
    # Of the models after Flux.1.
    *(LoraSpec(spelling, spelling, parts="unet", size=0.6) for spelling in ("ai-toolkit-makers", "ai-toolkit", "kohya-diffusers", "bare-kohya")),
    # As diffusers reads it.
    LoraSpec("peft", "peft", size=0.6),
    LoraSpec("peft-unet", "peft", parts="unet", size=0.6),
    LoraSpec("peft-old", "peft-old", parts="unet", size=0.6),
    LoraSpec("peft-t5", "peft", parts=_ALL, size=0.6),
    LoraSpec("xlabs", "xlabs", parts="unet"),
    LoraSpec("kohya-double", "kohya-makers", parts="unet", only="^double_blocks"),
    LoraSpec("no-alpha", "kohya-makers", alpha=False, size=0.6),
    LoraSpec("alphas", "kohya-makers", alphas=True, size=0.6),
    LoraSpec("t5-only", "kohya-makers", parts="t5"),
    LoraSpec("block-sparse", "kohya-makers", parts="unet", only="qkv", blocks=True),
    LoraSpec("last", "kohya-makers", parts="unet", only="^final_layer"),
    LoraSpec("dora", "peft", "dora", "unet", size=0.3, only=r"^(?!pos_embed)"),
    LoraSpec("dora-scale", "kohya-makers", "dora_scale", parts=_ALL, size=0.3),
    LoraSpec("dora-columns", "kohya-makers", "dora_columns", parts="unet", size=0.3),
    LoraSpec("loha", "comfy-makers", "loha", size=0.6),
    LoraSpec("lokr", "lycoris", "lokr", size=0.6),
    LoraSpec("lokr-both", "kohya-makers", "lokr", size=0.6),
    LoraSpec("lokr-full", "kohya-makers", "lokr", size=0.6),
    LoraSpec("diff", "comfy-makers", "diff", size=0.6),
    LoraSpec("norms", "kohya-makers", "norm", parts="unet"),
    LoraSpec("replaced", "bare-makers", "replaced", parts="unet"),
    LoraSpec("replaced-scale", "bare-makers", "replaced", parts="unet"),
    LoraSpec("bias", "comfy-makers", "lora_bias", parts="unet", size=0.6),
    LoraSpec("glora", "kohya-makers", "glora", size=0.6),
    LoraSpec("ia3", "kohya-makers", "ia3", size=0.6),
    LoraSpec("oft", "kohya-makers", "oft", parts="unet", size=0.4),
    LoraSpec("boft", "kohya-makers", "boft", parts="unet", size=0.4),
)  # fmt: skip
SPECS: Mapping[str, LoraSpec] = {spec.name: spec for spec in _SPECS}

# What is asked of a model; what its LoRAs can be.
_MODELS: Mapping[str, PictureRequest] = {
    "flux-dev": base_of("flux-dev"),
    "sd35-medium": SD3_BASE,
    "pixart-sigma": PIXART_BASE,
    "z-image": Z_IMAGE_BASE,
    "flux2-klein": FLUX2_BASE,
    "chroma": CHROMA_BASE,
    "qwen-image": QWEN_IMAGE_BASE,
}
# Whose text encoder nothing here changes.
_OF_LANGUAGE_MODELS = ("z-image", "flux2-klein", "qwen-image")
_NEWER_BASES = {"z-image": Z_IMAGE_BASE, "flux2": FLUX2_BASE, "chroma": CHROMA_BASE, "qwen-image": QWEN_IMAGE_BASE}
_NEWER = ("ai-toolkit-makers", "ai-toolkit", "kohya-diffusers", "bare-kohya")


def transformer_lora_cases() -> Iterator[ParityCase]:
    for model in _MODELS:
        for name, spec in SPECS.items():
            if _has(model, spec):
                yield _case(model, name, (name, 1.0, 1.0))
        for scale in (0.0, 0.5, -1.0):
            yield _case(model, f"scale-{scale}", ("kohya-makers", scale, scale))
        yield _case(model, "scales-apart", ("comfy-makers", 0.25, 1.5))
        for name in ("dora-scale", "dora-columns", "bias", "lokr", "glora", "ia3", "oft", "boft"):
            if _has(model, SPECS[name]):
                yield _case(model, f"scale-{name}", (name, 0.5, 0.5))
        yield _case(model, "several", ("kohya-makers", 0.5, 0.5), ("peft-bare", 0.7, 1.0), ("lokr-both", -0.5, 0.25))
    yield _case("sd3", "kohya", ("kohya-makers", 1.0, 1.0))
    yield _case("sd35-large", "comfy", ("comfy-makers", 1.0, 1.0))
    yield _case("flux-schnell", "kohya", ("kohya-makers", 1.0, 1.0))
    yield _case("flux-control", "comfy", ("comfy-makers", 1.0, 1.0))
    yield _case("pixart-alpha-1024", "onetrainer", ("onetrainer", 1.0, 1.0))
    yield ParityCase("lora-peft", "dit", replace(DIT_BASE, lora=(LoraUse("dit", SPECS["peft-unet"]),)))
    yield from _single_files()


def _has(model: str, spec: LoraSpec) -> bool:
    flux, pixart = model.startswith("flux-"), model.startswith("pixart")
    if model in _OF_LANGUAGE_MODELS and spec.name in ("t5-only", "peft-t5"):
        return False
    if model in ("z-image", "flux2-klein") and spec.name in ("bias", "replaced"):  # of which they have none
        return False
    if spec.name in _NEWER:
        return model in (*_OF_LANGUAGE_MODELS, "chroma")
    if spec.name == "block-sparse" and model == "qwen-image":  # whose makers stack nothing
        return False
    if spec.name == "last":  # as their makers call it
        return not pixart and model != "qwen-image"
    if spec.name in ("xlabs", "kohya-double", "replaced-scale"):
        return flux
    if spec.name in ("last", "norms", "replaced"):  # of which PixArt has none
        return not pixart
    return spec.spelling != "peft-old" or pixart


def _case(model: str, name: str, *uses: tuple[str, float, float], **keys: Any) -> ParityCase:
    base = _MODELS.get(model)
    if base is None:
        base = base_of(model) if model.startswith("flux") else SD3_BASE if model.startswith("sd3") else PIXART_BASE
        base = next((of for begin, of in _NEWER_BASES.items() if model.startswith(begin)), base)
    if model == "pixart-alpha-1024":
        base = replace(base, width=88, height=64)
    loras = tuple(LoraUse(model, SPECS[spec], unet, text) for spec, unet, text in uses)
    return ParityCase(f"lora-{name}", model, replace(base, lora=loras, **keys))


def _single_files() -> Iterator[ParityCase]:
    """The rows of a file's weights, changed by the rows of a LoRA's."""
    flux = {"text_encoder": ("flux-dev-file@clip_l", "flux-dev-file@t5xxl"), "vae": "flux-dev-file@ae"}
    pixart = {"text_encoder": ("pixart-sigma-file@t5xxl",), "width": 96, "height": 64}
    z_image = {"text_encoder": ("z-image-file@language-model",), "vae": "z-image-file@ae", "width": 48, "height": 32}
    flux2, chroma, qwen_image = ({"text_encoder": (f"{model}-file@{text}",), "vae": f"{model}-file@ae"} for model, text in (
        ("flux2-klein", "language-model"), ("chroma", "t5xxl"), ("qwen-image", "language-model")))
    for model, form, more in (("flux-dev-file", "bare", flux), ("flux-dev-file", "diffusers", flux),
                              ("sd35-medium-file", "incl-all", {"width": 48, "height": 32}), ("pixart-sigma-file", "original", pixart),
                              ("z-image-file", "bare", z_image), ("flux2-klein-file", "bare", flux2), ("chroma-file", "bare", chroma),
                              ("qwen-image-file", "bare", qwen_image)):  # fmt: skip
        for name in ("kohya-makers", "peft-bare", "lokr-both", "boft"):
            yield replace(_case(model, name, (name, 1.0, 1.0), **more), form=form)
    # Beside codes; what is not of low rank makes their numbers anew.
    for model, *texts in (("flux-q8_0", "clip_l", "t5xxl-stored"), ("flux-fp8-new", "clip_l", "t5xxl-stored"),
                          ("flux2-q8_0", "language-model-stored"), ("flux2-fp8-new", "language-model-stored"), ("chroma-q4_k", "t5xxl-stored"),
                          ("qwen-image-q8_0", "language-model-stored"), ("z-image-q4_k", "language-model-stored")):  # fmt: skip
        others = {"text_encoder": tuple(f"{model}@{text}" for text in texts), "vae": f"{model}@ae"}
        for name in ("kohya-makers", "peft-bare", "lokr-both"):
            yield replace(_case(model, name, (name, 1.0, 1.0), **others), form="stored")


# By name: what is asked, and the file as it is read by mistake.
def transformer_lora_mistakes(model: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    def uses(name: str, unet: float = 1.0, text: float = 1.0, **wrong: Any) -> dict[str, Any]:
        return {"lora": (LoraUse(model, replace(SPECS[name], **wrong), unet, text),)}

    kohya = uses("kohya-makers")
    mistakes = {
        "lora": (kohya, {"lora": ()}),
        "lora-scale": (kohya, uses("kohya-makers", 0.7, 0.7)),
        "lora-text": (kohya, uses("kohya-makers", 1.0, 0.0)),
        "lora-alpha": (kohya, uses("kohya-makers", mistake="alpha")),
        "lora-thirds": (kohya, uses("kohya-makers", mistake="thirds")),
        "lora-t5": (uses("t5-only"), {"lora": ()}),
    }
    if model in _OF_LANGUAGE_MODELS:
        mistakes = {name: mistake for name, mistake in mistakes.items() if name not in ("lora-text", "lora-t5")}
    if model == "qwen-image":  # whose makers stack nothing
        del mistakes["lora-thirds"]
    if model in ("flux-dev", "sd35-medium", "flux2-klein"):
        mistakes["lora-halves"] = (uses("last"), uses("last", mistake="halves"))
    if model in ("flux-dev", "flux2-klein", "chroma"):
        mistakes["lora-rows"] = (kohya, uses("kohya-makers", mistake="rows"))
    return mistakes


MISTAKEN_MODELS = tuple(_MODELS)
