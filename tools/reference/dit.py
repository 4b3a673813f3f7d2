"""Tiny random DiT folders, what the parity run asks of them, and the mistakes that it has to notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiTTransformer2DModel
from torch import Tensor

from .faults import Fault, asked_of_transformer, rolled
from .parity_case import ParityCase
from .pictures import PictureRequest
from .pixart import halves_exchanged, save_transformer
from .random_weights import randomise
from .schedulers import SCHEDULERS, STOCHASTIC, distilled, row
from .tiny_transformers import write_vae
from .vocabulary import write_json

# scheduler_config.json of DiT-XL-2-256.
DDIM_SCHEDULER: Mapping[str, Any] = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.12.0.dev0",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "trained_betas": None,
}

# DiTPipeline takes the class of none for 1000.
CLASSES = 1000
_TRANSFORMER = {
    "sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 8, "num_layers": 3, "attention_head_dim": 8,
    "num_attention_heads": 3, "num_embeds_ada_norm": CLASSES, "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False, "norm_eps": 1e-5,
}  # fmt: skip
_WIDTH = 24
LABELS = {"0": "tench, Tinca tinca", "11": "goldfinch, Carduelis carduelis", "207": "golden retriever",
          "440": "beer bottle", "985": "daisy"}  # fmt: skip


@dataclass(frozen=True)
class DiTSpec:
    name: str
    seed: int
    transformer: Mapping[str, Any] = field(default_factory=dict)  # keys that differ
    old_class: bool = False  # as folders from before diffusers 0.28 name the transformer's
    variant: str | None = None
    pipeline: str = "DiTPipeline"

    def build(self, folder: Path) -> None:
        """Writes a diffusers folder. The same spec gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        network = DiTTransformer2DModel(**{**_TRANSFORMER, **self.transformer})
        randomise(network, self.seed + 1)
        # As it is looked up, a row moves as much as the time does.
        generator = torch.Generator("cpu").manual_seed(self.seed + 100)
        for block in network.transformer_blocks:
            table = block.norm1.emb.class_embedder.embedding_table.weight
            table.copy_(torch.randn(table.shape, generator=generator))
        side = network.config.sample_size
        with torch.no_grad():
            output = network(
                torch.randn(4, network.config.in_channels, side, side, generator=generator),
                torch.tensor([999.0, 900.0, 500.0, 100.0]), torch.tensor([0, 207, 500, CLASSES]),
            ).sample  # fmt: skip
            save_transformer(network, network.proj_out_2, float(output.std()), folder / "transformer", self.old_class)
            write_vae(folder / "vae", {}, self.seed)
        (folder / "scheduler").mkdir()
        write_json(folder / "scheduler" / "scheduler_config.json", DDIM_SCHEDULER)
        write_json(folder / "model_index.json", {
            "_class_name": self.pipeline,
            "_diffusers_version": "0.42.1",
            "id2label": LABELS,
            "scheduler": ["diffusers", DDIM_SCHEDULER["_class_name"]],
            "transformer": ["diffusers", "Transformer2DModel" if self.old_class else "DiTTransformer2DModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        })  # fmt: skip


DIT: tuple[DiTSpec, ...] = (
    DiTSpec("dit", 680, old_class=True),
    DiTSpec("dit-plain", 690, {"sample_size": 12, "patch_size": 4, "out_channels": 4, "attention_bias": False}),
)

BASE = PictureRequest(prompt="207", seed=3, steps=4, guidance_scale=4.0)


def _takes_what_is_passed(name: str) -> bool:
    """DiTPipeline scales no noise, gives a step what was scaled for the network, and has no generator for its noise."""
    class_name, options = row(name)
    scheduler = getattr(diffusers, class_name)(**options)
    scheduler.set_timesteps(4)
    x = torch.ones(1)
    return scheduler.init_noise_sigma == 1 and scheduler.scale_model_input(x, scheduler.timesteps[0]).equal(x)


_USABLE = tuple(name for name in SCHEDULERS if name not in STOCHASTIC and not distilled(name) and _takes_what_is_passed(name))


def dit_cases() -> Iterator[ParityCase]:
    for spec in DIT:
        yield from dit_model_cases(spec.name)
        for prompt in ("Golden  Retriever", "Tinca tinca", "tench, tinca tinca", "daisy"):
            name = prompt.replace(" ", "-").replace(",", "")
            yield ParityCase(f"class-{name}", spec.name, replace(BASE, prompt=prompt))
    yield ParityCase("defaults", "dit", replace(BASE, steps=None, guidance_scale=None))


def dit_model_cases(model: str) -> Iterator[ParityCase]:
    """What is asked of any such folder."""
    for steps in (1, 4, 9):
        yield ParityCase(f"steps-{steps}", model, replace(BASE, steps=steps))
    yield ParityCase("no-guidance", model, replace(BASE, guidance_scale=1.0))
    yield ParityCase("batch", model, BASE, images=3, batch_size=2)
    for prompt in ("0", "999"):
        yield ParityCase(f"class-{prompt}", model, replace(BASE, prompt=prompt))
    for name in _USABLE:
        yield ParityCase(f"scheduler-{name}", model, replace(BASE, scheduler=name, steps=5))


def _last_of_none(labels: Tensor) -> Tensor:
    return torch.where(labels == CLASSES, CLASSES - 1, labels)


DIT_MISTAKES: Mapping[str, tuple[dict[str, Any], Fault | None]] = {
    "seed": ({"seed": 22}, None),
    "class": ({"prompt": "208"}, None),
    "guidance": ({"guidance_scale": 3.0}, None),
    "steps": ({"steps": 3}, None),
    "no-class": ({}, asked_of_transformer(class_labels=_last_of_none)),
    "batch": ({}, asked_of_transformer(class_labels=halves_exchanged)),
    "axes": ({}, rolled("pos_embed.pos_embed", _WIDTH // 2, 2)),
    "last-halves": ({}, rolled("proj_out_1.bias", _WIDTH)),
    "gates": ({}, rolled("transformer_blocks.0.norm1.linear.bias", _WIDTH)),
    "first-table": ({}, rolled("transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight", 1)),
}
