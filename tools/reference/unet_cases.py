"""The UNets of the layer fixtures: each shows several config fields that the Stable Diffusion families use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import LatentConsistencyModelPipeline
from torch import Tensor

BATCH = 2


@dataclass(frozen=True)
class UNetCase:
    config: Mapping[str, Any]
    size: tuple[int, int] = (4, 6)  # height, width of the latents
    timestep: float = 501.0
    tokens: int = 7
    extra_inputs: Mapping[str, Callable[[torch.Generator], Tensor]] = field(default_factory=dict)

    def context_width(self) -> int:
        """Width of encoder_hidden_states before any projection."""
        width = self.config.get("encoder_hid_dim") or self.config["cross_attention_dim"]
        return width if isinstance(width, int) else width[0]

    def arguments(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """UNet2DConditionModel.forward's arguments from the fixture's inputs."""
        named = {key: inputs[key] for key in ("class_labels",) if key in inputs}
        if "guidance" in inputs:  # as the pipeline of the distilled models hands it over
            named["timestep_cond"] = LatentConsistencyModelPipeline.get_guidance_scale_embedding(
                None, inputs["guidance"] - 1, self.config["time_cond_proj_dim"]
            ).to(inputs["sample"].dtype)
        added = {key: inputs[key] for key in ("text_embeds", "time_ids") if key in inputs}
        return {
            "sample": inputs["sample"],
            "timestep": inputs["timestep"].float(),
            "encoder_hidden_states": inputs["context"],
            "added_cond_kwargs": added or None,
            **named,
        }


BASE: Mapping[str, Any] = {
    "sample_size": 8, "block_out_channels": (8, 12), "layers_per_block": 1, "cross_attention_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2, "norm_num_groups": 4,
}  # fmt: skip

SMALL: Mapping[str, Any] = {**BASE, "block_out_channels": (8, 8)}


def _normal(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(BATCH, *shape, generator=generator)


def _scales(_: torch.Generator) -> Tensor:
    """Guidance scales, one a picture."""
    return torch.tensor([7.5, 3.25])


def _time_ids(_: torch.Generator) -> Tensor:
    """SDXL's original size, crop corner and target size, one row a picture."""
    return torch.tensor([[64.0, 48.0, 0.0, 8.0, 32.0, 40.0], [96.0, 32.0, 4.0, 0.0, 64.0, 24.0]])


def _scored_ids(_: torch.Generator) -> Tensor:
    """The refiner's: original size, crop corner and aesthetic score, one row a picture."""
    return torch.tensor([[64.0, 48.0, 0.0, 8.0, 2.5], [96.0, 32.0, 4.0, 0.0, 6.0]])


# dual_cross_attention is left out: diffusers 0.42.1 itself fails on it (DualTransformer2DModel.forward() takes no
# encoder_attention_mask).
UNET_CASES: Mapping[str, UNetCase] = {
    # Convolutional projections, two layers a block.
    "sd1": UNetCase({**BASE, "layers_per_block": 2}),
    # Linear projections, heads a block, nine input channels (inpainting).
    "sd2": UNetCase({**SMALL, "use_linear_projection": True, "attention_head_dim": (1, 4), "in_channels": 9,
                     "upcast_attention": True, "down_block_types": ("CrossAttnDownBlock2D",) * 2,
                     "up_block_types": ("CrossAttnUpBlock2D",) * 2}, timestep=1.0),
    # Blocks without attention first, transformers of different depth, size and pooled text conditioning.
    "sdxl": UNetCase({**BASE, "use_linear_projection": True, "attention_head_dim": (1, 2),
                      "transformer_layers_per_block": (1, 2), "addition_embed_type": "text_time",
                      "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 6 * 4 + 10,
                      "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
                      "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")},
                     extra_inputs={"text_embeds": _normal(10), "time_ids": _time_ids}),
    # No attention in the first and last level, transformers of one depth everywhere, five ids.
    "refiner": UNetCase({**BASE, "block_out_channels": (4, 4, 8, 8), "use_linear_projection": True,
                         "attention_head_dim": (1, 1, 2, 2), "transformer_layers_per_block": 2,
                         "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
                         "projection_class_embeddings_input_dim": 5 * 4 + 10,
                         "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2, "DownBlock2D"),
                         "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 2, "UpBlock2D")},
                        size=(8, 12), extra_inputs={"text_embeds": _normal(10), "time_ids": _scored_ids}),
    # SSD-1B: depths of their own on the way up, a middle of one resnet, and an LCM's guidance input beside the size ids.
    "ssd1b": UNetCase({**BASE, "block_out_channels": (4, 4, 8), "layers_per_block": 2, "use_linear_projection": True,
                       "attention_head_dim": (1, 1, 2), "transformer_layers_per_block": [1, [1, 1], [2, 2]],
                       "reverse_transformer_layers_per_block": [[2, 2, 3], [2, 1, 1], 1],
                       "mid_block_type": "UNetMidBlock2D", "addition_embed_type": "text_time",
                       "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 6 * 4 + 10,
                       "time_cond_proj_dim": 6,
                       "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
                       "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",)}, size=(4, 8),
                      extra_inputs={"text_embeds": _normal(10), "time_ids": _time_ids, "guidance": _scales}),
    # Three blocks at a size that does not halve evenly, a time between the integers (Euler, linspace), layers a block.
    "odd-size": UNetCase({**BASE, "block_out_channels": (8, 8, 8), "layers_per_block": (1, 2, 1),
                          "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
                          "up_block_types": ("UpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D")},
                         size=(5, 7), timestep=332.6667),
    # Depth and width lists in both directions.
    "lists": UNetCase({**SMALL, "transformer_layers_per_block": ((2,), (1,)), "layers_per_block": (1, 1),
                       "reverse_transformer_layers_per_block": ((1, 1), (2, 1)), "cross_attention_dim": (8, 8),
                       "down_block_types": ("CrossAttnDownBlock2D",) * 2,
                       "up_block_types": ("CrossAttnUpBlock2D",) * 2}),
    # Cross attention only, time as scale and shift, scaled residuals, asymmetric padding.
    "scale-shift": UNetCase({**SMALL, "only_cross_attention": (True, False), "resnet_time_scale_shift": "scale_shift",
                             "resnet_out_scale_factor": 1.4, "mid_block_scale_factor": 1.2, "downsample_padding": 0,
                             "resnet_skip_time_act": True, "mid_block_type": "UNetMidBlock2D"}),
    # No middle block, centred input, the other order of sines and cosines, other kernels, epsilons and activations.
    "no-mid": UNetCase({**SMALL, "mid_block_type": None, "center_input_sample": True, "flip_sin_to_cos": False,
                        "freq_shift": 1, "act_fn": "gelu", "norm_eps": 1e-3, "conv_in_kernel": 5, "conv_out_kernel": 1,
                        "time_embedding_dim": 24, "time_embedding_act_fn": "silu", "timestep_post_act": "gelu"}),
    # Guidance as an input (LCM, distilled models).
    "time-cond": UNetCase({**SMALL, "time_cond_proj_dim": 12, "act_fn": "mish"},
                          extra_inputs={"guidance": _scales}),
    # Class table (the x4 upscaler's noise level) and projected classes (unCLIP), concatenated with the time embedding.
    "class-table": UNetCase({**SMALL, "num_class_embeds": 20},
                            extra_inputs={"class_labels": lambda _: torch.tensor([3, 17])}),
    "class-projection": UNetCase({**SMALL, "class_embed_type": "projection", "class_embeddings_concat": True,
                                  "projection_class_embeddings_input_dim": 14},
                                 extra_inputs={"class_labels": _normal(14)}),
    # The text's width is projected before the cross attention.
    "encoder-hid": UNetCase({**SMALL, "encoder_hid_dim": 12, "encoder_hid_dim_type": "text_proj"}),
}  # fmt: skip
