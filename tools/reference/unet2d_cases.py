"""The UNet2DModels of the layer fixtures: the unconditional networks of DDPM and DDIM checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .key_names import old_attention_names


@dataclass(frozen=True)
class UNet2DCase:
    config: Mapping[str, Any]
    size: tuple[int, int] = (4, 6)  # height, width of the picture
    timestep: float = 501.0
    names: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    keys: tuple[str, ...] | None = None  # of config.json, where it has no others


BASE: Mapping[str, Any] = {
    "sample_size": 8, "block_out_channels": (4, 8), "layers_per_block": 1, "attention_head_dim": 2,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 2,
}  # fmt: skip

# What google/ddpm-cat-256's config.json (diffusers 0.0.4) says, in small: no key that came later.
OLD: Mapping[str, Any] = {
    **BASE, "act_fn": "silu", "attention_head_dim": None, "center_input_sample": False, "downsample_padding": 0,
    "flip_sin_to_cos": False, "freq_shift": 1, "in_channels": 3, "mid_block_scale_factor": 1, "norm_eps": 1e-6,
    "out_channels": 3, "time_embedding_type": "positional",
}  # fmt: skip

UNET2D_CASES: Mapping[str, UNet2DCase] = {
    # No attention anywhere, another activation (not in the time embedding, not before the last convolution), grey.
    "plain": UNet2DCase({**BASE, "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2,
                         "add_attention": False, "act_fn": "gelu", "in_channels": 1, "out_channels": 1,
                         "layers_per_block": 2, "sample_size": (8, 12), "norm_eps": 1e-3}, timestep=1.0),
    # Several heads, attention in every block, the middle's residuals scaled, centred input.
    "attention": UNet2DCase({**BASE, "down_block_types": ("AttnDownBlock2D",) * 2, "mid_block_scale_factor": 1.3,
                             "up_block_types": ("AttnUpBlock2D",) * 2, "center_input_sample": True},
                            timestep=332.6667),
    "old-names": UNet2DCase(OLD, names=old_attention_names, keys=tuple(OLD)),
    # Time as scale and shift: then the middle's attention has no norm ...
    "scale-shift": UNet2DCase({**BASE, "resnet_time_scale_shift": "scale_shift"}),
    # ... unless it is given one. A time embedding of its own width.
    "mid-norm": UNet2DCase({**BASE, "resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 4,
                            "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2,
                            "time_embedding_dim": 20}),
    # No middle block.
    "no-mid": UNet2DCase({**BASE, "mid_block_type": None, "act_fn": "mish", "downsample_padding": 0}),
}  # fmt: skip
