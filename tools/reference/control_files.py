"""ControlNets and T2I-Adapters for the tiny models, made when they are asked for, as folders and as single files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, FluxControlNetModel, SD3ControlNetModel, T2IAdapter, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from .image_files import input_picture
from .random_weights import Rounding, randomise, scale_output, to_any_16_bits
from .transformer_controls import TransformerNetwork, stability_names, transformer_controlnet, xlabs_names

Network = ControlNetModel | T2IAdapter | TransformerNetwork
_CLASSES = {kind.__name__: kind for kind in (ControlNetModel, SD3ControlNetModel, FluxControlNetModel, T2IAdapter)}


@dataclass(frozen=True)
class ControlSpec:
    """A network that steers a model by a picture."""

    name: str
    adapter: str | None = None  # T2IAdapter's adapter_type; None: a ControlNet
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)  # keys that differ
    seed: int = 0

    def build(self, network: Any, factor: int) -> Network:
        """For this U-Net or transformer, whose latents are `factor` pixels large."""
        if not isinstance(network, UNet2DConditionModel):
            model = transformer_controlnet(network, self.config)
        else:
            model = self._adapter(network, factor) if self.adapter else self._controlnet(network, factor)
        randomise(model, 700 + self.seed, rounding=to_any_16_bits)
        if isinstance(model, ControlNetModel):
            show_picture(model, to_any_16_bits)
        return model

    def _controlnet(self, unet: UNet2DConditionModel, factor: int) -> ControlNetModel:
        layers = (4, 6, 8, 10, 12)[: factor.bit_length()]
        made = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=layers, load_weights_from_unet=False)
        config = {key: value for key, value in made.config.items() if not key.startswith("_")}
        return ControlNetModel(**{**config, **self.config})

    def _adapter(self, unet: UNet2DConditionModel, factor: int) -> T2IAdapter:
        widths = list(unet.config.block_out_channels)
        channels = {"full_adapter": widths, "light_adapter": widths[:-1], "full_adapter_xl": [*widths, widths[-1]]}
        scale = 2 if self.adapter == "full_adapter_xl" else 1
        config = {"channels": channels[self.adapter], "downscale_factor": scale * factor, "num_res_blocks": 2}
        return T2IAdapter(adapter_type=self.adapter, **{**config, **self.config})


def show_picture(model: ControlNetModel, rounding: Rounding) -> None:
    """Makes the picture count for more than the latents: many small convolutions with random weights forget it."""
    embedding = model.controlnet_cond_embedding
    picture = torch.from_numpy(np.array(input_picture("photo-64x64"), np.float32) / 255).permute(2, 0, 1)[None]
    for layer in (embedding.conv_in, *embedding.blocks):
        layer.weight.copy_(rounding(3 * layer.weight))
    scale_output(embedding.conv_out, embedding(picture), 2.0, rounding=rounding)


@dataclass(frozen=True)
class ControlUse:
    """A control network in a request."""

    model: str  # whose U-Net it is made for
    spec: ControlSpec
    image: str = "photo-48x32"  # a name of image_files.py
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: str | None = None  # of networks for several kinds of pictures
    form: str = "folder"  # original: a single file in the original names; file: one in diffusers'


def arguments(uses: tuple[ControlUse, ...], paths: list[Path], images: list[Path]) -> list[str]:
    """sdgen's flags. Its pictures belong to the ControlNets first."""
    flags = [f"--{'t2i-adapter' if use.spec.adapter else 'controlnet'}={path}" for use, path in zip(uses, paths, strict=True)]
    flags += [f"--control-image={image}" for image in images]
    for key, default in (("scale", 1.0), ("start", 0.0), ("end", 1.0)):
        values = [getattr(use, key) for use in uses]
        if len(set(values)) == 1:
            values = values[:1] if values[0] != default else []
        flags += [f"--control-{key}={value}" for value in values]
    if any(use.mode is not None for use in uses):
        flags += [f"--control-mode={use.mode or 'none'}" for use in uses]
    return flags


def write_control(model: Network, form: str, folder: Path) -> Path:
    """The network in a form, below `folder`."""
    if form == "folder":
        model.save_pretrained(folder / "folder")
        return folder / "folder"
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    if form == "original":
        weights = _original(model, weights)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / f"{form}.safetensors", {"format": "pt"})
    return folder / f"{form}.safetensors"


def _original(model: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if isinstance(model, T2IAdapter):
        return _original_adapter(model, weights)
    if isinstance(model, ControlNetModel):
        return original_controlnet(model, weights)
    return xlabs_names(weights) if isinstance(model, FluxControlNetModel) else stability_names(weights)


def original_controlnet(model: ControlNetModel, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """lllyasviel's names, made by walking through the blocks in the order in which they run."""
    modules = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0",
               "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0",
               "add_embedding.linear_2": "label_emb.0.2", "mid_block.resnets.0": "middle_block.0",
               "mid_block.attentions.0": "middle_block.1", "mid_block.resnets.1": "middle_block.2",
               "controlnet_mid_block": "middle_block_out.0"}  # fmt: skip
    number = 1
    for level, block in enumerate(model.down_blocks):
        for i in range(len(block.resnets)):
            modules[f"down_blocks.{level}.resnets.{i}"] = f"input_blocks.{number}.0"
            modules[f"down_blocks.{level}.attentions.{i}"] = f"input_blocks.{number}.1"
            number += 1
        if block.downsamplers:
            modules[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
            number += 1
    modules |= {f"controlnet_down_blocks.{i}": f"zero_convs.{i}.0" for i in range(number)}
    hint = "controlnet_cond_embedding"
    folds: nn.ModuleList = model.controlnet_cond_embedding.blocks
    modules |= {f"{hint}.conv_in": "input_hint_block.0", f"{hint}.conv_out": f"input_hint_block.{2 * len(folds) + 2}"}
    modules |= {f"{hint}.blocks.{i}": f"input_hint_block.{2 * i + 2}" for i in range(len(folds))}
    parts = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
             "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip
    result = {}
    for name, value in weights.items():
        module = next(m for m in sorted(modules, key=len, reverse=True) if name.startswith(m + "."))
        rest = name[len(module) + 1 :]
        if ".resnets." in name:
            part, _, leaf = rest.partition(".")
            rest = f"{parts[part]}.{leaf}"
        result[f"control_model.{modules[module]}.{rest}"] = value
    return result


def _original_adapter(model: T2IAdapter, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """TencentARC's names: one flat list of residual blocks, or for light ones a body in the body."""
    light, resnets = model.config.adapter_type == "light_adapter", model.config.num_res_blocks
    result = {}
    for name, value in weights.items():
        parts = name.removeprefix("adapter.").split(".")
        if light:
            parts = ["body" if part == "resnets" else part for part in parts]
        elif parts[0] == "body":
            inner = int(parts[3]) if parts[2] == "resnets" else 0
            parts = ["body", str(int(parts[1]) * resnets + inner), *parts[4 if parts[2] == "resnets" else 2 :]]
        result[".".join(parts)] = value
    return result


def load_control(folder: Path) -> Network:
    """As diffusers reads the folder."""
    name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"]
    with torch.no_grad():
        return _CLASSES[name].from_pretrained(folder).eval()
