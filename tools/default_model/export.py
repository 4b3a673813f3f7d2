"""Writes the three networks, the tokenizer and the scheduler as a folder that StableDiffusionPipeline loads."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DEISMultistepScheduler, StableDiffusionPipeline
from torch import nn

from .diffusion import NOISE, Networks
from .tokens import export_tokenizer

SETTINGS = {"steps": 12, "guidance_scale": 3.0}  # sdgen.json: what the program uses where the user says nothing


def build_scheduler() -> DEISMultistepScheduler:
    """DEIS of second order, from the noisiest step on ("trailing"): the nearest to the exact solution at ten calls and more
    (models/README.md)."""
    return DEISMultistepScheduler(
        prediction_type="v_prediction",
        solver_order=2,
        lower_order_final=True,
        timestep_spacing="trailing",
        steps_offset=1,
        **NOISE,
    )


def half(module: nn.Module) -> nn.Module:
    """A float16 copy on the CPU."""
    return copy.deepcopy(module).cpu().half()


def export(autoencoder: AutoencoderKL, networks: Networks, tokenizer_model: Path, folder: Path) -> int:
    """Writes float16 safetensors in the diffusers layout, replacing `folder`.

    Returns:
        Size of the folder in bytes.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    tokenizer = export_tokenizer(tokenizer_model, part / "tokenizer")
    pipeline = StableDiffusionPipeline(
        vae=half(autoencoder),
        text_encoder=half(networks.text_encoder),
        tokenizer=tokenizer,
        unet=half(networks.unet),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for name in ("vae", "text_encoder", "unet", "scheduler"):
        getattr(pipeline, name).save_pretrained(part / name)
    pipeline.save_config(part)
    # For the schedulers that are made of this one's config: the defaults of DDIM's and DDPM's classes clip latents to -1..1.
    path = part / "scheduler" / "scheduler_config.json"
    config = dict(sorted((json.loads(path.read_text()) | {"clip_sample": False}).items()))
    path.write_text(json.dumps(config, indent=2, allow_nan=False) + "\n")
    (part / "sdgen.json").write_text(json.dumps(SETTINGS) + "\n")
    for path in part.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def load_pipeline(folder: Path, device: torch.device) -> StableDiffusionPipeline:
    """The exported folder in float32."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
