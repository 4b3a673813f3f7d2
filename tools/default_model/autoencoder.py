"""The autoencoder: 128x128 pictures to 8x8 latents of 16 channels and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from .concepts import COLOURS, Concept
from .fit import FitOptions, autocast, fit
from .render import PICTURE, Renderer

CROP = 64  # edge of the crops of the first phase
CROP_PHASE = 0.6  # part of the budget spent on crops; the rest sees whole pictures
CROPS, WHOLES = 12, 4  # batch sizes of the two phases
KL = 1e-3  # weight of the mean KL divergence per latent element
LATENT_NOISE = 0.1  # deviation of the noise on unit-variance latents while the decoder is refined
RANDOM_GROUND = 0.1  # part of the pictures on a background of no name


def build_autoencoder() -> AutoencoderKL:
    """An untrained autoencoder, 16x smaller per side."""
    levels = 5
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 128, 128),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=PICTURE,
        scaling_factor=1.0,
    )


def reconstruction_loss(made: Tensor, real: Tensor) -> Tensor:
    """L1 of the pixels and of their horizontal and vertical differences, at full, half and quarter size."""
    loss = made.new_zeros(())
    for level in range(3):
        if level:
            made, real = F.avg_pool2d(made, 2), F.avg_pool2d(real, 2)
        loss = loss + F.l1_loss(made, real)
        for axis in (-1, -2):
            loss = loss + 0.5 * F.l1_loss(made.diff(dim=axis), real.diff(dim=axis))
    return loss


def picture_batch(renderer: Renderer, concepts: int, count: int, crop: int, rng: np.random.Generator) -> Tensor:
    """`count` random pictures, or crops of them near the middle, as [count, 3, crop, crop] in -1..1."""
    batch = np.empty((count, crop, crop, 3), np.float32)
    for row in batch:
        draw = renderer.draw_at_random(int(rng.integers(concepts)), int(rng.integers(len(COLOURS))), rng)
        ground = rng.random(3, np.float32) if rng.random() < RANDOM_GROUND else None
        x, y = rng.integers(0, PICTURE - crop + 1, 2)
        row[:] = renderer(draw, ground)[y : y + crop, x : x + crop]
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous() * 2 - 1


def train_autoencoder(
    renderer: Renderer, concepts: list[Concept], options: FitOptions, folder: Path, device: torch.device, seed: int
) -> tuple[AutoencoderKL, dict[str, float]]:
    """Trains (or resumes) the autoencoder.

    Returns:
        The autoencoder with its EMA parameters, latents not yet normalised, and `fit`'s summary.
    """
    torch.manual_seed(seed)
    net = build_autoencoder().to(device)

    def step_loss(step: int, fraction: float, worker: int) -> dict[str, Tensor | float]:
        rng = np.random.default_rng((seed, 1, step, worker))
        crop, count = (CROP, CROPS) if fraction < CROP_PHASE else (PICTURE, WHOLES)
        count //= options.workers
        real = picture_batch(renderer, len(concepts), count, crop, rng).to(device)
        with autocast(device):
            posterior = net.encode(real).latent_dist
            noise = torch.from_numpy(rng.standard_normal(posterior.mean.shape, np.float32)).to(device)
            made = net.decode(posterior.mean + posterior.std * noise).sample.float()
        kl = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        error = reconstruction_loss(made, real)
        psnr = -10 * torch.log10((made.detach() - real).square().mean() / 4)
        return {"loss": error + KL * kl, "error": error.detach(), "kl": kl.detach(), "psnr": psnr, "samples": count}

    summary = fit("autoencoder", net, step_loss, options, folder)
    return net.eval().requires_grad_(False), summary


def refine_decoder(
    net: AutoencoderKL,
    renderer: Renderer,
    concepts: list[Concept],
    options: FitOptions,
    folder: Path,
    device: torch.device,
    seed: int,
) -> dict[str, float]:
    """Trains (or resumes) the decoder alone on whole pictures; the encoder, and so the latents, stay as they are.

    The latents must be normalised. They get a little noise, since the UNet's are not exact either. Leaves the EMA
    parameters in `net` and returns `fit`'s summary.
    """
    decoder = nn.ModuleDict({"post_quant_conv": net.post_quant_conv, "decoder": net.decoder}).requires_grad_(True)

    def step_loss(step: int, fraction: float, worker: int) -> dict[str, Tensor | float]:
        rng = np.random.default_rng((seed, 5, step, worker))
        count = WHOLES // options.workers
        real = picture_batch(renderer, len(concepts), count, PICTURE, rng).to(device)
        with torch.no_grad():
            latents = net.encode(real).latent_dist.mean.float()
        noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32)).to(device)
        with autocast(device):
            made = net.decode(latents + LATENT_NOISE * noise).sample.float()
        psnr = -10 * torch.log10((made.detach() - real).square().mean() / 4)
        return {"loss": reconstruction_loss(made, real), "psnr": psnr, "samples": count}

    summary = fit("decoder", decoder, step_loss, options, folder)
    net.eval().requires_grad_(False)
    return summary


@torch.no_grad()
def encode_pictures(net: AutoencoderKL, pictures: Tensor, device: torch.device) -> Tensor:
    """Latent means [n, 16, 8, 8] float32 of pictures [n, 3, 128, 128] in -1..1."""
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
