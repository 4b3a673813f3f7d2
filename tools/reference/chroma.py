"""Tiny random Chroma1 folders, what the parity run asks of them, and the mistakes that it has to notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import ChromaTransformer2DModel

from .encodings import NEWER_ENCODINGS, round_folder
from .families import FULL_VAE
from .faults import Fault, asked_of_transformer, rescheduled, rolled
from .flux import FIXED_SCHEDULER, LONG, PROMPTS
from .parity_case import ParityCase
from .pictures import PictureRequest
from .random_weights import randomise
from .stored_cases import stored_cases, stored_name
from .tiny_transformers import FILE_T5, SMALL_T5, scale_last, write_flow_vae, write_t5
from .vocabulary import write_json
from .z_image import FLUX_SCALING

_TRANSFORMER: Mapping[str, Any] = {
    "in_channels": 64, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
    "joint_attention_dim": 40, "axes_dims_rope": (4, 4, 8), "approximator_num_channels": 32, "approximator_hidden_dim": 48,
    "approximator_layers": 2,
}  # fmt: skip
_FILE_TRANSFORMER: Mapping[str, Any] = {"attention_head_dim": 32, "axes_dims_rope": (4, 14, 14), "approximator_num_channels": 64}


@dataclass(frozen=True)
class ChromaSpec:
    name: str
    seed: int
    transformer: Mapping[str, Any] = field(default_factory=dict)  # keys that differ
    file: bool = False  # for single files: see transformer_files.py
    text: Mapping[str, Any] = field(default_factory=dict)
    encoding: str | None = None  # of its transformer and T5: see encodings.py
    variant: str | None = None
    pipeline: str = "ChromaPipeline"

    def build(self, folder: Path) -> None:
        """Writes a diffusers folder. The same spec gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            index = write_t5(folder, "", {**SMALL_T5, **(FILE_T5 if self.file else {}), **self.text}, self.seed)
            self._transformer(folder / "transformer")
            if self.encoding:
                round_folder(folder, ("transformer", "text_encoder"), self.encoding)
            write_flow_vae(folder / "vae", {**(FULL_VAE if self.file else {}), **FLUX_SCALING}, self.seed, tiny=False)
        (folder / "scheduler").mkdir()
        write_json(folder / "scheduler" / "scheduler_config.json", FIXED_SCHEDULER)
        write_json(folder / "model_index.json", {
            "_class_name": self.pipeline,
            "_diffusers_version": "0.42.1",
            "scheduler": ["diffusers", FIXED_SCHEDULER["_class_name"]],
            **index,
            "transformer": ["diffusers", "ChromaTransformer2DModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        })  # fmt: skip

    def _transformer(self, folder: Path) -> None:
        network = ChromaTransformer2DModel(**{**_TRANSFORMER, **(_FILE_TRANSFORMER if self.file else {}), **self.transformer})
        randomise(network, self.seed + 1)
        config, generator = network.config, torch.Generator("cpu").manual_seed(self.seed + 100)
        places = torch.stack([torch.zeros(24), torch.arange(24) // 6, torch.arange(24) % 6], -1)
        output = network(
            torch.randn(4, 24, config.in_channels, generator=generator),
            torch.randn(4, 40, config.joint_attention_dim, generator=generator),
            torch.tensor([1.0, 0.9, 0.5, 0.1]), places, torch.zeros(40, 3),
        ).sample  # fmt: skip
        scale_last(network.proj_out, float(output.std()))
        network.save_pretrained(folder)


CHROMA: tuple[ChromaSpec, ...] = (ChromaSpec("chroma", 950),)

CHROMA_FILES: tuple[ChromaSpec, ...] = (
    ChromaSpec("chroma-file", 960, file=True),
    *(ChromaSpec(stored_name("chroma", encoding), 9600 + number, {"num_attention_heads": 8, "joint_attention_dim": 64, "approximator_hidden_dim": 64},
                 file=True, text={"d_model": 64, "d_ff": 256}, encoding=encoding) for number, encoding in enumerate(NEWER_ENCODINGS)),
)  # fmt: skip

BASE = PictureRequest(seed=3, steps=4, guidance_scale=3.0, width=48, height=32, negative_prompt="blurry")
PHOTO = {"init_image": "photo-32x32", "width": 32, "height": 32}
PAINTED = {"init_image": "photo-64x48", "mask": "disc-64x48", "width": 64, "height": 48}


def chroma_cases() -> Iterator[ParityCase]:
    model = "chroma"
    for steps in (1, 4, 9):
        yield ParityCase(f"steps-{steps}", model, replace(BASE, steps=steps))
    for width, height in ((40, 24), (8, 64), (72, 48), (128, 96)):
        yield ParityCase(f"size-{width}x{height}", model, replace(BASE, width=width, height=height))
    for name, prompt in PROMPTS.items():
        yield ParityCase(name, model, replace(BASE, prompt=prompt))
    for name, keys in (("none", {"negative_prompt": None}), ("long", {"negative_prompt": LONG}), ("unguided", {"guidance_scale": 1.0}),
                       ("strong", {"guidance_scale": 8.0}), ("off", {"guidance_scale": 0.0})):  # fmt: skip
        yield ParityCase(f"negative-{name}", model, replace(BASE, **keys))
    yield ParityCase("batch", model, BASE, images=3, batch_size=2)
    yield ParityCase("defaults", model, replace(BASE, steps=None, guidance_scale=None))
    # Of one token, which is the end; of the prompt and one more; of less than the prompt.
    for length in (1, 8, 16, 256):
        yield ParityCase(f"length-{length}", model, replace(BASE, max_sequence_length=length))
    image = replace(BASE, steps=5, **PHOTO)
    for name, keys in (("", {"strength": 0.6}), ("-all", {"strength": 1.0}), ("-defaults", {"guidance_scale": None})):
        yield ParityCase(f"image{name}", model, replace(image, **keys))
    yield ParityCase("image-batch", model, image, images=3, batch_size=2)
    painted = replace(BASE, steps=5, **PAINTED)
    for name, keys in (("", {}), ("-strength", {"strength": 0.5}), ("-blur", {"mask_blur": 3}), ("-defaults", {"guidance_scale": None})):
        yield ParityCase(f"inpaint{name}", model, replace(painted, **keys))


    spec = CHROMA_FILES[0].name
    encoder, vae = (f"{spec}@t5xxl",), f"{spec}@ae"
    yield ParityCase("own", spec, BASE)
    yield ParityCase("with-encoder", spec, replace(BASE, text_encoder=encoder), form="original")
    for form in ("bare", "newer-norms", "diffusers"):
        yield ParityCase("alone", spec, replace(BASE, text_encoder=encoder, vae=vae), form=form)
    yield from stored_cases("chroma", BASE, "t5xxl-stored", NEWER_ENCODINGS)


# --- Mistakes


CHROMA_MISTAKES: Mapping[str, tuple[dict[str, Any], Fault | None]] = {
    "seed": ({"seed": 22}, None),
    "prompt": ({"prompt": "a red fox in the rain"}, None),
    "negative": ({"negative_prompt": None}, None),
    "guidance": ({"guidance_scale": 2.0}, None),
    "steps": ({"steps": 5}, None),
    "length": ({"max_sequence_length": 256}, None),
    "levels": ({}, rescheduled(shift=1.5)),
    "mask-true": ({}, asked_of_transformer(attention_mask=lambda mask: mask.bool())),
    "mask-none": ({}, asked_of_transformer(attention_mask=lambda _: None)),
    "mask-more": ({}, asked_of_transformer(attention_mask=lambda mask: mask.roll(40, -1))),
    "pads": ({}, asked_of_transformer(encoder_hidden_states=lambda c: torch.cat([c[:, :9], 0 * c[:, 9:]], 1))),
    "time": ({}, asked_of_transformer(timestep=lambda t: t * 0.9)),
    "axes": ({}, asked_of_transformer(img_ids=lambda ids: ids[:, [0, 2, 1]])),
    "places": ({}, asked_of_transformer(img_ids=torch.zeros_like)),
    "moves": ({}, rolled("time_text_embed.mod_proj", 6)),
    "moves-last": ({}, rolled("time_text_embed.mod_proj", 1)),
    "single-parts": ({}, rolled("single_transformer_blocks.0.proj_out.weight", 32, 1)),
}
