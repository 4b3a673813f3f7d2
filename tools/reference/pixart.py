"""Tiny random PixArt folders, what the parity run asks of them, and the mistakes that it has to notice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, PixArtTransformer2DModel
from diffusers.models import embeddings
from torch import Tensor, nn

from .families import FULL_VAE, FULL_XL_VAE
from .faults import Fault, asked_of_transformer, patched, rolled
from .parity_case import ParityCase
from .pictures import BINNED, PictureRequest
from .random_weights import randomise
from .schedulers import SCHEDULERS, TAKE_ETA
from .tiny_transformers import FILE_T5, SMALL_T5, scale_last, write_t5, write_vae
from .vocabulary import write_json

# scheduler_config.json of PixArt-XL-2-1024-MS, but for keys that say nothing.
DPM_SCHEDULER: Mapping[str, Any] = {
    "_class_name": "DPMSolverMultistepScheduler",
    "_diffusers_version": "0.22.0.dev0",
    "algorithm_type": "dpmsolver++",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "lower_order_final": True,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "solver_order": 2,
    "solver_type": "midpoint",
    "steps_offset": 0,
    "thresholding": False,
    "timestep_spacing": "linspace",
}

_TRANSFORMER = {
    "sample_size": 12, "patch_size": 2, "in_channels": 4, "out_channels": 8, "num_layers": 3, "attention_head_dim": 8,
    "num_attention_heads": 3, "cross_attention_dim": 24, "caption_channels": 40, "norm_type": "ada_norm_single",
    "norm_elementwise_affine": False, "norm_eps": 1e-6, "num_embeds_ada_norm": 1000,
}  # fmt: skip


def vae_of_levels(levels: int) -> dict[str, Any]:
    """Of a factor of 2^(levels - 1)."""
    return {"block_out_channels": (4,) * (levels - 2) + (8, 12), "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels}  # fmt: skip


@dataclass(frozen=True)
class PixArtSpec:
    name: str
    seed: int
    pipeline: str
    transformer: Mapping[str, Any] = field(default_factory=dict)  # keys that differ
    vae: Mapping[str, Any] = field(default_factory=dict)
    t5: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=lambda: dict(DPM_SCHEDULER))
    old_class: bool = False  # as folders from before diffusers 0.28 name the transformer's
    variant: str | None = None

    def build(self, folder: Path) -> None:
        """Writes a diffusers folder. The same spec gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        index = write_t5(folder, "", {**SMALL_T5, **self.t5}, self.seed)
        with torch.no_grad():
            self._transformer(folder / "transformer")
            write_vae(folder / "vae", self.vae, self.seed)
        (folder / "scheduler").mkdir()
        write_json(folder / "scheduler" / "scheduler_config.json", self.scheduler)
        write_json(folder / "model_index.json", {
            "_class_name": self.pipeline,
            "_diffusers_version": "0.42.1",
            "scheduler": ["diffusers", self.scheduler["_class_name"]],
            **index,
            "transformer": ["diffusers", "Transformer2DModel" if self.old_class else "PixArtTransformer2DModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        })  # fmt: skip

    def _transformer(self, folder: Path) -> None:
        network = PixArtTransformer2DModel(**{**_TRANSFORMER, **self.transformer})
        randomise(network, self.seed + 1)
        generator = torch.Generator("cpu").manual_seed(self.seed + 100)
        told = {"resolution": torch.tensor([[512.0, 768.0]] * 4), "aspect_ratio": torch.tensor([[512 / 768]] * 4)}
        output = network(
            torch.randn(4, network.config.in_channels, 8, 12, generator=generator),
            torch.randn(4, 40, network.config.caption_channels, generator=generator),
            torch.tensor([999.0, 900.0, 500.0, 100.0]), told if network.use_additional_conditions else {},
        ).sample  # fmt: skip
        save_transformer(network, network.proj_out, float(output.std()), folder, self.old_class)


def save_transformer(network: nn.Module, last: nn.Linear, deviation: float, folder: Path, old_class: bool) -> None:
    """With its output, which deviates so much, of deviation 1."""
    scale_last(last, deviation)
    network.save_pretrained(folder)
    if old_class:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        write_json(folder / "config.json", config | {"_class_name": "Transformer2DModel"})


PIXART: tuple[PixArtSpec, ...] = (
    PixArtSpec("pixart-alpha", 640, "PixArtAlphaPipeline"),
    # For 1024x1024: it is told the sizes, and pictures are drawn in few of them.
    PixArtSpec("pixart-alpha-1024", 650, "PixArtAlphaPipeline", {"sample_size": 128}, vae_of_levels(6), old_class=True),
    PixArtSpec("pixart-sigma", 660, "PixArtSigmaPipeline", {"sample_size": 16, "patch_size": 4, "interpolation_scale": 2,
                                                            "attention_bias": False, "out_channels": 4},
               {"scaling_factor": 0.13025}),
    PixArtSpec("pixart-sigma-256", 670, "PixArtSigmaPipeline", {"sample_size": 32, "interpolation_scale": 0.5},
               vae_of_levels(4) | {"scaling_factor": 0.13025}),
)  # fmt: skip

# By the rules by which single files are read: 16 heads, T5's own distances, groups of 32.
_FILE_TRANSFORMER = {"attention_head_dim": 6, "num_attention_heads": 16, "cross_attention_dim": 96}
PIXART_FILES: tuple[PixArtSpec, ...] = (
    PixArtSpec("pixart-alpha-file", 680, "PixArtAlphaPipeline", _FILE_TRANSFORMER, FULL_VAE, t5=FILE_T5),
    PixArtSpec("pixart-sigma-file", 690, "PixArtSigmaPipeline", _FILE_TRANSFORMER | {"sample_size": 16, "interpolation_scale": 0.25},
               FULL_XL_VAE, t5=FILE_T5),
)  # fmt: skip

BASE = PictureRequest(prompt="A Red fox in the Snow", seed=3, steps=4, guidance_scale=4.5)
LONG = "a very long prompt about " + ", ".join(f"{n} red foxes and {n} blue birds" for n in range(30))
PROMPTS = {
    "empty": "",
    "unicode": "Ein ROTES Haus, КРАСНЫЙ дом, 一只红苹果 🦊, \u039f\u0394\u039f\u03a3 \u0130stanbul, \u01c5 \u1e9e",
    "space": "\u001c \u3000 A  Fox\n in SNOW\u0085\u00a0",
}

def pixart_cases() -> Iterator[ParityCase]:
    for spec in PIXART:
        model, small = spec.name, {**_TRANSFORMER, **spec.transformer}["sample_size"] not in BINNED
        alpha = spec.pipeline == "PixArtAlphaPipeline"
        base = BASE if small else replace(BASE, width=88, height=64)
        # With a single step alpha asks DPM++ for an answer that it does not give.
        yield ParityCase("steps-1", model, replace(base, steps=1, scheduler="ddim" if alpha else None))
        for steps in (4, 9):
            yield ParityCase(f"steps-{steps}", model, replace(base, steps=steps))
        yield ParityCase("negative", model, replace(base, negative_prompt="A blue Bird"))
        yield ParityCase("no-guidance", model, replace(base, guidance_scale=1.0))
        for length in (7, 200):
            yield ParityCase(f"length-{length}", model, replace(base, prompt=LONG, max_sequence_length=length))
        yield ParityCase("long", model, replace(base, prompt=LONG, negative_prompt=LONG[:120]))
        yield ParityCase("batch", model, replace(base, negative_prompt="rain"), images=3, batch_size=2)
        for width, height in ((48, 32), (16, 64), (80, 48)) if small else ((256, 256), (300, 200), (97, 331), (512, 128)):
            yield ParityCase(f"size-{width}x{height}", model, replace(base, width=width, height=height))
        for name, prompt in PROMPTS.items():
            yield ParityCase(name, model, replace(base, prompt=prompt, negative_prompt="Ünschön"))
    yield from _single_files()
    yield ParityCase("defaults", "pixart-sigma", replace(BASE, steps=None, guidance_scale=None))
    yield ParityCase("size-1024", "pixart-alpha-1024", replace(BASE, width=1152, height=896))
    for name in SCHEDULERS:
        request = replace(BASE, scheduler=name, negative_prompt="rain")
        yield ParityCase(f"scheduler-{name}", "pixart-sigma", request)
    for name in TAKE_ETA:
        yield ParityCase(f"eta-{name}", "pixart-alpha", replace(BASE, scheduler=name, eta=0.5))


def _single_files() -> Iterator[ParityCase]:
    for spec in PIXART_FILES:
        base = replace(BASE, width=96, height=64, negative_prompt="A blue Bird")
        yield ParityCase("own", spec.name, base)
        encoder = (f"{spec.name}@t5xxl",)
        yield ParityCase("with-t5", spec.name, replace(base, text_encoder=encoder), form="original")
        yield ParityCase("alone", spec.name, replace(base, text_encoder=encoder, vae=f"{spec.name}@ae"), form="bare")


# --- Mistakes


def _as_written(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    return patched(pipe, "_text_preprocessing", lambda text, clean_caption: [text] if isinstance(text, str) else text)


def _axes_exchanged(_: DiffusionPipeline) -> AbstractContextManager[None]:
    own = embeddings.get_2d_sincos_pos_embed
    return patched(embeddings, "get_2d_sincos_pos_embed", lambda embed_dim, **more: own(embed_dim, **more).roll(embed_dim // 2, -1))


def halves_exchanged(tensor: Tensor) -> Tensor:
    return torch.cat(tensor.chunk(2)[::-1])


def _told(change: Any) -> Fault:
    return asked_of_transformer(added_cond_kwargs=lambda told: {key: change(key, value) for key, value in told.items()})


PIXART_MISTAKES: Mapping[str, tuple[dict[str, Any], Fault | None]] = {
    "seed": ({"seed": 22}, None),
    "prompt": ({"prompt": "a red fox in the rain"}, None),
    "negative": ({"negative_prompt": "a blue bird"}, None),
    "guidance": ({"guidance_scale": 4.0}, None),
    "steps": ({"steps": 2}, None),
    "lower-case": ({}, _as_written),
    "mask": ({}, asked_of_transformer(encoder_attention_mask=torch.ones_like)),
    "axes": ({}, _axes_exchanged),
    "batch": ({}, asked_of_transformer(encoder_hidden_states=halves_exchanged, encoder_attention_mask=halves_exchanged)),
    "last-halves": ({}, rolled("scale_shift_table", 1)),
    "gates": ({}, rolled("transformer_blocks.0.scale_shift_table", 1)),
    # Of those that are told sizes.
    "told-size": ({}, _told(lambda key, value: value.flip(1))),
    "told-shape": ({}, _told(lambda key, value: 1 / value if key == "aspect_ratio" else value)),
}
