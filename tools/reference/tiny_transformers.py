"""What the tiny random folders of diffusion transformers have in common: a T5, an autoencoder, an output of deviation 1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import T5Config, T5EncoderModel

from .random_weights import as_drawn, randomise, scale_output
from .taesd import TINY_VAE, tiny_vae
from .tiny import VAE_CONFIG
from .vocabulary import write_sentencepiece_tokenizer

# A T5 that is as wide as `_TRANSFORMER` of pixart.py and flux.py take it.
SMALL_T5: Mapping[str, Any] = {
    "d_model": 40, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 6, "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 16, "relative_attention_max_distance": 40, "dropout_rate": 0.0,
}  # fmt: skip
# By the rules by which single files are read: T5's own distances; of CLIP-L, 64 channels a head.
FILE_T5: Mapping[str, Any] = {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128}
FILE_CLIP_L: Mapping[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 1, "projection_dim": 64,
}  # fmt: skip
# Of Stable Diffusion 3 and Flux, but for the scaling.
FLOW_VAE: Mapping[str, Any] = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}


def write_t5(folder: Path, suffix: str, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Writes tokenizer and text_encoder of this suffix; returns their part of model_index.json."""
    size = write_sentencepiece_tokenizer(folder / f"tokenizer{suffix}", 512)
    t5 = T5EncoderModel(T5Config(vocab_size=size + 3, **config))
    randomise(t5, seed + 3000)
    t5.save_pretrained(folder / f"text_encoder{suffix}")
    return {f"tokenizer{suffix}": ["transformers", "T5Tokenizer"], f"text_encoder{suffix}": ["transformers", "T5EncoderModel"]}


def write_vae(folder: Path, keys: Mapping[str, Any], seed: int, spread: float = 1) -> None:
    """`spread`: the deviation of the latents that make pictures of deviation 0.5."""
    vae = AutoencoderKL(**{**VAE_CONFIG, **keys})
    randomise(vae, seed + 2, rounding=as_drawn)
    generator = torch.Generator("cpu").manual_seed(seed + 200)
    latents = spread * torch.randn(4, vae.config.latent_channels, 8, 8, generator=generator) / vae.config.scaling_factor
    scale_output(vae.decoder.conv_out, vae.decode(latents + (vae.config.shift_factor or 0)).sample, 0.5)
    vae.save_pretrained(folder)


def write_flow_vae(folder: Path, keys: Mapping[str, Any], seed: int, tiny: bool) -> None:
    """Of 16 channels: an AutoencoderKL, or a tiny one (TAESD3, TAEF1)."""
    if tiny:
        tiny_vae({**TINY_VAE, "latent_channels": 16}, seed + 2, as_drawn).save_pretrained(folder)
    else:
        write_vae(folder, {**keys, **FLOW_VAE}, seed, spread=2)


def scale_last(last: nn.Linear, deviation: float) -> None:
    """An output that deviates so much gets a deviation of 1."""
    last.weight.div_(deviation)
    last.bias.div_(deviation)
