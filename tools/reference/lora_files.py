"""Tiny random LoRA files of every spelling and algorithm, and what they make of a pipeline.

Whatever diffusers reads it fuses itself (load_lora_weights, fuse_lora). What it does not (LoHa, LoKr, Tucker cores,
norms, GLoRA, (IA)^3, OFT, BOFT, DoRA as LyCORIS writes it) is merged into its pipeline's state dict with lycoris-lora's own functions."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor, nn

from . import transformer_loras
from .lora_algorithms import ALGORITHMS, LoraSpec, added_to_bias, merged, named_tensors


@dataclass(frozen=True)
class LoraUse:
    """A file, made for a model, and its scales, as --lora says them."""

    model: str
    spec: LoraSpec
    unet_scale: float = 1.0
    text_scale: float = 1.0

    def argument(self, path: Path) -> str:
        if self.unet_scale == self.text_scale == 1:
            return str(path)
        if self.unet_scale == self.text_scale:
            return f"{path}:{self.unet_scale}"
        return f"{path}:unet={self.unet_scale},te={self.text_scale}"


COMPONENTS = ("unet", "text_encoder", "text_encoder_2")
BACKBONES = ("unet", "transformer")


def _modules(pipe: DiffusionPipeline, spec: LoraSpec) -> Iterator[tuple[str, str, nn.Module]]:
    """What is trained: attention and feed-forward layers and projections (and convolutions, norms)."""
    for component in COMPONENTS:
        network = getattr(pipe, component, None)
        if network is None or ("unet" if component == "unet" else "te") not in spec.parts.split():
            continue
        for name, module in network.named_modules():
            name = name.removeprefix("text_model.")
            if spec.algorithm == "norm":
                if isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
                    yield component, name, module
            elif isinstance(module, (nn.Linear, nn.Conv2d)):
                if re.search(r"attentions\.|encoder\.layers|text_projection", name) or (spec.convs and "resnets" in name) or (
                    spec.convs and "samplers" in name
                ):
                    yield component, name, module


def _walk(pipe: DiffusionPipeline, spec: LoraSpec) -> Iterator[tuple[str, str, nn.Module]]:
    """As cloneofsimo's lora_diffusion finds what it trains: layers of modules of certain classes, in torch's order. With
    "old" in the spelling, in that of diffusers before 0.17."""
    wanted = {"unet": {"Attention", "GEGLU"} | ({"ResnetBlock2D"} if spec.convs else set()), "text_encoder": {"CLIPAttention"}}
    for component, classes in wanted.items():
        if ("unet" if component == "unet" else "te") not in spec.parts.split():
            continue
        parents = [(n, m) for n, m in getattr(pipe, component).named_modules() if type(m).__name__ in classes]
        if spec.spelling.endswith("old"):
            order = {"attn1": 0, "ff": 1, "attn2": 2}
            for i in range(len(parents)):
                three = parents[i : i + 3]
                if len(three) == 3 and [n.split(".")[-1] for n, _ in three[:2]] == ["attn1", "attn2"]:
                    parents[i : i + 3] = sorted(three, key=lambda p: order[re.search(r"\.(attn1|attn2|ff)(\.|$)", p[0])[1]])
        for parent, module in parents:
            for name, layer in module.named_modules():
                if isinstance(layer, (nn.Linear, nn.Conv2d)):
                    yield component, f"{parent}.{name}".removeprefix("text_model."), layer


def original_names(unet: nn.Module) -> dict[str, str]:
    """Blocks of diffusers' U-Net -> the original layout's, counted as CompVis' openaimodel.py builds them."""
    names, n = {}, 1
    for i, block in enumerate(unet.down_blocks):
        for j in range(len(block.resnets)):
            names[f"down_blocks.{i}.resnets.{j}"] = f"input_blocks.{n}.0"
            names[f"down_blocks.{i}.attentions.{j}"] = f"input_blocks.{n}.1"
            n += 1
        if block.downsamplers:
            names[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{n}.0.op"
            n += 1
    n = 0
    for i, block in enumerate(unet.up_blocks):
        for j in range(len(block.resnets)):
            names[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{n}.0"
            names[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{n}.1"
            n += 1
        attends = bool(getattr(block, "attentions", None))
        names[f"up_blocks.{i}.upsamplers.0.conv"] = f"output_blocks.{n - 1}.{2 if attends else 1}.conv"
    names |= {"mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
              "mid_block.resnets.1": "middle_block.2"}  # fmt: skip
    return names


_LEAVES = {"conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
           "norm1": "in_layers.0", "norm2": "out_layers.0"}  # fmt: skip


def _original(name: str, blocks: Mapping[str, str]) -> str:
    for ours, theirs in blocks.items():
        if name == ours or name.startswith(ours + "."):
            rest = name[len(ours):]
            if ".resnets." in ours:
                rest = "." + _LEAVES.get(rest[1:], rest[1:])
            return theirs + rest
    return name


def _module_name(spelling: str, component: str, name: str, blocks: Mapping[str, str], xl: bool) -> str:
    text = name if component == "unet" or name == "text_projection" else f"text_model.{name}"
    if spelling in ("kohya", "kohya-original"):
        prefix = {"unet": "lora_unet_", "text_encoder": "lora_te1_" if xl else "lora_te_", "text_encoder_2": "lora_te2_"}
        spelled = _original(text, blocks) if spelling == "kohya-original" and component == "unet" else text
        return prefix[component] + spelled.replace(".", "_")
    if spelling == "lycoris":
        return ("lycoris_" if component == "unet" else f"lycoris_{component}_") + text.replace(".", "_")
    if spelling == "comfy":
        prefix = {"unet": "diffusion_model.", "text_encoder": "text_encoders.clip_l.transformer.",
                  "text_encoder_2": "text_encoders.clip_g.transformer."}  # fmt: skip
        return prefix[component] + (_original(text, blocks) if component == "unet" else text)
    spelled = f"{component}.{text}"
    if spelling == "processors" and component == "unet":  # diffusers before 0.22
        spelled = re.sub(r"\.(to_[qkv])$", r".processor.\1", spelled)
        spelled = re.sub(r"\.to_out\.0$", ".processor.to_out", spelled)
    return spelled


_LEFT_TO_LYCORIS = ("lycoris", "comfy", "peft-default", "cloneofsimo", "cloneofsimo-old")
_WITHOUT_ALPHA = ("norm", "diff", "ia3", "oft", "boft")
_WITH_ALPHA = ("kohya", "kohya-original", "lycoris", "comfy")


def _pair(spelling: str, component: str, module: str) -> tuple[str, str]:
    """Endings of down and up."""
    if spelling.startswith("cloneofsimo"):
        return ":down", ":up"
    if spelling == "peft":
        return ".lora_A.weight", ".lora_B.weight"
    if spelling == "peft-default":
        return ".lora_A.default.weight", ".lora_B.default.weight"
    if spelling == "processors":
        if ".processor." in module:
            return "_lora.down.weight", "_lora.up.weight"
        return (".lora.down.weight", ".lora.up.weight") if component == "unet" else (
            ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")  # fmt: skip
    return ".lora_down.weight", ".lora_up.weight"


def write_lora(pipe: DiffusionPipeline, spec: LoraSpec, file: Path) -> None:
    """The file, and beside it what it is for every weight: FILE.pt, {component: {parameter: tensors}}."""
    if hasattr(pipe, "transformer"):
        transformer_loras.write(pipe, spec, file)
        return
    generator = torch.Generator("cpu").manual_seed(sum(map(ord, spec.name)))
    xl, blocks = getattr(pipe, "text_encoder_2", None) is not None, original_names(pipe.unet)
    tensors: dict[str, Tensor] = {}
    plan: dict[str, dict[str, dict[str, Tensor]]] = {}
    numbered, numbers, metadata = spec.spelling.startswith("cloneofsimo"), Counter(), {}
    for index, (component, name, module) in enumerate((_walk if numbered else _modules)(pipe, spec)):
        rank = 2 + index % 3
        parts = ALGORITHMS[spec.algorithm](module, rank, generator, spec)
        if spec.alpha and spec.spelling in _WITH_ALPHA and spec.algorithm not in _WITHOUT_ALPHA:
            parts["alpha"] = torch.tensor(float(1 + index % 4) if spec.alphas else 3.0)
        spelled = f"{component}:{numbers[component]}" if numbered else _module_name(spec.spelling, component, name, blocks, xl)
        numbers[component] += 1
        tensors |= named_tensors(spelled, _pair(spec.spelling, component, spelled), parts)
        plan.setdefault(component, {})[name] = {**parts, "rank": torch.tensor(rank)}
    if numbered and spec.convs:  # what the trainer looked for
        metadata = {"unet": json.dumps(["Attention", "GEGLU", "CrossAttention", "ResnetBlock2D"])}
    save_file(tensors, file, metadata)
    torch.save(plan, file.with_suffix(".pt"))


def merge(pipe: DiffusionPipeline, file: Path, use: LoraUse) -> None:
    """Adds a file that diffusers cannot read, by what write_lora kept."""
    if hasattr(pipe, "transformer"):
        transformer_loras.merge(pipe, use.spec, file, use.unet_scale, use.text_scale)
        return
    for component, modules in torch.load(file.with_suffix(".pt")).items():
        network, strength = getattr(pipe, component), use.unet_scale if component == "unet" else use.text_scale
        named = {name.removeprefix("text_model."): module for name, module in network.named_modules()}
        for name, parts in modules.items():
            named[name].weight.copy_(merged(parts, named[name].weight, strength))
            change = added_to_bias(parts)
            if change is not None:
                named[name].bias.add_(change * strength)


def read_by_diffusers(pipe: DiffusionPipeline, use: LoraUse) -> bool:
    if hasattr(pipe, "transformer"):
        return transformer_loras.read_by_diffusers(pipe, use.spec)
    spelling = use.spec.spelling
    if use.spec.alphas or (spelling == "kohya-original" and use.model != "sdxl"):  # there alone it takes block numbers
        return False
    return use.spec.algorithm in ("lora", "dora") and spelling not in _LEFT_TO_LYCORIS


def _fuse(pipe: DiffusionPipeline, use: LoraUse, file: Path, name: str) -> None:
    pipe.load_lora_weights(str(file), adapter_name=name)
    carrying = sorted(c for c, names in pipe.get_list_adapters().items() if name in names)
    pipe.set_adapters([name], [{c: use.unet_scale if c in BACKBONES else use.text_scale for c in carrying}])
    pipe.fuse_lora(components=carrying, adapter_names=[name])
    pipe.unload_lora_weights()


def with_loras(pipe: DiffusionPipeline, uses: list[tuple[LoraUse, Path]]) -> DiffusionPipeline:
    """A copy of the pipeline with the files in it."""
    parts = {name: copy.deepcopy(part) for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    changed = type(pipe)(**{**pipe.components, **parts})
    changed.set_progress_bar_config(disable=True)
    for key, value in pipe.config.items():
        if key not in changed.config or changed.config[key] != value:
            changed.register_to_config(**{key: value})
    # load_pipeline's alias, which makes load_lora_weights take the encoder for one of transformers 4.
    aliased = "text_model" in vars(getattr(changed, "text_encoder", pipe))
    if aliased:
        object.__delattr__(changed.text_encoder, "text_model")
    with torch.no_grad():
        for index, (use, file) in enumerate(uses):
            if not read_by_diffusers(changed, use):
                merge(changed, file, use)
            else:
                _fuse(changed, use, file, f"lora{index}")
    if aliased:
        object.__setattr__(changed.text_encoder, "text_model", changed.text_encoder)
    return changed
