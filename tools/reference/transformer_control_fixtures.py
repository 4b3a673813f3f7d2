"""layers/{sd3,flux}-controlnet-*.safetensors: what diffusers' ControlNets say to their transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxControlNetModel, SD3ControlNetModel

from .random_weights import randomise, to_float16
from .tensors import save_fixture
from .transformer_fixtures import FLUX_CASES, SD3_CASES, packed

_SD3: Mapping[str, Any] = SD3_CASES["sd3"]
SD3_CONTROLNET_CASES: Mapping[str, Mapping[str, Any]] = {
    "net": _SD3,
    "told": {**SD3_CASES["sd35"], "force_zeros_for_pooled_projection": False, "num_layers": 1},
    "single": {**_SD3, "joint_attention_dim": None, "use_pos_embed": False, "pos_embed_type": None,
               "pos_embed_max_size": None, "force_zeros_for_pooled_projection": False, "caption_projection_dim": 99},
    "nowhere": {**_SD3, "pos_embed_type": None},
}  # fmt: skip

_FLUX: Mapping[str, Any] = FLUX_CASES["flux"]
FLUX_CONTROLNET_CASES: Mapping[str, Mapping[str, Any]] = {
    "net": _FLUX,
    "union": {**_FLUX, "num_single_layers": 0, "num_mode": 4, "guidance_embeds": False},
    "folded": {**_FLUX, "num_single_layers": 0, "conditioning_embedding_channels": 4, "patch_size": 2},
}


def _settings(model: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(model.config).items() if not key.startswith("_")} | {
        "_class_name": type(model).__name__}  # fmt: skip


def write_sd3_controlnet(path: Path, config: Mapping[str, Any], seed: int) -> None:
    """in.tokens: what the transformer makes of the sample, for networks that take its tokens."""
    model = SD3ControlNetModel(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    told = config["joint_attention_dim"]
    inputs = {
        "sample": torch.randn(2, config["in_channels"], 6, 10, generator=generator),
        "picture": torch.randn(2, config["in_channels"], 6, 10, generator=generator),
        "timestep": torch.tensor(731.0, dtype=torch.float64),
        "pooled": torch.randn(2, config["pooled_projection_dim"], generator=generator),
    }
    if told:
        inputs["context"] = torch.randn(2, 7, told, generator=generator)
    if model.pos_embed is None:
        inputs["tokens"] = torch.randn(2, 15, model.inner_dim, generator=generator)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    if "pos_embed.pos_embed" in weights:  # computed, not drawn: float16 would not hold it
        weights["pos_embed.pos_embed"] = to_float16(weights["pos_embed.pos_embed"])
        model.pos_embed.pos_embed.copy_(weights["pos_embed.pos_embed"])
    exact = {name: value.double() for name, value in inputs.items()}
    pooled = torch.zeros_like(exact["pooled"]) if model.config.force_zeros_for_pooled_projection else exact["pooled"]
    samples = model.double()(
        exact.get("tokens", exact["sample"]), exact["picture"], 1.0, exact.get("context"), pooled,
        exact["timestep"].repeat(2), return_dict=False,
    )[0]  # fmt: skip
    save_fixture(path, _settings(model), weights, inputs, {f"samples.{i}": sample.float() for i, sample in enumerate(samples)})


def write_flux_controlnet(path: Path, config: Mapping[str, Any], seed: int) -> None:
    """Samples of layers of two streams, then of those of one. A network for several kinds of pictures is shown number 2."""
    model = FluxControlNetModel(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    channels = model.config.in_channels // 4
    shown = (3, 48, 80) if model.input_hint_block is not None else (channels, 6, 10)
    inputs = {
        "sample": torch.randn(2, channels, 6, 10, generator=generator),
        "picture": torch.randn(2, *shown, generator=generator),
        "timestep": torch.tensor(731.0, dtype=torch.float64),
        "context": torch.randn(2, 7, model.config.joint_attention_dim, generator=generator),
        "pooled": torch.randn(2, model.config.pooled_projection_dim, generator=generator),
    }
    if model.config.guidance_embeds:
        inputs["guidance"] = torch.tensor([3.5, 0.5], dtype=torch.float64)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    tokens, places = packed(inputs["sample"].double(), 0)
    picture = inputs["picture"].double()
    joint, single = model.double()(
        tokens, picture if model.input_hint_block is not None else packed(picture, 0)[0],
        torch.full((2, 1), 2) if model.union else None, 1.0, inputs["context"].double(), inputs["pooled"].double(),
        inputs["timestep"].repeat(2) / 1000, places, torch.zeros(7, 3), inputs.get("guidance"), return_dict=False,
    )  # fmt: skip
    samples = [*(joint or ()), *(single or ())]
    save_fixture(path, _settings(model), weights, inputs, {f"samples.{i}": sample.float() for i, sample in enumerate(samples)})
