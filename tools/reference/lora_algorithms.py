"""What the tensors of LoRA files are, drawn at random, and what they make of a weight: torch's arithmetic, and lycoris-lora's
own functions where there are some."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


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
    """A LoRA file: names in `spelling` (see lora_files.py), products of `algorithm` (see ALGORITHMS), for `parts`."""

    name: str
    spelling: str = "kohya"
    algorithm: str = "lora"
    parts: str = "unet te"  # any of: the backbone, the CLIPs, t5
    convs: bool = False  # resnets and resamplers too
    alpha: bool = True
    alphas: bool = False  # another for every module, of which diffusers 0.42.1 keeps the commonest alone
    size: float = 1.0  # of the differences, relative to the weights
    only: str = ""  # layers whose names match, of transformers
    blocks: bool = False  # of transformers: queries, keys and values have products of their own, in one
    mistake: str = ""  # with which the reference reads it, see transformer_loras.py


class Weighted(Protocol):
    """A layer of a network, or what a file makes one of several."""

    weight: Tensor
    bias: Tensor | None


def _shape(module: Weighted) -> tuple[int, int, list[int]]:
    out, inner, *kernel = module.weight.shape
    return out, inner, list(kernel)


def _draw(generator: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=generator) * scale


def _strength(module: Weighted, spec: LoraSpec, factors: int, rank: int) -> float:
    """What each of `factors` random factors is multiplied by for a difference like the weight's own deviation."""
    return (0.5 * spec.size * float(module.weight.detach().std()) / rank**0.5) ** (1 / factors)


def _lora(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    out, inner, kernel = _shape(module)
    s = _strength(module, spec, 2, rank)
    return {"down": _draw(g, rank, inner, *kernel, scale=s), "up": _draw(g, out, rank, *[1] * len(kernel), scale=s)}


def _tucker(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    out, inner, kernel = _shape(module)
    if not kernel or kernel == [1, 1]:
        return _lora(module, rank, g, spec)
    s = _strength(module, spec, 3, rank * rank)
    return {"down": _draw(g, rank, inner, 1, 1, scale=s), "up": _draw(g, out, rank, 1, 1, scale=s),
            "mid": _draw(g, rank, rank, *kernel, scale=s)}  # fmt: skip


def _loha(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
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


def _lokr(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
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


def _magnitude(module: Weighted, g: torch.Generator) -> Tensor:
    norm = module.weight.detach().flatten(1).norm(dim=1)
    return norm * (1 + 0.3 * torch.randn(norm.shape, generator=g))


def _dora(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    magnitude = _magnitude(module, g)
    return _lora(module, rank, g, spec) | {"magnitude": magnitude}


def _dora_scale(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    magnitude = _magnitude(module, g).reshape(-1, *[1] * (module.weight.dim() - 1))
    return _lora(module, rank, g, spec) | {"dora_scale": magnitude}


def _dora_columns(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    """A magnitude for every input, as some files have it."""
    weight = module.weight.detach()
    norm = weight.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *[1] * (weight.dim() - 2))
    return _lora(module, rank, g, spec) | {"dora_scale": norm * (1 + 0.3 * torch.randn(norm.shape, generator=g))}


def _diff(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    std = 0.5 * spec.size * float(module.weight.detach().std())
    parts = {"diff": _draw(g, *module.weight.shape, scale=std)}
    return parts | ({"diff_b": _draw(g, *module.bias.shape, scale=0.05)} if module.bias is not None else {})


def _glora(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    out, inner, kernel = _shape(module)
    s, ones = _strength(module, spec, 2, rank), [1] * len(kernel)
    a = (0.3 / rank**0.5 / inner**0.5) ** 0.5
    return {"a1": _draw(g, inner, rank, *ones, scale=a), "a2": _draw(g, rank, inner, *ones, scale=a),
            "b1": _draw(g, out, rank, *ones, scale=s), "b2": _draw(g, rank, inner, *kernel, scale=s)}  # fmt: skip


def _ia3(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    """Every third module is scaled by its inputs."""
    out, inner, kernel = _shape(module)
    on_input = rank == 2
    count = inner if on_input else out
    shape = (1, count, *[1] * len(kernel)) if kernel else (count,)
    return {"ia3": _draw(g, *shape, scale=0.3 * spec.size), "on_input": torch.tensor(int(on_input))}


def _oft(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    """One half with lengths, one with a limit."""
    out, _, kernel = _shape(module)
    block = 4 if out % 4 == 0 else 1
    parts = {"oft_blocks": _draw(g, out // block, block, block, scale=0.3 * spec.size)}
    return _lengths(parts, out, kernel, rank, g)


def _boft(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
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


def _norm(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    return {f"{n}_norm": _draw(g, *module.weight.shape, scale=0.3 * spec.size) for n in ("w" if module.bias is None else "wb")}


def _lora_bias(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    """PEFT's with lora_bias."""
    parts = _lora(module, rank, g, spec)
    return parts if module.bias is None else parts | {"up_bias": _draw(g, *module.bias.shape, scale=0.1)}


def _replaced(module: Weighted, rank: int, g: torch.Generator, spec: LoraSpec) -> dict[str, Tensor]:
    """A norm's weight, as ComfyUI has it, and as Black Forest Labs' control LoRAs have."""
    return {"scale" if spec.name.endswith("scale") else "set_weight": 1 + _draw(g, *module.weight.shape, scale=0.5 * spec.size)}


ALGORITHMS: dict[str, Callable[[Weighted, int, torch.Generator, LoraSpec], dict[str, Tensor]]] = {
    "lora": _lora, "tucker": _tucker, "loha": _loha, "lokr": _lokr, "dora": _dora, "dora_scale": _dora_scale, "dora_columns": _dora_columns,
    "diff": _diff, "norm": _norm, "glora": _glora, "ia3": _ia3, "oft": _oft, "boft": _boft,
    "lora_bias": _lora_bias, "replaced": _replaced,
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


def merged(parts: Mapping[str, Tensor], weight: Tensor, strength: float) -> Tensor:
    """The weight with a module's tensors in it."""
    if parts.keys() & {"ia3", "a1", "oft_blocks"}:
        return weight + _of_the_weight(parts, weight.clone(), strength) if strength else weight
    for name in ("scale", "set_weight"):
        if name in parts:
            return weight + strength * (parts[name] - weight)
    difference = parts["diff"] if "diff" in parts else parts["w_norm"] if "w_norm" in parts else _delta(parts, weight.shape)
    if "magnitude" in parts:  # as PEFT merges it
        weight = weight + difference * strength
        length = weight.flatten(1).norm(dim=1)
        return weight * (parts["magnitude"] / length).reshape(-1, *[1] * (weight.dim() - 1))
    if "dora_scale" in parts:
        by_row = len(parts["dora_scale"]) > 1
        whole = _lycoris().general.weight_decompose(weight + difference, parts["dora_scale"], wd_on_out=by_row, backend="torch")
        return weight + strength * (whole - weight)
    return weight + difference * strength


def added_to_bias(parts: Mapping[str, Tensor]) -> Tensor | None:
    if "up_bias" in parts:
        return parts["up_bias"] * float(parts["alpha"]) / int(parts["rank"]) if "alpha" in parts else parts["up_bias"]
    return parts.get("diff_b", parts.get("b_norm"))


def named_tensors(module: str, pair: tuple[str, str], parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A module's tensors as the file has them; `pair`: the endings of down and up."""
    endings = {"down": pair[0], "up": pair[1], "mid": ".lora_mid.weight", "magnitude": ".lora_magnitude_vector",
               "up_bias": ".lora_B.bias"}
    endings |= {part: f".{part}.weight" for part in ("a1", "a2", "b1", "b2")} | {"ia3": ".weight"}
    return {module + endings.get(part, f".{part}"): tensor.contiguous() for part, tensor in parts.items()}
