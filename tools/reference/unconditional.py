"""Tiny random DDPMPipeline and DDIMPipeline folders, and what the parity run asks of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file

from .key_names import old_attention_names
from .parity_case import ParityCase
from .pictures import PictureRequest
from .random_weights import randomise, scale_output
from .unet2d_cases import OLD
from .vocabulary import write_json

# scheduler_config.json of google/ddpm-cat-256, key by key.
DDPM_SCHEDULER: Mapping[str, Any] = {
    "_class_name": "DDPMScheduler",
    "_diffusers_version": "0.1.1",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "trained_betas": None,
    "variance_type": "fixed_large",
}

UNET_CONFIG: Mapping[str, Any] = {
    "sample_size": 16, "block_out_channels": (8, 16), "layers_per_block": 1, "attention_head_dim": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
}  # fmt: skip


@dataclass(frozen=True)
class UnconditionalSpec:
    """One tiny model: a U-Net on pixels and its scheduler."""

    name: str
    seed: int
    pipeline: str = "DDPMPipeline"
    scheduler: Mapping[str, Any] = field(default_factory=lambda: dict(DDPM_SCHEDULER))
    unet: Mapping[str, Any] = field(default_factory=dict)  # UNet2DModel keys that differ
    published_2022: bool = False  # files beside model_index.json, old attention names, no key that came later
    variant: str | None = None

    def build(self, folder: Path) -> None:
        """Writes a diffusers folder. The same spec gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        unet = UNet2DModel(**{**UNET_CONFIG, **self.unet})
        randomise(unet, self.seed)
        generator = torch.Generator("cpu").manual_seed(self.seed + 100)
        height, width = _size(unet)
        x = torch.randn(4, unet.config.in_channels, height, width, generator=generator)
        with torch.no_grad():
            scale_output(unet.conv_out, unet(x, torch.tensor([981.0, 641.0, 301.0, 21.0])).sample, 1.0)
        place = folder if self.published_2022 else folder / "unet"
        unet.save_pretrained(place)
        if self.published_2022:
            weights = place / "diffusion_pytorch_model.safetensors"
            save_file(old_attention_names(load_file(weights)), weights, {"format": "pt"})
            config = {"_class_name": "UNet2DModel", "_diffusers_version": "0.0.4"}
            write_json(place / "config.json", config | {key: unet.config[key] for key in sorted(OLD)})
        scheduler = folder if self.published_2022 else folder / "scheduler"
        scheduler.mkdir(exist_ok=True)
        write_json(scheduler / "scheduler_config.json", self.scheduler)
        write_json(folder / "model_index.json", {
            "_class_name": self.pipeline,
            "_diffusers_version": "0.42.1",
            "scheduler": ["diffusers", self.scheduler["_class_name"]],
            "unet": ["diffusers", "UNet2DModel"],
        })  # fmt: skip


def _size(unet: UNet2DModel) -> tuple[int, int]:
    size = unet.config.sample_size
    return (size, size) if isinstance(size, int) else tuple(size)


_DDIM_SCHEDULER = {
    **{key: value for key, value in DDPM_SCHEDULER.items() if key != "variance_type"}, "_class_name": "DDIMScheduler",
}  # fmt: skip

UNCONDITIONAL: tuple[UnconditionalSpec, ...] = (
    UnconditionalSpec("ddpm", 400),
    # google/ddpm-cat-256 in small, as it was published.
    UnconditionalSpec("ddpm-2022", 410, unet=OLD | {"block_out_channels": (8, 8, 16), "sample_size": 16, **{
        f"{way}_block_types": blocks for way, blocks in (("down", ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D")),
                                                         ("up", ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D")))},
        "norm_num_groups": 4}, published_2022=True),
    # The variance that Ho et al. tried beside it, grey, not square, time as scale and shift.
    UnconditionalSpec("ddpm-grey", 420, scheduler={**DDPM_SCHEDULER, "variance_type": "fixed_small"},
                      unet={"in_channels": 1, "out_channels": 1, "sample_size": (12, 20),
                            "resnet_time_scale_shift": "scale_shift"}),
    # Keys that Stable Diffusion's pipelines would change: here they count.
    UnconditionalSpec("ddpm-offset", 430, scheduler={**DDPM_SCHEDULER, "steps_offset": 3, "clip_sample_range": 2.0,
                                                     "beta_schedule": "squaredcos_cap_v2",
                                                     "prediction_type": "v_prediction"}),
    UnconditionalSpec("ddim", 440, "DDIMPipeline", _DDIM_SCHEDULER),
    # The pipeline makes a DDIM of whatever scheduler its folder has.
    UnconditionalSpec("ddim-of-ddpm", 450, "DDIMPipeline"),
    UnconditionalSpec("ddpm-with-ddim", 460, scheduler=_DDIM_SCHEDULER),
)  # fmt: skip

# The fixture: google/ddpm-cat-256 as it was published, smaller still.
TINY_DDPM = UnconditionalSpec("tiny-ddpm", 500, unet=OLD, published_2022=True)

BASE = PictureRequest(prompt=None, guidance_scale=None)


def unconditional_cases() -> Iterator[ParityCase]:
    for spec in UNCONDITIONAL:
        yield from unconditional_model_cases(spec.name, ddim=spec.pipeline == "DDIMPipeline")
    yield ParityCase("defaults", "ddpm", replace(BASE, steps=None, seed=5))
    # DDIM clips x0 but not epsilon, which makes long runs of a random network unstable unless it says x0 itself.
    yield ParityCase("defaults", "ddim", replace(BASE, steps=None, prediction_type="sample", seed=5))
    for width, height in ((8, 8), (24, 12), (2, 30)):
        yield ParityCase(f"size-{width}x{height}", "ddpm", replace(BASE, width=width, height=height))
    yield ParityCase("size-20x12", "ddpm-2022", replace(BASE, width=20, height=12))


def unconditional_model_cases(model: str, ddim: bool) -> Iterator[ParityCase]:
    """What is asked of any such folder. diffusers' pipelines run the schedulers alone whose step takes what they pass,
    and DDPMPipeline none that scales its input."""
    for seed in (0, 2**64 - 1):
        yield ParityCase(f"seed-{seed}", model, replace(BASE, seed=seed))
    for steps in (1, 2, 13, 16) if ddim else (1, 2, 13, 50):
        yield ParityCase(f"steps-{steps}", model, replace(BASE, steps=steps, seed=3))
    for spacing in ("leading", "linspace", "trailing"):
        yield ParityCase(f"spacing-{spacing}", model, replace(BASE, timestep_spacing=spacing, seed=4))
    for prediction in ("epsilon", "v_prediction", "sample"):
        yield ParityCase(f"prediction-{prediction}", model, replace(BASE, prediction_type=prediction, seed=5))
    for name in ("ddim",) if ddim else ("ddpm", "ddim", "dpm++2m"):
        yield ParityCase(f"scheduler-{name}", model, replace(BASE, scheduler=name, seed=6))
    for eta in (0.4, 1.0) if ddim else ():
        yield ParityCase(f"eta-{eta}", model, replace(BASE, eta=eta, seed=7))
    for images, batch in ((3, 2), (2, 4)):
        yield ParityCase(f"batch-{images}-{batch}", model, replace(BASE, seed=8), images, batch)
