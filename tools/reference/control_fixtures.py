"""layers/controlnet-*.safetensors, layers/adapter-*.safetensors: what diffusers' networks that steer answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, T2IAdapter

from .control_files import show_picture
from .random_weights import randomise, to_float16
from .tensors import save_fixture
from .unet_cases import BASE, BATCH

_CONTROLNET = {key: value for key, value in BASE.items() if key not in ("sample_size", "up_block_types")}
_CONTROLNET |= {"conditioning_embedding_out_channels": (4, 6, 8)}

# The config, and conditioning_scale and guess_mode.
CONTROLNET_CASES: Mapping[str, tuple[Mapping[str, Any], float, bool]] = {
    "sd": ({**_CONTROLNET, "layers_per_block": 2, "controlnet_conditioning_channel_order": "bgr"}, 0.75, True),
    "xl": ({**_CONTROLNET, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "use_linear_projection": True,
            "transformer_layers_per_block": (1, 2), "attention_head_dim": (1, 2), "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 6 * 4 + 10}, 1.0, False),
    "pooled": ({**_CONTROLNET, "global_pool_conditions": True}, 1.5, True),
}  # fmt: skip

_ADAPTER = {"channels": [8, 8, 12, 12], "num_res_blocks": 2, "downscale_factor": 4}
ADAPTER_CASES: Mapping[str, Mapping[str, Any]] = {
    "full": {**_ADAPTER, "adapter_type": "full_adapter"},
    "xl": {**_ADAPTER, "adapter_type": "full_adapter_xl", "in_channels": 1, "channels": [8, 12, 16, 16]},
    "light": {**_ADAPTER, "adapter_type": "light_adapter", "channels": [8, 12, 16], "num_res_blocks": 3},
}


def _seed(path: Path) -> int:
    return int.from_bytes(path.stem.encode()[-6:], "little")


def _config(model: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(model.config).items() if not key.startswith("_")}


def write_controlnet(path: Path, config: Mapping[str, Any], scale: float, guess: bool) -> None:
    """out.skips.N and out.mid: what is added to a U-Net."""
    model = ControlNetModel(**config)
    randomise(model, _seed(path), rounding=to_float16)
    show_picture(model, to_float16)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.Generator("cpu").manual_seed(_seed(path))
    inputs = {
        "sample": torch.randn(BATCH, 4, 4, 6, generator=generator),
        "timestep": torch.tensor(501.0, dtype=torch.float64),
        "context": torch.randn(BATCH, 7, 8, generator=generator),
        "picture": torch.rand(1, 3, 16, 24, generator=generator),
        "scale": torch.tensor(scale, dtype=torch.float64),
        "guess": torch.tensor(int(guess)),
    }
    if config.get("addition_embed_type"):
        inputs["text_embeds"] = torch.randn(BATCH, 10, generator=generator)
        inputs["time_ids"] = torch.tensor([[64.0, 48.0, 0.0, 8.0, 32.0, 40.0], [96.0, 32.0, 4.0, 0.0, 64.0, 24.0]])
    added = {key: inputs[key].double() for key in ("text_embeds", "time_ids") if key in inputs}
    # In float64, as the C++ tests compute it.
    skips, mid = model.double()(
        inputs["sample"].double(), inputs["timestep"], inputs["context"].double(), inputs["picture"].double(),
        conditioning_scale=scale, guess_mode=guess, added_cond_kwargs=added or None, return_dict=False,
    )  # fmt: skip
    outputs = {f"skips.{i}": skip.float().contiguous() for i, skip in enumerate(skips)} | {"mid": mid.float()}
    save_fixture(path, {**_config(model), "_class_name": "ControlNetModel"}, weights, inputs, outputs)


def write_adapter(path: Path, config: Mapping[str, Any]) -> None:
    """out.features.N; 20 pixels are 5 after the folding, which do not halve evenly."""
    model = T2IAdapter(**config)
    randomise(model, _seed(path), rounding=to_float16)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    picture = torch.rand(1, model.config.in_channels, 20, 24, generator=torch.Generator("cpu").manual_seed(_seed(path)))
    features = model.double()(picture.double())
    outputs = {f"features.{i}": feature.float().contiguous() for i, feature in enumerate(features)}
    save_fixture(path, {**_config(model), "_class_name": "T2IAdapter"}, weights, {"picture": picture}, outputs)
