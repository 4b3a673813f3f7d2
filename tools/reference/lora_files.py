"""Tiny random LoRA files of every spelling and algorithm, and what they make of a pipeline.

Whatever diffusers reads it fuses itself (load_lora_weights, fuse_lora). What it does not (LoHa, LoKr, Tucker cores,
norms, GLoRA, (IA)^3, OFT, BOFT, DoRA as LyCORIS writes it) is merged into its pipeline's state dict with lycoris-lora's own functions."""

from __future__ import annotations

import copy
import json
import re
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor, nn


def _lycoris() -> Any:
    """lycoris.functional without lycoris' own __init__, which imports trainers' dependencies."""
    import importlib.util

    if "lycoris" not in sys.modules:
        places = list(importlib.util.find_spec("lycoris").submodule_search_locations)
        for name, below in (("lycoris", ""), ("lycoris.modules", "/modules"), ("lycoris.utils", "/utils")):
            package = types.ModuleType(name)
            package.__path__ = [place + below for place in places]
            sys.modules[name] = package
        # Imported by what is called here, and not used by it.
        sys.modules.setdefault("einops", types.SimpleNamespace(rearrange=None))
    import lycoris.functional.boft as boft
    import lycoris.functional.diag_oft as oft
    import lycoris.functional.general as general
    import lycoris.functional.loha as loha
    import lycoris.functional.lokr as lokr
    from lycoris.modules.glora import _glora_weight
    from lycoris.modules.ia3 import _ia3_weight

    return types.SimpleNamespace(general=general, loha=loha, lokr=lokr, oft=oft, boft=boft,
                                 glora_weight=_glora_weight, ia3_weight=_ia3_weight)  # fmt: skip


@dataclass(frozen=True)
class LoraSpec:
    """A LoRA file: names in `spelling` (see _SPELLINGS), products of `algorithm` (see _ALGORITHMS), for `parts`."""

    name: str
    spelling: str = "kohya"
    algorithm: str = "lora"
    parts: str = "unet te"  # either or both
    convs: bool = False  # resnets and resamplers too
    alpha: bool = True
    alphas: bool = False  # another for every module, of which diffusers 0.42.1 keeps the commonest alone
    size: float = 1.0  # of the differences, relative to the weights


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
    generator = torch.Generator("cpu").manual_seed(sum(map(ord, spec.name)))
    xl, blocks = getattr(pipe, "text_encoder_2", None) is not None, original_names(pipe.unet)
    tensors: dict[str, Tensor] = {}
    plan: dict[str, dict[str, dict[str, Tensor]]] = {}
    numbered, numbers, metadata = spec.spelling.startswith("cloneofsimo"), Counter(), {}
    for index, (component, name, module) in enumerate((_walk if numbered else _modules)(pipe, spec)):
        rank = 2 + index % 3
        parts = _ALGORITHMS[spec.algorithm](module, rank, generator, spec)
        if spec.alpha and spec.spelling in _WITH_ALPHA and spec.algorithm not in _WITHOUT_ALPHA:
            parts["alpha"] = torch.tensor(float(1 + index % 4) if spec.alphas else 3.0)
        spelled = f"{component}:{numbers[component]}" if numbered else _module_name(spec.spelling, component, name, blocks, xl)
        numbers[component] += 1
        down, up = _pair(spec.spelling, component, spelled)
        endings = {"down": down, "up": up, "mid": ".lora_mid.weight", "magnitude": ".lora_magnitude_vector"}
        endings |= {part: f".{part}.weight" for part in ("a1", "a2", "b1", "b2")} | {"ia3": ".weight"}
        for part, tensor in parts.items():
            tensors[spelled + endings.get(part, f".{part}")] = tensor.contiguous()
        plan.setdefault(component, {})[name] = {**parts, "rank": torch.tensor(rank)}
    if numbered and spec.convs:  # what the trainer looked for
        metadata = {"unet": json.dumps(["Attention", "GEGLU", "CrossAttention", "ResnetBlock2D"])}
    save_file(tensors, file, metadata)
    torch.save(plan, file.with_suffix(".pt"))


def _shape(module: nn.Module) -> tuple[int, int, list[int]]:
    out, inner, *kernel = module.weight.shape
    return out, inner, list(kernel)


def _draw(generator: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=generator) * scale


def _strength(module: nn.Module, spec: LoraSpec, factors: int, rank: int) -> float:
    """What each of `factors` random factors is multiplied by for a difference like the weight's own deviation."""
    return (0.5 * spec.size * float(module.weight.detach().std()) / rank**0.5) ** (1 / factors)


def _lora(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    out, inner, kernel = _shape(module)
    s = _strength(module, spec, 2, rank)
    return {"down": _draw(g, rank, inner, *kernel, scale=s), "up": _draw(g, out, rank, *[1] * len(kernel), scale=s)}


def _tucker(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    out, inner, kernel = _shape(module)
    if not kernel or kernel == [1, 1]:
        return _lora(module, rank, g, spec)
    s = _strength(module, spec, 3, rank * rank)
    return {"down": _draw(g, rank, inner, 1, 1, scale=s), "up": _draw(g, out, rank, 1, 1, scale=s),
            "mid": _draw(g, rank, rank, *kernel, scale=s)}  # fmt: skip


def _loha(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    out, inner, kernel = _shape(module)
    whole = 1
    for n in kernel:
        whole *= n
    if kernel and whole > 1:
        s = _strength(module, spec, 6, rank**4)
        return {f"hada_{n}": _draw(g, *shape, scale=s) for w in "12" for n, shape in (
            (f"w{w}_a", (rank, out)), (f"w{w}_b", (rank, inner)), (f"t{w}", (rank, rank, *kernel)))}  # fmt: skip
    s = _strength(module, spec, 4, rank**2)
    return {f"hada_w{w}_{n}": _draw(g, *shape, scale=s) for w in "12" for n, shape in (("a", (out, rank)), ("b", (rank, inner)))}


def _lokr(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    out, inner, kernel = _shape(module)
    a, b = 4 if out % 4 == 0 else 1, 2 if inner % 2 == 0 else 1
    c, d = out // a, inner // b
    s, variant = _strength(module, spec, 3, rank), spec.name.rpartition("-")[2]
    parts = {"lokr_w1": _draw(g, a, b, scale=s)}
    if variant == "both":
        parts = {"lokr_w1_a": _draw(g, a, rank, scale=s), "lokr_w1_b": _draw(g, rank, b, scale=s)}
    if variant == "full":
        return parts | {"lokr_w2": _draw(g, c, d, *kernel, scale=s * s)}
    if kernel and kernel != [1, 1]:
        return parts | {"lokr_w2_a": _draw(g, rank, c, scale=s), "lokr_w2_b": _draw(g, rank, d, scale=s),
                        "lokr_t2": _draw(g, rank, rank, *kernel, scale=s)}  # fmt: skip
    return parts | {"lokr_w2_a": _draw(g, c, rank, scale=s), "lokr_w2_b": _draw(g, rank, d, *kernel, scale=s)}


def _magnitude(module: nn.Module, g: torch.Generator) -> Tensor:
    norm = module.weight.detach().flatten(1).norm(dim=1)
    return norm * (1 + 0.3 * torch.randn(norm.shape, generator=g))


def _dora(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    magnitude = _magnitude(module, g)
    return _lora(module, rank, g, spec) | {"magnitude": magnitude}


def _dora_scale(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    magnitude = _magnitude(module, g).reshape(-1, *[1] * (module.weight.dim() - 1))
    return _lora(module, rank, g, spec) | {"dora_scale": magnitude}


def _diff(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    std = 0.5 * spec.size * float(module.weight.detach().std())
    parts = {"diff": _draw(g, *module.weight.shape, scale=std)}
    return parts | ({"diff_b": _draw(g, *module.bias.shape, scale=0.05)} if module.bias is not None else {})


def _glora(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    out, inner, kernel = _shape(module)
    s, ones = _strength(module, spec, 2, rank), [1] * len(kernel)
    a = (0.3 / rank**0.5 / inner**0.5) ** 0.5
    return {"a1": _draw(g, inner, rank, *ones, scale=a), "a2": _draw(g, rank, inner, *ones, scale=a),
            "b1": _draw(g, out, rank, *ones, scale=s), "b2": _draw(g, rank, inner, *kernel, scale=s)}  # fmt: skip


def _ia3(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    """Every third module is scaled by its inputs."""
    out, inner, kernel = _shape(module)
    on_input = rank == 2
    count = inner if on_input else out
    shape = (1, count, *[1] * len(kernel)) if kernel else (count,)
    return {"ia3": _draw(g, *shape, scale=0.3 * spec.size), "on_input": torch.tensor(int(on_input))}


def _oft(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    """One half with lengths, one with a limit."""
    out, _, kernel = _shape(module)
    block = 4 if out % 4 == 0 else 1
    parts = {"oft_blocks": _draw(g, out // block, block, block, scale=0.3 * spec.size)}
    return _lengths(parts, out, kernel, rank, g)


def _boft(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    out, _, kernel = _shape(module)
    block = out
    while block % 4 == 0:
        block //= 2
    stages = (out // block).bit_length()
    parts = {"oft_blocks": _draw(g, stages, out // block, block, block, scale=0.2 * spec.size)}
    return _lengths(parts, out, kernel, rank, g)


def _lengths(parts: dict[str, Tensor], out: int, kernel: list[int], rank: int, g: torch.Generator) -> dict[str, Tensor]:
    if rank == 2:
        return parts | {"alpha": torch.tensor(0)}
    if rank == 3:
        return parts | {"alpha": torch.tensor(0.01)}
    return parts | {"rescale": 1 + _draw(g, out, 1, *[1] * len(kernel), scale=0.1)}


def _norm(module: nn.Module, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    return {f"{n}_norm": _draw(g, *module.weight.shape, scale=0.3 * spec.size) for n in "wb"}


_ALGORITHMS: dict[str, Callable[[nn.Module, int, torch.Generator, LoraSpec], dict[str, Tensor]]] = {
    "lora": _lora, "tucker": _tucker, "loha": _loha, "lokr": _lokr, "dora": _dora, "dora_scale": _dora_scale,
    "diff": _diff, "norm": _norm, "glora": _glora, "ia3": _ia3, "oft": _oft, "boft": _boft,
}  # fmt: skip


def _of_the_weight(parts: Mapping[str, Tensor], weight: Tensor, strength: float) -> Tensor:
    """What algorithms add that multiply the weight, as LyCORIS' modules merge them."""
    ly = _lycoris()
    if "ia3" in parts:
        return ly.ia3_weight(weight, parts["ia3"], bool(parts["on_input"]), strength, True)
    if "a1" in parts:
        gamma = float(parts["alpha"]) / int(parts["rank"]) if "alpha" in parts else 1.0
        return ly.glora_weight(weight, *(parts[name] for name in ("a1", "a2", "b1", "b2")), None, gamma) * strength
    blocks, rescale = parts["oft_blocks"], parts.get("rescale")
    limit = float(parts.get("alpha", 0)) * len(weight)
    if blocks.dim() == 4:
        return ly.boft.diff_weight(weight, blocks, rescale, constraint=limit, scale=strength, backend="torch")
    if strength == 1:
        return ly.oft.diff_weight(weight, blocks, rescale, constraint=limit, backend="torch")
    # DiagOFTModule.make_weight
    one = torch.eye(blocks.shape[-1])
    turns = ly.oft.get_r(blocks, one, limit) * strength - strength * one
    rows = weight.reshape(*blocks.shape[:2], *weight.shape[1:])
    change = torch.einsum("k n m, k n ... -> k m ...", turns, rows).reshape(weight.shape)
    return change if rescale is None else rescale * change + (rescale - 1) * weight


def _delta(parts: Mapping[str, Tensor], shape: torch.Size) -> Tensor:
    ly, rank = _lycoris(), int(parts["rank"])
    scale = float(parts["alpha"]) / rank if "alpha" in parts else 1.0
    get = parts.get
    if "down" in parts and "mid" in parts:
        up = parts["up"].flatten(1).t()
        return ly.general.rebuild_tucker(parts["mid"], up, parts["down"].flatten(1)) * scale
    if "down" in parts:
        return (parts["up"].flatten(1) @ parts["down"].flatten(1)).reshape(shape) * scale
    if "hada_w1_a" in parts:
        weights = (parts["hada_w1_b"], parts["hada_w1_a"], parts["hada_w2_b"], parts["hada_w2_a"], get("hada_t1"), get("hada_t2"))
        return ly.loha.diff_weight(*weights, gamma=scale, backend="torch").reshape(shape)
    if "lokr_w2" in parts and "lokr_w1" in parts:
        scale = 1.0
    names = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
    # Not its diff_weight, which takes a core's side for the rank; LyCORIS' module calls this too.
    return ly.lokr.kron_weight(*(get(name) for name in names), scale=scale, backend="torch").reshape(shape)


def merge(pipe: DiffusionPipeline, file: Path, use: LoraUse) -> None:
    """Adds a file that diffusers cannot read, by what write_lora kept."""
    for component, modules in torch.load(file.with_suffix(".pt")).items():
        network, strength = getattr(pipe, component), use.unet_scale if component == "unet" else use.text_scale
        named = {name.removeprefix("text_model."): module for name, module in network.named_modules()}
        for name, parts in modules.items():
            weight, bias = named[name].weight, named[name].bias
            if parts.keys() & {"ia3", "a1", "oft_blocks"}:
                if strength:
                    weight.add_(_of_the_weight(parts, weight.clone(), strength))
                continue
            difference = parts["diff"] if "diff" in parts else parts["w_norm"] if "w_norm" in parts else _delta(parts, weight.shape)
            merged = weight + difference * strength
            if "dora_scale" in parts:
                whole = _lycoris().general.weight_decompose(weight + difference, parts["dora_scale"], backend="torch")
                merged = weight + strength * (whole - weight)
            weight.copy_(merged)
            change = parts.get("diff_b", parts.get("b_norm"))
            if change is not None:
                bias.add_(change * strength)


def read_by_diffusers(use: LoraUse) -> bool:
    spelling = use.spec.spelling
    if use.spec.alphas or (spelling == "kohya-original" and use.model != "sdxl"):  # there alone it takes block numbers
        return False
    return use.spec.algorithm in ("lora", "dora") and spelling not in _LEFT_TO_LYCORIS


def with_loras(pipe: DiffusionPipeline, uses: list[tuple[LoraUse, Path]]) -> DiffusionPipeline:
    """A copy of the pipeline with the files in it."""
    parts = {name: copy.deepcopy(part) for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    changed = type(pipe)(**{**pipe.components, **parts})
    changed.set_progress_bar_config(disable=True)
    for key, value in pipe.config.items():
        if key not in changed.config or changed.config[key] != value:
            changed.register_to_config(**{key: value})
    # load_pipeline's alias, which makes load_lora_weights take the encoder for one of transformers 4.
    aliased = "text_model" in vars(changed.text_encoder)
    if aliased:
        object.__delattr__(changed.text_encoder, "text_model")
    with torch.no_grad():
        for index, (use, file) in enumerate(uses):
            if not read_by_diffusers(use):
                merge(changed, file, use)
                continue
            name = f"lora{index}"
            changed.load_lora_weights(str(file), adapter_name=name)
            present = [c for c in COMPONENTS if getattr(changed, c, None) is not None]
            scales = {c: use.unet_scale if c == "unet" else use.text_scale for c in present}
            carrying = {c for c, names in changed.get_list_adapters().items() if name in names}
            changed.set_adapters([name], [{c: s for c, s in scales.items() if c in carrying}])
            changed.fuse_lora(components=sorted(carrying), adapter_names=[name])
            changed.unload_lora_weights()
    if aliased:
        object.__setattr__(changed.text_encoder, "text_model", changed.text_encoder)
    return changed
