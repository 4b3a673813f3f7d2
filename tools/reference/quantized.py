"""Networks with the numbers of the codes that `sdgen convert` has written, as gguf-py and safetensors read them."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor, nn

from .encodings import t5_name
from .flux import base_of
from .lora_files import LoraUse
from .parity_case import ParityCase
from .pictures import PictureRequest
from .pixart import BASE as PIXART_BASE
from .sd3 import BASE as SD3_BASE
from .transformer_lora_cases import SPECS
from .z_image import BASE as Z_IMAGE_BASE

# Where the codes have a place.
ENDINGS = {"q8_0": "gguf", "q4_k": "gguf", "float8": "safetensors", "int8": "safetensors"}


def convert(sdgen: Path, source: Path, target: Path, *options: str) -> None:
    subprocess.run([sdgen, "convert", f"--model={source}", f"--output={target}", *options], check=True, capture_output=True)


def is_quantized(part: str, module: object) -> bool:
    return part in ("unet", "transformer") or type(module).__name__ in ("T5EncoderModel", "Qwen3Model", "Gemma2Model")


def read_gguf(path: Path) -> dict[str, Tensor]:
    reader = gguf.GGUFReader(path)
    numbers = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        numbers[tensor.name] = torch.from_numpy(values.reshape(tuple(reversed([int(size) for size in tensor.shape]))).copy())
    return numbers


def read_scaled(path: Path) -> dict[str, Tensor]:
    weights = load_file(path)
    numbers = {}
    for name, value in weights.items():
        if name.endswith((".weight_scale", ".comfy_quant")):
            continue
        scale = weights.get(f"{name.removesuffix('.weight')}.weight_scale")
        numbers[name] = value.to(torch.float32) * (1 if scale is None else scale)
    return numbers


def read_numbers(path: Path) -> dict[str, Tensor]:
    return read_gguf(path) if path.suffix == ".gguf" else read_scaled(path)


def with_numbers(module: nn.Module, numbers: dict[str, Tensor]) -> nn.Module:
    """A copy of the module, T5 from llama.cpp's names. Nothing may be left over on either side."""
    made = copy.deepcopy(module)
    state = made.state_dict()
    tied = {"encoder.embed_tokens.weight": "shared.weight"}
    own = [name if name in numbers else tied[name] if tied.get(name) in numbers else t5_name(name) for name in state]
    names = dict(zip(state, own, strict=True))
    assert set(names.values()) == set(numbers), set(names.values()) ^ set(numbers)
    made.load_state_dict({name: numbers[own].reshape(state[name].shape) for name, own in names.items()})
    return made


def quantized_parts(pipe: DiffusionPipeline, files: dict[str, Path]) -> dict[str, nn.Module]:
    """`files`: by parts, as `sdgen convert` wrote them."""
    parts = {}
    for part, path in files.items():
        numbers, module = read_numbers(path), getattr(pipe, part)
        assert any(not torch.equal(value.reshape(-1), numbers[name].reshape(-1))
                   for name, value in module.state_dict().items() if name in numbers) or path.suffix == ".gguf", path  # fmt: skip
        parts[part] = with_numbers(module, numbers)
    return parts


def quantized_cases() -> Iterator[ParityCase]:
    """In every code, with T5 and without; of folders and of single files, whose tensors are stacks."""
    bases = {
        "sd1": PictureRequest(steps=5), "sdxl-small": PictureRequest(steps=4), "flux-q8_0": base_of("flux-dev"),
        "sd35-medium": SD3_BASE, "pixart-sigma": PIXART_BASE,
        "z-image": Z_IMAGE_BASE,
    }  # fmt: skip
    for model, base in bases.items():
        for how in ENDINGS:
            yield ParityCase(f"quantize-{how}", model, replace(base, quantize=how))
    stacks = replace(base_of("flux-dev"), text_encoder=("flux-dev-file@clip_l", "flux-dev-file@t5xxl"), vae="flux-dev-file@ae")
    for how in ("q8_0", "int8"):  # a scale of a whole stack is not that of a part
        yield ParityCase(f"quantize-{how}", "flux-dev-file", replace(stacks, quantize=how), form="bare")
    for model, base, names in (("flux-dev", base_of("flux-dev"), ("kohya-makers", "lokr-both")), ("pixart-sigma", PIXART_BASE, ("peft",))):
        for name in names:
            lora = (LoraUse(model, SPECS[name], 1.0, 1.0),)
            yield ParityCase(f"quantize-lora-{name}", model, replace(base, quantize="int8", lora=lora))
