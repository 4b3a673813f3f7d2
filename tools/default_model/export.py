"""Writes the three networks, the tokenizer and the scheduler as a folder that StableDiffusionPipeline loads."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DEISMultistepScheduler, StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor, nn

from .autoencoder import CHANNELS, LATENT
from .captions import caption
from .concepts import Concept
from .diffusion import NOISE, Networks
from .fit import autocast
from .scenes import Scene
from .tokens import Tokens, export_tokenizer

DRAWN_AT_ONCE = 64
PRACTISE_STEPS = 8  # of the pictures that the decoder is trained on
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


@torch.no_grad()
def sample(networks: Networks, tokens: Tokens, prompts: list[str], noise: Tensor, steps: int = SETTINGS["steps"]) -> Tensor:
    """What the networks make of noise [n, CHANNELS, h, w] by the settings that the program will use: latents of its shape."""
    device = networks.unet.device
    scheduler = build_scheduler()
    scheduler.set_timesteps(steps)
    latents = noise.to(device, memory_format=torch.channels_last)
    ids = tokens([*prompts, *[""] * len(prompts)]).to(device)
    with autocast(device):
        context = networks.text_encoder(ids).last_hidden_state
        for time in scheduler.timesteps:
            v, free = networks.unet(torch.cat([latents, latents]), time, context).sample.float().chunk(2)
            latents = scheduler.step(free + SETTINGS["guidance_scale"] * (v - free), time, latents).prev_sample
    return latents


def practise(networks: Networks, tokens: Tokens, concepts: list[Concept], scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    """What the networks draw of scenes that captions tell them, as latents."""
    noise = torch.from_numpy(rng.standard_normal((len(scenes), CHANNELS, LATENT, LATENT), np.float32))
    return sample(networks, tokens, [caption(scene, concepts, rng, empty=0) for scene in scenes], noise, PRACTISE_STEPS)


@torch.no_grad()
def draw(
    autoencoder: AutoencoderKL, networks: Networks, tokens: Tokens, prompts: list[str], seeds: list[int]
) -> np.ndarray:
    """Pictures [n, 128, 128, 3] in 0..1 of networks that are being trained, by the settings that the program will use."""
    made = []
    for start in range(0, len(prompts), DRAWN_AT_ONCE):
        part, chosen = prompts[start : start + DRAWN_AT_ONCE], seeds[start : start + DRAWN_AT_ONCE]
        draws = [torch.randn(1, CHANNELS, LATENT, LATENT, generator=torch.Generator().manual_seed(seed)) for seed in chosen]
        latents = sample(networks, tokens, part, torch.cat(draws))
        with autocast(autoencoder.device):
            pictures = autoencoder.decode(latents).sample.float()
        made.append((pictures / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(made)


def half(module: nn.Module) -> nn.Module:
    """A float16 copy on the CPU, laid out as files are."""
    return copy.deepcopy(module).cpu().half().to(memory_format=torch.contiguous_format)


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


def load_parameters(folder: Path) -> dict[str, dict[str, Tensor]]:
    """The parameters of an exported model in float32, as "vae" and "networks", to train on from."""
    networks = {
        f"{name}.{key}": value
        for name, file in (("text_encoder", "model"), ("unet", "diffusion_pytorch_model"))
        for key, value in load_file(folder / name / f"{file}.safetensors").items()
    }
    parameters = {"vae": load_file(folder / "vae" / "diffusion_pytorch_model.safetensors"), "networks": networks}
    return {name: {key: value.float() for key, value in part.items()} for name, part in parameters.items()}


def load_pipeline(folder: Path, device: torch.device) -> StableDiffusionPipeline:
    """The exported folder in float32."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
