"""Tensors in codes with what describes them, as files have them, and the numbers that bitsandbytes and comfy-kitchen make of them."""

from __future__ import annotations

import json
from pathlib import Path

import comfy_kitchen
import torch
from bitsandbytes import functional
from bitsandbytes.functional import QuantState
from comfy_kitchen.backends.eager import quantization as eager
from safetensors.torch import save_file
from torch import Tensor

from .encodings import four_bits

# Of blocks: ordinary ones, zero, the smallest, a subnormal, near the largest. AVX-512's conversion to bfloat16 makes zeros of
# subnormals, so there are none where bitsandbytes uses it.
SCALES = (1.0, 0.03, 2.5e-5, 0.0, 1.2e-38, 3e-40, 3e38, 7e4)
SHAPES = {"": (16, 128), "odd-": (5, 33), "thin-": (1, 64), "part-": (8, 48), "kernel-": (6, 8, 3, 3)}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def _four_bits(out: dict[str, Tensor], generator: torch.Generator, kind: str, shape: tuple[int, ...], name: str, *,
               dtype: torch.dtype, nested: bool, size: int) -> None:  # fmt: skip
    weight = torch.randn(shape, generator=generator).to(dtype)
    codes, state = functional.quantize_4bit(weight, blocksize=size, quant_type=kind, compress_statistics=nested)
    if nested:  # codes of scales of every size
        state.absmax = torch.randint(0, 256, state.absmax.shape, generator=generator, dtype=torch.uint8)
    else:
        scales = [scale for scale in SCALES if dtype != torch.bfloat16 or not 0 < scale < 1e-30]
        state.absmax = torch.tensor(scales).repeat(len(state.absmax) // len(scales) + 1)[: len(state.absmax)].contiguous()
    codes = torch.randint(0, 256, codes.shape, generator=generator, dtype=torch.uint8)
    out[f"{name}.weight"] = codes
    out |= {f"{name}.weight.{key}": value for key, value in state.as_dict(packed=True).items()}
    again = QuantState.from_dict({key: value.clone() for key, value in state.as_dict(packed=True).items()}, torch.device("cpu"))
    out[f"{name}.numbers"] = four_bits(codes, again).float().contiguous()


def _said(**words: object) -> Tensor:
    return torch.tensor(list(json.dumps(words).encode()), dtype=torch.uint8)


def write_quantization_fixtures(path: Path) -> None:
    generator = torch.Generator().manual_seed(27)
    out: dict[str, Tensor] = {}
    for kind in ("nf4", "fp4"):
        for told, dtype in DTYPES.items():
            for nested in (False, True):
                for place, shape in SHAPES.items():
                    name = f"{kind}-{told}-{place}{'nested' if nested else 'single'}"
                    _four_bits(out, generator, kind, shape, name, dtype=dtype, nested=nested, size=64)
        _four_bits(out, generator, kind, (16, 512), f"{kind}-wide", dtype=torch.float32, nested=True, size=256)
    codes = torch.randint(-127, 128, (len(SCALES), 40), generator=generator, dtype=torch.int8)
    out |= {"bnb-int8.weight": codes, "bnb-int8.SCB": torch.tensor(SCALES), "bnb-int8.weight_format": torch.tensor(0, dtype=torch.uint8),
            "bnb-int8.numbers": functional.int8_vectorwise_dequant(codes, torch.tensor(SCALES))}  # fmt: skip
    for told, scale in (("rows", torch.tensor(SCALES).reshape(-1, 1)), ("one", torch.tensor(0.37))):
        out |= {f"int8-{told}.weight": codes.clone(), f"int8-{told}.weight_scale": scale, f"int8-{told}.comfy_quant": _said(format="int8_tensorwise"),
                f"int8-{told}.numbers": comfy_kitchen.dequantize_int8_simple(codes, scale)}  # fmt: skip
    for size in (4, 16, 256):
        weight = torch.randn(6, 512, generator=generator)
        codes, scale = eager.quantize_int8_convrot_weight(weight, size)
        said = _said(format="int8_tensorwise", convrot=True, **({"convrot_groupsize": size} if size != 256 else {}))
        out |= {f"convrot-{size}.weight": codes, f"convrot-{size}.weight_scale": scale, f"convrot-{size}.comfy_quant": said,
                f"convrot-{size}.numbers": eager.dequantize_int8_convrot_weight(codes, scale, size)}  # fmt: skip
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        told = str(dtype).removeprefix("torch.")
        codes, scale = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(dtype).reshape(16, 16), torch.tensor(0.0173)
        out |= {f"{told}.weight": codes, f"{told}.weight_scale": scale, f"{told}.comfy_quant": _said(format=told),
                f"{told}.numbers": comfy_kitchen.dequantize_per_tensor_fp8(codes, scale, torch.float32)}  # fmt: skip
    save_file(out, path)
