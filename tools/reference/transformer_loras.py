"""LoRA files for diffusion transformers, in diffusers' names, in their makers', and in those that trainers made up.

diffusers fuses what it reads rightly. The rest is added to the numbers of the pipeline's networks where original_names() says that a file has them: queries, keys and values one on the other, halves that changed places."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor, nn

from .lora_algorithms import ALGORITHMS, LoraSpec, added_to_bias, merged, named_tensors
from .transformer_files import original_names, original_pixart

COMPONENTS = ("transformer", "text_encoder", "text_encoder_2", "text_encoder_3")


@dataclass(frozen=True)
class Numbers:
    """Where a layer's numbers are among all of its network, which are one row."""

    weight: Tensor
    bias: Tensor | None


def _row(network: nn.Module) -> Tensor:
    return torch.cat([value.reshape(-1) for value in network.state_dict().values()])


def _places(network: nn.Module) -> dict[str, Tensor]:
    places, begin = {}, 0
    for name, value in network.state_dict().items():
        places[name] = torch.arange(begin, begin + value.numel()).reshape(value.shape)
        begin += value.numel()
    return places


def _put(network: nn.Module, row: Tensor) -> None:
    for name, place in _places(network).items():
        network.state_dict()[name].copy_(row[place])


def _makers(network: nn.Module) -> dict[str, Tensor]:
    """The same by the names of the network's makers."""
    kind, places = type(network).__name__, _places(network)
    if not kind.startswith("PixArt"):
        return original_names(places, kind)
    made = original_pixart(places, network.config, 1)
    return {name: place for name, place in made.items() if name not in ("pos_embed", "y_embedder.y_embedding")}


def _xlabs(network: nn.Module) -> dict[str, Tensor]:
    """What XLabs' attention processors change."""
    own, named = _places(network), {}
    for i in range(network.config.num_layers):
        for number, layers, out in (("1", ("to_q", "to_k", "to_v"), "to_out.0"),
                                    ("2", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out")):  # fmt: skip
            attention, processor = f"transformer_blocks.{i}.attn", f"double_blocks.{i}.processor"
            named[f"{processor}.qkv_lora{number}.weight"] = torch.cat([own[f"{attention}.{layer}.weight"] for layer in layers])
            named[f"{processor}.proj_lora{number}.weight"] = own[f"{attention}.{out}.weight"]
    for i in range(network.config.num_single_layers):
        block, processor = f"single_transformer_blocks.{i}", f"single_blocks.{i}.processor"
        rows = [own[f"{block}.attn.{layer}.weight"] for layer in ("to_q", "to_k", "to_v")]
        named[f"{processor}.qkv_lora.weight"] = torch.cat(rows)
        named[f"{processor}.proj_lora.weight"] = own[f"{block}.proj_out.weight"]
    return named


@dataclass(frozen=True)
class Spelling:
    names: str  # of the transformer's modules: diffusers, makers, xlabs
    before: str  # what comes before them
    text: Mapping[str, str] | None = None  # the same of text encoders, by what they are: l, g, t5; None: their part's name
    pair: tuple[str, str] = (".lora_down.weight", ".lora_up.weight")
    alpha: bool = True

    @property
    def joined(self) -> bool:
        return self.before.endswith("_")


_PEFT = (".lora_A.weight", ".lora_B.weight")
_KOHYA_TEXT = {"l": "lora_te1_", "g": "lora_te2_", "t5": "lora_te3_"}
_COMFY_TEXT = {name: f"text_encoders.{file}.transformer." for name, file in (("l", "clip_l"), ("g", "clip_g"), ("t5", "t5xxl"))}
SPELLINGS: Mapping[str, Spelling] = {
    "kohya-makers": Spelling("makers", "lora_unet_", _KOHYA_TEXT),
    "comfy-makers": Spelling("makers", "diffusion_model.", _COMFY_TEXT, _PEFT),
    "bare-makers": Spelling("makers", "", _COMFY_TEXT, _PEFT, alpha=False),
    # ai-toolkit's, as makers or diffusers call the layers; musubi-tuner's of models whose makers took diffusers' names; lightx2v's.
    "ai-toolkit-makers": Spelling("makers", "diffusion_model.", pair=_PEFT, alpha=False),
    "ai-toolkit": Spelling("diffusers", "diffusion_model.", pair=_PEFT, alpha=False),
    "kohya-diffusers": Spelling("diffusers", "lora_unet_"),
    "bare-kohya": Spelling("diffusers", ""),
    "xlabs": Spelling("xlabs", "", pair=(".down.weight", ".up.weight"), alpha=False),
    "peft": Spelling("diffusers", "transformer.", pair=_PEFT, alpha=False),
    "peft-bare": Spelling("diffusers", "", pair=_PEFT, alpha=False),
    "peft-base": Spelling("diffusers", "base_model.model.", pair=_PEFT),
    "peft-old": Spelling("diffusers", "unet.base_model.model.", pair=_PEFT),
    "onetrainer": Spelling("diffusers", "lora_transformer_"),  # see _text_prefix
    "lycoris": Spelling("diffusers", "lycoris_"),
}


def _kind(network: nn.Module, part: str) -> str:
    return "t5" if type(network).__name__.startswith("T5") else "l" if part == "text_encoder" else "g"


def _text_prefix(spelling: str, network: nn.Module, part: str, alone: bool) -> str:
    said = SPELLINGS[spelling].text
    if said is not None:
        return said[_kind(network, part)]
    if spelling == "onetrainer":  # which numbers them
        number = part.rpartition("_")[2]
        return "lora_te_" if alone else f"lora_te{number if number.isdigit() else 1}_"
    return f"lycoris_{part}_" if spelling == "lycoris" else f"{part}."


def _tensors(network: nn.Module, names: str) -> dict[str, Tensor]:
    return {"diffusers": _places, "makers": _makers, "xlabs": _xlabs}[names](network)


def layers(network: nn.Module, names: str, normed: bool) -> Iterator[tuple[str, Numbers]]:
    """The layers of a network, or its norms, by one or the other's names."""
    tensors = _tensors(network, names)
    text = hasattr(network, "get_input_embeddings")
    for name, place in tensors.items():
        module, _, leaf = name.rpartition(".")
        trained = re.search(r"^(text_model\.)?encoder\.(layers|block)\.|text_projection", name) and "relative_attention" not in name
        if leaf not in ("weight", "scale") or (place.dim() > 1) == normed or (text and not trained):
            continue
        yield module.removeprefix("text_model."), Numbers(place, tensors.get(f"{module}.bias"))


def _spelled(pipe: DiffusionPipeline, spec: LoraSpec, part: str, name: str) -> str:
    spelling, network = SPELLINGS[spec.spelling], getattr(pipe, part)
    before = spelling.before
    if part != "transformer":
        before = _text_prefix(spec.spelling, network, part, not hasattr(pipe, "text_encoder_2"))
        if _kind(network, part) != "t5" and name != "text_projection":
            name = f"text_model.{name}"
    elif spec.spelling == "xlabs":  # the ending says so
        return name
    return before + (name.replace(".", "_") if before.endswith("_") else name)


def _wanted(pipe: DiffusionPipeline, spec: LoraSpec) -> Iterator[tuple[str, str]]:
    """Parts, and whose names their layers have."""
    for part in COMPONENTS:
        network = getattr(pipe, part, None)
        if network is None:
            continue
        role = "unet" if part == "transformer" else "t5" if _kind(network, part) == "t5" else "te"
        if role in spec.parts.split():
            yield part, SPELLINGS[spec.spelling].names if part == "transformer" else "diffusers"


def write(pipe: DiffusionPipeline, spec: LoraSpec, file: Path) -> None:
    """The file, and beside it what it is for every layer: FILE.pt, {part: {layer: tensors}}."""
    generator = torch.Generator("cpu").manual_seed(sum(map(ord, spec.name)))
    spelling, index = SPELLINGS[spec.spelling], 0
    tensors: dict[str, Tensor] = {}
    plan: dict[str, dict[str, dict[str, Tensor]]] = {}
    for part, names in _wanted(pipe, spec):
        row = _row(getattr(pipe, part))
        for name, numbers in layers(getattr(pipe, part), names, spec.algorithm in ("norm", "replaced")):
            if spec.only and not re.search(spec.only, name):
                continue
            if (part, name) == ("text_encoder", "text_projection"):  # which single files do without
                continue
            index, rank = index + 1, 2 + index % 3
            layer = SimpleNamespace(weight=row[numbers.weight], bias=None if numbers.bias is None else row[numbers.bias])
            parts = ALGORITHMS[spec.algorithm](layer, rank, generator, spec)
            if spec.alpha and spelling.alpha and spec.algorithm in ("lora", "lora_bias", "dora_scale", "dora_columns", "loha", "lokr", "glora"):
                parts["alpha"] = torch.tensor(float(1 + index % 4) if spec.alphas else 3.0)
            if spec.blocks and "up" in parts and len(parts["up"]) % 3 == 0:
                parts |= _block_sparse(parts["down"], parts["up"])
            rank = len(parts["down"]) if "down" in parts else rank
            pair = spelling.pair if part == "transformer" or spelling.pair == _PEFT else (".lora_down.weight", ".lora_up.weight")
            tensors |= named_tensors(_spelled(pipe, spec, part, name), pair, parts)
            plan.setdefault(part, {})[name] = {**parts, "rank": torch.tensor(rank)}
    save_file(tensors, file)
    torch.save(plan, file.with_suffix(".pt"))


def _block_sparse(down: Tensor, up: Tensor) -> dict[str, Tensor]:
    """Three products, as sd-scripts' split_qkv writes them: of the rows of each third, with what is not its own 0."""
    rank, rows = down.shape[0], len(up) // 3
    wide = torch.zeros(len(up), 3 * rank)
    for third in range(3):
        wide[third * rows : (third + 1) * rows, third * rank : (third + 1) * rank] = up[third * rows : (third + 1) * rows]
    return {"down": torch.cat([down, down.flip(0), 2 * down]), "up": wide}


def _mistaken(numbers: Numbers, name: str, mistake: str) -> Numbers:
    """The place that a layer seems to have by mistake."""
    place = numbers.weight
    if mistake == "thirds" and "qkv" in name:
        place = place.roll(len(place) // 3, 0)
    if mistake == "halves" and "adaLN_modulation" in name:
        place = place.roll(len(place) // 2, 0)
    if mistake == "rows" and "linear1" in name:
        place = place.roll(1, 0)
    return Numbers(place, numbers.bias)


def merge(pipe: DiffusionPipeline, spec: LoraSpec, file: Path, backbone_scale: float, text_scale: float) -> None:
    """Adds a file, by what write() kept."""
    plan = torch.load(file.with_suffix(".pt"))
    for part, names in _wanted(pipe, spec):
        network, strength = getattr(pipe, part), backbone_scale if part == "transformer" else text_scale
        row = _row(network)
        for name, numbers in layers(network, names, spec.algorithm in ("norm", "replaced")):
            if name not in plan.get(part, {}):
                continue
            parts = dict(plan[part][name])
            if spec.mistake == "alpha":
                parts.pop("alpha", None)
            place = _mistaken(numbers, name, spec.mistake)
            row[place.weight] = merged(parts, row[place.weight], strength)
            change = added_to_bias(parts)
            if change is not None:
                row[place.bias] += change * strength
        _put(network, row)


def read_by_diffusers(pipe: DiffusionPipeline, spec: LoraSpec) -> bool:
    """Not T5's; of kohya's files for Flux no first layers of single blocks, whose widths it takes for the released ones, and
    no last ones', whose alphas it loses. It reads none for PixArt and DiT."""
    if spec.algorithm not in ("lora", "dora") or "t5" in spec.parts.split() or spec.alphas or spec.mistake or spec.blocks:
        return False
    if not hasattr(pipe, "load_lora_weights"):
        return False
    kind = type(pipe.transformer).__name__
    if kind == "FluxTransformer2DModel" and spec.spelling == "kohya-makers":
        return "double_blocks" in spec.only
    return spec.spelling == "peft" or (spec.spelling == "xlabs" and kind == "FluxTransformer2DModel")
