"""Qwen-Image's transformer and autoencoder: what diffusers' networks answer, the autoencoder about single pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

from .random_weights import randomise, to_float16
from .tensors import save_fixture

QWEN_IMAGE_CASES: Mapping[str, Mapping[str, Any]] = {
    "qwen-image": {"in_channels": 16, "out_channels": 4, "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2,
                   "joint_attention_dim": 12, "axes_dims_rope": (2, 2, 4)},
}  # fmt: skip
QWEN_VAE_CASES: Mapping[str, Mapping[str, Any]] = {
    "qwen-vae": {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 2, 3], "num_res_blocks": 1, "temperal_downsample": [False, True],
                 "latents_mean": [-0.5, 0.25, 1.5, 0.0], "latents_std": [2.0, 0.5, 1.25, 3.0]},
}  # fmt: skip


def write_qwen_image(path: Path, config: Mapping[str, Any], seed: int) -> None:
    model = QwenImageTransformer2DModel(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    inputs = {
        "sample": torch.randn(2, config["out_channels"], 6, 10, generator=generator),
        "timestep": torch.tensor(731.0, dtype=torch.float64),
        "context": torch.randn(2, 7, config["joint_attention_dim"], generator=generator),
    }
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    channels = config["out_channels"]
    tokens = inputs["sample"].view(2, channels, 3, 2, 5, 2).permute(0, 2, 4, 1, 3, 5).reshape(2, 15, 4 * channels)
    answer = model.double()(tokens.double(), inputs["context"].double(), timestep=torch.tensor([0.731, 0.731], dtype=torch.float64),
                            img_shapes=[[(1, 3, 5)]] * 2, return_dict=False)[0]  # fmt: skip
    sample = answer.view(2, 3, 5, channels, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(2, channels, 6, 10)
    save_fixture(path, dict(config), weights, inputs, {"sample": sample.float()})


def write_qwen_vae(path: Path, config: Mapping[str, Any], seed: int) -> None:
    """in.latents are the loop's, which the pipeline decodes as out.image; out.loop is what it encodes."""
    model = AutoencoderKLQwenImage(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    inputs = {
        "latents": torch.randn(2, config["z_dim"], 3, 5, generator=generator),
        "image": torch.rand(2, 3, 12, 20, generator=generator) * 2 - 1,
    }
    weights = {name: value.clone() for name, value in model.state_dict().items() if "time_conv" not in name}
    mean, deviation = (torch.tensor(config[f"latents_{key}"]).double().view(1, -1, 1, 1, 1) for key in ("mean", "std"))
    model = model.double()
    image = model.decode(inputs["latents"].double().unsqueeze(2) * deviation + mean).sample[:, :, 0]
    loop = (model.encode(inputs["image"].double().unsqueeze(2)).latent_dist.mode() - mean) / deviation
    save_fixture(path, dict(config), weights, inputs, {"image": image.float(), "loop": loop[:, :, 0].float()})
