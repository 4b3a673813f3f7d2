"""Tiny autoencoders (TAESD): random ones in diffusers' class, and in the names of their maker's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

from .random_weights import Rounding, randomise, scale_output

TINY_VAE: Mapping[str, Any] = {
    "encoder_block_out_channels": (12, 12, 12), "decoder_block_out_channels": (12, 12, 12),
    "num_encoder_blocks": (1, 1, 2), "num_decoder_blocks": (2, 1, 1),
}  # fmt: skip

# Names of a single file -> the prefixes of the encoder's and the decoder's layer numbers; None: there is none.
FILES = {
    "taesd-diffusers": ("encoder.layers.", "decoder.layers."),
    "taesd-both": ("encoder.", "decoder."),
    "taesd-comfy": ("taesd_encoder.", "taesd_decoder."),
    "taesd-decoder": (None, ""),
}


def tiny_vae(config: Mapping[str, Any], seed: int, rounding: Rounding) -> AutoencoderTiny:
    vae = AutoencoderTiny(**{key: value for key, value in config.items() if not key.startswith("_")})
    randomise(vae, seed, rounding=rounding)
    generator = torch.Generator("cpu").manual_seed(seed + 200)
    # Latents of the other random networks deviate by some 6, which the decoder's tanh would cut.
    latents = 2 * torch.randn(4, vae.config.latent_channels, 8, 8, generator=generator)
    scale_output(vae.decoder.layers[-1], vae.decode(latents).sample, 0.5, rounding=rounding)
    pictures = torch.rand(4, 3, 32, 32, generator=generator) * 2 - 1
    scale_output(vae.encoder.layers[-1], vae.encode(pictures).latents, 1.0, rounding=rounding)
    return vae


def write_taesd(folder: Path, path: Path, form: str) -> None:
    """Writes the weights of a diffusers folder's vae/ under the names of a form of FILES."""
    encoder, decoder = FILES[form]
    out = {}
    for name, value in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").items():
        half, _, layer = name.partition(".layers.")
        number, _, rest = layer.partition(".")
        before = encoder if half == "encoder" else decoder
        if before is None:
            continue
        first = 1 if half == "decoder" and form != "taesd-diffusers" else 0  # the maker's begins with a clamp
        out[f"{before}{int(number) + first}.{rest}"] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(out, path)
