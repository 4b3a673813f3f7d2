"""Fixtures of the networks of transformer models: T5's encoder, and the transformers themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DiTTransformer2DModel,
    FluxTransformer2DModel,
    Lumina2Transformer2DModel,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    ZImageTransformer2DModel,
)
from torch import Tensor
from transformers import T5Config, T5EncoderModel

from .random_weights import randomise, to_float16
from .tensors import save_fixture

_SD3: Mapping[str, Any] = {
    "sample_size": 8, "patch_size": 2, "in_channels": 6, "out_channels": 6, "num_layers": 2, "attention_head_dim": 8,
    "num_attention_heads": 2, "caption_projection_dim": 16, "joint_attention_dim": 20, "pooled_projection_dim": 12,
    "pos_embed_max_size": 9,
}  # fmt: skip
SD3_CASES: Mapping[str, Mapping[str, Any]] = {
    "sd3": _SD3,
    "sd35": {**_SD3, "qk_norm": "rms_norm", "dual_attention_layers": (0,)},
    # The last layer's second attention, and another number of channels than it takes.
    "sd35-last": {**_SD3, "qk_norm": "rms_norm", "dual_attention_layers": (1,), "out_channels": 4},
}

_FLUX: Mapping[str, Any] = {
    "in_channels": 16, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 12, "num_attention_heads": 2,
    "joint_attention_dim": 20, "pooled_projection_dim": 10, "axes_dims_rope": (2, 4, 6),
}  # fmt: skip
FLUX_CASES: Mapping[str, Mapping[str, Any]] = {
    "flux": {**_FLUX, "guidance_embeds": True},
    # More channels than it draws, and a second picture that it is shown.
    "flux-shown": {**_FLUX, "out_channels": 8},
}

_PIXART: Mapping[str, Any] = {
    "sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 8, "num_layers": 2, "attention_head_dim": 6,
    "num_attention_heads": 2, "cross_attention_dim": 12, "caption_channels": 20, "norm_type": "ada_norm_single",
    "norm_elementwise_affine": False, "norm_eps": 1e-6,
}  # fmt: skip
PIXART_CASES: Mapping[str, Mapping[str, Any]] = {
    "pixart": {**_PIXART, "use_additional_conditions": True, "interpolation_scale": 2},
    "pixart-plain": {**_PIXART, "attention_bias": False, "out_channels": 4, "norm_eps": 0.01},
}

_Z_IMAGE: Mapping[str, Any] = {
    "in_channels": 4, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 20,
    "axes_dims": (4, 4, 8), "axes_lens": (128, 32, 32),
}  # fmt: skip
# By how many words there are, and latents: learned tokens fill both up, or neither.
Z_IMAGE_CASES: Mapping[str, tuple[Mapping[str, Any], int, tuple[int, int]]] = {
    "z-image": (_Z_IMAGE, 7, (6, 10)),
    "z-image-full": ({**_Z_IMAGE, "qk_norm": False, "t_scale": 500.0, "rope_theta": 100.0, "norm_eps": 0.01}, 64, (8, 16)),
}

_LUMINA2: Mapping[str, Any] = {
    "sample_size": 8, "in_channels": 4, "hidden_size": 48, "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 4,
    "num_kv_heads": 2, "multiple_of": 8, "axes_dim_rope": (4, 4, 4), "axes_lens": (64, 32, 32), "cap_feat_dim": 20,
}  # fmt: skip
LUMINA2_CASES: Mapping[str, Mapping[str, Any]] = {
    "lumina2": _LUMINA2,
    "lumina2-ratio": {**_LUMINA2, "ffn_dim_multiplier": 0.7, "multiple_of": 5, "norm_eps": 0.01, "num_kv_heads": 4},
}

# Of few classes: how many there are says the table.
DIT_CASES: Mapping[str, Mapping[str, Any]] = {
    "dit": {
        "sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 8, "num_layers": 2, "attention_head_dim": 6,
        "num_attention_heads": 2, "num_embeds_ada_norm": 5, "norm_type": "ada_norm_zero", "norm_elementwise_affine": False,
        "norm_eps": 0.01,
    },
}  # fmt: skip

_T5: Mapping[str, Any] = {
    "vocab_size": 40, "d_model": 24, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_heads": 3, "dropout_rate": 0.0,
    "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 16, "relative_attention_max_distance": 20,
}  # fmt: skip
# Powers of two are where rounding decides the bucket.
T5_CASES: Mapping[str, Mapping[str, Any]] = {
    "t5": _T5,
    "t5-far": {**_T5, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "num_layers": 1},
}


def write_sd3(path: Path, config: Mapping[str, Any], seed: int) -> None:
    model = SD3Transformer2DModel(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    inputs = {
        "sample": torch.randn(2, config["in_channels"], 6, 10, generator=generator),
        "timestep": torch.tensor(731.0, dtype=torch.float64),
        "context": torch.randn(2, 7, config["joint_attention_dim"], generator=generator),
        "pooled": torch.randn(2, config["pooled_projection_dim"], generator=generator),
    }
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    exact = {name: value.double() for name, value in inputs.items()}
    # The table is computed, not drawn: float16 would not hold it.
    weights["pos_embed.pos_embed"] = to_float16(weights["pos_embed.pos_embed"])
    model.pos_embed.pos_embed.copy_(weights["pos_embed.pos_embed"])
    sample = model.double()(
        exact["sample"], exact["context"], exact["pooled"], exact["timestep"].repeat(2), return_dict=False
    )[0]
    settings = {key: value for key, value in dict(model.config).items() if not key.startswith("_")}
    save_fixture(path, settings, weights, inputs, {"sample": sample.float()})


def packed(latents: Tensor, picture: int) -> tuple[Tensor, Tensor]:
    """Tokens of 2x2 latents, and which picture, row and column they are."""
    batch, channels, height, width = latents.shape
    tokens = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    rows, columns = torch.meshgrid(torch.arange(height // 2), torch.arange(width // 2), indexing="ij")
    return tokens.flatten(3).flatten(1, 2), torch.stack([torch.full_like(rows, picture), rows, columns], -1).flatten(0, 1)


def write_flux(path: Path, config: Mapping[str, Any], seed: int) -> None:
    model = FluxTransformer2DModel(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    channels, guided = model.config.in_channels // 4, model.config.guidance_embeds
    inputs = {
        "sample": torch.randn(2, channels, 6, 10, generator=generator),
        "timestep": torch.tensor(731.0, dtype=torch.float64),
        "context": torch.randn(2, 7, model.config.joint_attention_dim, generator=generator),
        "pooled": torch.randn(2, model.config.pooled_projection_dim, generator=generator),
    }
    if guided:
        inputs["guidance"] = torch.tensor([3.5, 0.5], dtype=torch.float64)
    else:
        inputs["reference"] = torch.randn(2, channels, 8, 4, generator=generator)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    packed = [packed(inputs[name].double(), i) for i, name in enumerate(("sample", "reference")) if name in inputs]
    tokens = model.double()(
        torch.cat([tokens for tokens, _ in packed], 1), inputs["context"].double(), inputs["pooled"].double(),
        inputs["timestep"].repeat(2) / 1000, torch.cat([places for _, places in packed]), torch.zeros(7, 3),
        inputs.get("guidance"), return_dict=False,
    )[0][:, :15]  # fmt: skip
    sample = tokens.view(2, 3, 5, -1, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(2, -1, 6, 10)
    settings = {key: value for key, value in dict(model.config).items() if not key.startswith("_")}
    save_fixture(path, settings, weights, inputs, {"sample": sample.float()})


def write_z_image(path: Path, case: tuple[Mapping[str, Any], int, tuple[int, int]], seed: int) -> None:
    config, words, (height, width) = case
    model = ZImageTransformer2DModel(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    inputs = {
        "sample": torch.randn(2, config["in_channels"], height, width, generator=generator),
        "timestep": torch.tensor(731.0, dtype=torch.float64),
        "context": torch.randn(2, words, config["cap_feat_dim"], generator=generator),
    }
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    told = (1000 - inputs["timestep"].repeat(2)) / 1000
    answer = model.double()(list(inputs["sample"].double().unsqueeze(2)), told, list(inputs["context"].double()), return_dict=False)[0]
    settings = {key: value for key, value in dict(model.config).items() if not key.startswith("_")}
    save_fixture(path, settings, weights, inputs, {"sample": -torch.stack(answer).squeeze(2).float()})


def write_lumina2(path: Path, config: Mapping[str, Any], seed: int) -> None:
    model = Lumina2Transformer2DModel(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    inputs = {
        "sample": torch.randn(2, config["in_channels"], 6, 10, generator=generator),
        "timestep": torch.tensor(731.0, dtype=torch.float64),
        "context": torch.randn(2, 7, config["cap_feat_dim"], generator=generator),
    }
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    told = 1 - inputs["timestep"].repeat(2) / 1000
    answer = model.double()(
        inputs["sample"].double(), told, inputs["context"].double(), torch.ones(2, 7, dtype=torch.int64), return_dict=False
    )[0]
    settings = {key: value for key, value in dict(model.config).items() if not key.startswith("_")}
    save_fixture(path, settings, weights, inputs, {"sample": -answer.float()})


def _write_patches(path: Path, model: Any, inputs: dict[str, Tensor], **told: Any) -> None:
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    timestep = inputs["timestep"].repeat(2)
    sample = model.double()(inputs["sample"].double(), timestep=timestep, return_dict=False, **told)[0]
    settings = {key: value for key, value in dict(model.config).items() if not key.startswith("_")}
    save_fixture(path, settings, weights, inputs, {"sample": sample.float()})


def write_pixart(path: Path, config: Mapping[str, Any], seed: int) -> None:
    """Pictures that are not square, prompts of different lengths."""
    model = PixArtTransformer2DModel(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    inputs = {
        "sample": torch.randn(2, config["in_channels"], 6, 10, generator=generator),
        "timestep": torch.tensor(731.0, dtype=torch.float64),
        "context": torch.randn(2, 7, config["caption_channels"], generator=generator),
        "mask": torch.tensor([[1] * 7, [1] * 3 + [0] * 4]),
    }
    sizes = {"resolution": torch.tensor([[48.0, 80.0]] * 2), "aspect_ratio": torch.tensor([[48 / 80]] * 2)}
    _write_patches(path, model, inputs, encoder_hidden_states=inputs["context"].double(),
                   encoder_attention_mask=inputs["mask"],
                   added_cond_kwargs={key: value.double() for key, value in sizes.items()})  # fmt: skip


def write_dit(path: Path, config: Mapping[str, Any], seed: int) -> None:
    model = DiTTransformer2DModel(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    inputs = {
        "sample": torch.randn(2, config["in_channels"], 8, 8, generator=generator),
        "timestep": torch.tensor(731.0, dtype=torch.float64),
        "classes": torch.tensor([3, config["num_embeds_ada_norm"]]),
    }
    _write_patches(path, model, inputs, class_labels=inputs["classes"])


def write_t5(path: Path, config: Mapping[str, Any], seed: int) -> None:
    model = T5EncoderModel(T5Config(**config))
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    ids = torch.randint(0, config["vocab_size"], (1, 67), generator=generator)
    weights = {name: value.clone() for name, value in model.state_dict().items() if name != "encoder.embed_tokens.weight"}
    states = model.double()(ids).last_hidden_state
    save_fixture(path, dict(config), weights, {"ids": ids}, {"states": states.float()})
