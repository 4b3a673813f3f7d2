"""ControlNets for the tiny transformers: the networks, Stability AI's names for them, and diffusers' pipelines that they
steer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from inspect import signature
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, FluxControlNetModel, SD3ControlNetModel, SD3Transformer2DModel
from PIL import Image
from torch import Tensor

from .faults import undrawn
from .image_files import input_picture
from .transformer_files import original_flux

TransformerNetwork = SD3ControlNetModel | FluxControlNetModel

# What a copy of a transformer's layers has in common with it.
_SD3_SHARED = ("sample_size", "patch_size", "in_channels", "attention_head_dim", "num_attention_heads", "joint_attention_dim",
               "caption_projection_dim", "pooled_projection_dim", "pos_embed_max_size", "qk_norm", "dual_attention_layers")  # fmt: skip
_FLUX_SHARED = ("in_channels", "attention_head_dim", "num_attention_heads", "joint_attention_dim", "pooled_projection_dim",
                "guidance_embeds", "axes_dims_rope")  # fmt: skip


def transformer_controlnet(transformer: Any, config: Mapping[str, Any]) -> TransformerNetwork:
    """For this transformer, of fewer layers; `config`: keys that differ."""
    if isinstance(transformer, SD3Transformer2DModel):
        own = {key: transformer.config[key] for key in _SD3_SHARED} | {"num_layers": 4}
        return SD3ControlNetModel(**{**own, **config})
    own = {key: transformer.config[key] for key in _FLUX_SHARED} | {"num_layers": 3, "num_single_layers": 2}
    return FluxControlNetModel(**{**own, **config})


def stability_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As Stability AI's files for Stable Diffusion 3.5 large have them, with the tensor that nothing reads."""
    names = {".attn.to_out.0.": ".attn.proj.", ".ff.net.0.proj.": ".mlp.fc1.", ".ff.net.2.": ".mlp.fc2.",
             ".norm1.linear.": ".adaLN_modulation.1."}  # fmt: skip
    result = {"control_type": torch.zeros(1)}
    for name, value in weights.items():
        if ".attn.to_q." in name:
            parts = [value, weights[name.replace("to_q", "to_k")], weights[name.replace("to_q", "to_v")]]
            result[name.replace("to_q", "qkv")] = torch.cat(parts)
        elif ".attn.to_k." not in name and ".attn.to_v." not in name:
            here = next((own for own in names if own in name), "")
            result[name.replace(here, names[here]) if here else name] = value
    return result


def xlabs_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As XLabs' files for Flux have them: the layers in Black Forest Labs' names."""
    hints = {"conv_in": 0, **{f"blocks.{i}": 2 * i + 2 for i in range(6)}, "conv_out": 14}
    own, rest = {}, {}
    for name, value in weights.items():
        if name.startswith("input_hint_block."):
            _, part = name.split(".", 1)
            stem, leaf = part.rsplit(".", 1)
            own[f"input_hint_block.{hints[stem]}.{leaf}"] = value
        elif name.startswith("controlnet_"):
            own[name.replace("controlnet_x_embedder", "pos_embed_input")] = value
        else:
            rest[name] = value
    # original_flux() wants the last layers, which a ControlNet has not.
    last = {f"norm_out.linear.{leaf}": torch.zeros(2) for leaf in ("weight", "bias")}
    flux = original_flux({**rest, **last}, "scale")
    return own | {name: value for name, value in flux.items() if not name.startswith("final_layer.")}


def controlled_transformer(
    pipe: DiffusionPipeline, uses: tuple[Any, ...], networks: list[TransformerNetwork], call: dict[str, Any],
    init: Image.Image | None, mask: Image.Image | None = None,
) -> list[Image.Image]:  # fmt: skip
    """The pictures of `call`, the arguments of the family's ordinary pipeline, as `uses` steer them. Without a size they
    have the first picture's, which is sdgen's rule: these pipelines take their model's own."""

    def few(values: list[Any]) -> Any:
        return values if len(values) > 1 else values[0]

    flux = isinstance(networks[0], FluxControlNetModel)
    pictures = [input_picture(use.image) for use in uses]
    factor = 2 * pipe.vae_scale_factor
    own = dict(zip(("width", "height"), (side // factor * factor for side in (init or pictures[0]).size), strict=True))
    modes = ("canny", "tile", "depth", "blur", "pose", "gray", "low-quality")
    numbers = [None if use.mode is None else modes.index(use.mode) if use.mode in modes else int(use.mode) for use in uses]
    asked = {
        **call,
        **{key: value for key, value in own.items() if call.get(key) is None},
        "control_image": few(pictures),
        "controlnet_conditioning_scale": few([use.scale for use in uses]),
        "control_guidance_start": few([use.start for use in uses]),
        "control_guidance_end": few([use.end for use in uses]),
        "control_mode": few(numbers),
    }
    if init is not None:
        asked["image"] = [init] * len(call["prompt"])
    if mask is not None:
        asked["mask_image"] = [mask] * len(call["prompt"])
    task = "" if init is None else "Img2Img" if mask is None else "Inpaint"
    cls = getattr(diffusers, f"{'Flux' if flux else 'StableDiffusion3'}ControlNet{task}Pipeline")
    parts = signature(cls.__init__).parameters
    maker = cls(**{key: part for key, part in pipe.components.items() if key in parts}, controlnet=few(networks))
    maker.set_progress_bar_config(disable=True)
    known = signature(cls.__call__).parameters
    # No seed sets the generator that the others' are drawn from: sdgen takes their means.
    with nullcontext() if flux else undrawn(maker, with_seeds=False):
        return maker(**{key: value for key, value in asked.items() if key in known}).images
