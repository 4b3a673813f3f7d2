"""The autoencoder: 128x128 pictures to 8x8 latents of 24 channels and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from .fit import FitOptions, autocast, fit
from .fused import fuse
from .render import Renderer
from .scenes import EXACT, PICTURE, Scene, random_scene

CHANNELS, LATENT = 24, 8  # of the latents, and their edge
CROP = 64  # edge of the crops of the first phase
CROP_PHASE = 0.2  # part of the budget spent on crops; the rest sees whole pictures
PICTURES, CROPS_EACH = 16, 3  # pictures in a batch, and crops of each in the first phase
SQUARED = 4.0  # weight of the mean squared error, which is what large errors weigh most in
KL = 1e-3  # weight of the mean KL divergence per latent element
RANDOM_GROUND = 0.15  # part of the pictures on a background of no name


def build_autoencoder() -> AutoencoderKL:
    """An untrained autoencoder, 16x smaller per side."""
    levels = 5
    return AutoencoderKL(
        block_out_channels=(32, 32, 64, 128, 128),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=PICTURE,
        scaling_factor=1.0,
    )


def reconstruction_loss(made: Tensor, real: Tensor) -> Tensor:
    """L1 of the pixels and of their horizontal and vertical differences, at full, half and quarter size, and SQUARED times the mean
    squared error."""
    loss = SQUARED * F.mse_loss(made, real)
    for level in range(3):
        if level:
            made, real = F.avg_pool2d(made, 2), F.avg_pool2d(real, 2)
        loss = loss + F.l1_loss(made, real)
        for axis in (-1, -2):
            loss = loss + 0.5 * F.l1_loss(made.diff(dim=axis), real.diff(dim=axis))
    return loss


def picture_batch(renderer: Renderer, pictures: int, crops: int, crop: int, rng: np.random.Generator) -> Tensor:
    """`crops` random parts of each of `pictures` random pictures, [pictures * crops, 3, crop, crop] in -1..1."""
    concepts = len(renderer.glyphs)
    batch = np.empty((pictures * crops, crop, crop, 3), np.float32)
    for index in range(pictures):
        scene = random_scene(int(rng.integers(concepts)), concepts, rng, EXACT["autoencoder"])
        whole = renderer(scene, rng.random(3, np.float32) if rng.random() < RANDOM_GROUND else None)
        for part in range(crops):
            x, y = rng.integers(0, PICTURE - crop + 1, 2)
            batch[index * crops + part] = whole[y : y + crop, x : x + crop]
    return torch.from_numpy(batch).permute(0, 3, 1, 2).mul_(2).sub_(1)  # channels_last as it lies


def psnr(made: Tensor, real: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of pictures in -1..1."""
    return -10 * torch.log10((made - real).square().mean() / 4)


def train_autoencoder(
    renderer: Renderer,
    options: FitOptions,
    folder: Path,
    device: torch.device,
    seed: int,
    start: dict[str, Tensor] | None = None,
) -> tuple[AutoencoderKL, dict[str, float]]:
    """Trains (or resumes) the autoencoder, from `start`'s parameters where they are given.

    Returns:
        The autoencoder with its EMA parameters, latents not yet normalised, and `fit`'s summary.
    """
    torch.manual_seed(seed)
    net = build_autoencoder()
    if start:
        net.load_state_dict(start)
    fuse(net).to(device, memory_format=torch.channels_last)

    def step_loss(step: int, fraction: float) -> dict[str, Tensor | float]:
        rng = np.random.default_rng((seed, 1, step))
        crops, crop = (CROPS_EACH, CROP) if fraction < CROP_PHASE and not start else (1, PICTURE)
        real = picture_batch(renderer, PICTURES, crops, crop, rng).to(device)
        with autocast(device):
            posterior = net.encode(real).latent_dist
            noise = torch.from_numpy(rng.standard_normal(posterior.mean.shape, np.float32)).to(device)
            made = net.decode(posterior.mean + posterior.std * noise).sample.float()
        kl = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        error = reconstruction_loss(made, real)
        samples = len(real) * (crop / PICTURE) ** 2
        return {"loss": error + KL * kl, "error": error, "kl": kl, "psnr": psnr(made.detach(), real), "samples": samples}

    summary = fit("autoencoder", net, step_loss, options, folder)
    return net.eval().requires_grad_(False), summary


def refine_decoder(
    net: AutoencoderKL,
    drawn: Callable[[list[Scene], np.random.Generator], Tensor],
    renderer: Renderer,
    options: FitOptions,
    folder: Path,
    device: torch.device,
    seed: int,
) -> dict[str, float]:
    """Trains (or resumes) the decoder alone on whole pictures; the encoder, and so the latents, stay as they are.

    Half of a batch are the encoder's latents, half what the UNet draws, from captions of scenes that do not vary beyond what captions say: so
    that the decoder learns to show sharply what the UNet means. Leaves the EMA parameters in `net`.

    Args:
        net: the autoencoder, its latents normalised.
        drawn: latents [n, CHANNELS, h, w] that the UNet draws of scenes.
        renderer: of the pictures.
        options: budget and rates.
        folder: for checkpoint and log.
        device: to train on.
        seed: of the pictures.

    Returns:
        `fit`'s summary.
    """
    fuse(net).to(device, memory_format=torch.channels_last)
    decoder = nn.ModuleDict({"post_quant_conv": net.post_quant_conv, "decoder": net.decoder}).requires_grad_(True)
    half = PICTURES // 2

    def step_loss(step: int, fraction: float) -> dict[str, Tensor | float]:
        rng = np.random.default_rng((seed, 5, step))
        concepts = len(renderer.glyphs)
        parts = [EXACT["autoencoder"]] * half + [1.0] * half
        scenes = [random_scene(int(rng.integers(concepts)), concepts, rng, part) for part in parts]
        real = torch.from_numpy(np.stack([renderer(scene) for scene in scenes])).permute(0, 3, 1, 2).to(device) * 2 - 1
        with autocast(device):
            with torch.no_grad():
                latents = torch.cat([net.encode(real[:half]).latent_dist.mean.float(), drawn(scenes[half:], rng)])
            made = net.decode(latents).sample.float()
        own, guessed = psnr(made[:half].detach(), real[:half]), psnr(made[half:].detach(), real[half:])
        return {"loss": reconstruction_loss(made, real), "psnr": own, "psnr_drawn": guessed, "samples": len(real)}

    summary = fit("decoder", decoder, step_loss, options, folder)
    net.eval().requires_grad_(False)
    return summary


@torch.no_grad()
def encode_pictures(net: AutoencoderKL, pictures: Tensor, device: torch.device) -> Tensor:
    """Latent means [n, CHANNELS, 8, 8] float32 of pictures [n, 3, 128, 128] in -1..1."""
    with autocast(device):
        return net.encode(pictures.to(device)).latent_dist.mean.float().cpu()


@torch.no_grad()
def normalise_latents(net: AutoencoderKL, latents: Tensor) -> None:
    """Folds the channels' mean and deviation over `latents` into the 1x1 convolutions around the latent space.

    Afterwards the encoder's means have zero mean and unit variance per channel, so that scaling_factor is 1, and
    decoding undoes it.
    """
    mean = latents.mean((0, 2, 3)).to(net.device)
    std = latents.std((0, 2, 3)).to(net.device)
    channels = len(mean)
    before, after = net.quant_conv, net.post_quant_conv
    before.weight[:channels] /= std[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - mean) / std
    before.bias[channels:] -= 2 * std.log()  # the log variances move by the change of scale
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= std[None, :, None, None]
