"""Networks of released size as GGUF files, a tensor at a time: random numbers, whose products keep their size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import nn

from .encoding_fixtures import FACTORS
from .encodings import decoder_name, t5_name
from .full_size import FULL_SIZE, original_parts
from .full_size_transformers import TRANSFORMER_MODELS, qwen3_4b_whole, t5_xxl

_NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "t5xxl": lambda: t5_xxl(24),
    "qwen3-4b": qwen3_4b_whole,
    **{name: model.transformer for name, model in TRANSFORMER_MODELS.items()},
}
_TEXTS: Mapping[str, tuple[str, Callable[[str], str]]] = {"t5xxl": ("t5encoder", t5_name), "qwen3-4b": ("qwen3", decoder_name)}  # as llama.cpp has them
_WHOLE = ("sd15", "sdxl")  # all networks in the original layout
GGUF_MODELS = (*_NETWORKS, *_WHOLE)
# Matrices that makers of such files leave as they are: of the first and last layers, and tables.
_PLAIN = ("x_embedder.", "context_embedder.", "time_text_embed.", "pos_embed.", "norm_out.", "proj_out.",
          "first_stage_model.")  # fmt: skip
_TABLES = ("relative_attention_bias", "_embedding", "text_projection")


def _random_blocks(shape: tuple[int, ...], kind: gguf.GGMLQuantizationType, random: np.random.Generator) -> np.ndarray:
    """Of deviation 1 / sqrt(columns)."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]

    def blocks(count: int, factor: float) -> np.ndarray:
        drawn = random.integers(0, 256, (count, size), dtype=np.uint8)
        for number, at in enumerate(FACTORS[kind.name]):
            # The second is that of the least number: about half of what the codes reach.
            value = np.float16(factor if number == 0 else factor * 7.5)
            drawn[:, at : at + 2] = np.frombuffer(value.tobytes(), np.uint8)
        return drawn

    deviation = float(gguf.quants.dequantize(blocks(256, 1.0), kind).std())
    rows = blocks(int(np.prod(shape)) // elements, shape[-1] ** -0.5 / deviation)
    return rows.reshape(*shape[:-1], shape[-1] // elements * size)


def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    if name in _WHOLE:
        named: dict[str, torch.Tensor] = {}
        for component, rename in original_parts(FULL_SIZE[name], 0):
            named |= rename(dict(component.shapes))
    else:
        with torch.device("meta"):
            named = _NETWORKS[name]().state_dict()
        for tied in ("encoder.embed_tokens.weight", "lm_head.weight"):
            named.pop(tied, None)
    return {key: tuple(value.shape) for key, value in named.items() if value.ndim}  # not OpenCLIP's logit_scale


def write_gguf(path: Path, name: str, encoding: str, seed: int) -> None:
    """The network alone: transformers under diffusers' names, language models under llama.cpp's; or a whole U-Net model as its authors
    publish it."""
    kind, random = gguf.GGMLQuantizationType[encoding], np.random.default_rng(seed)
    shapes = _shapes(name)
    architecture, name_of = _TEXTS.get(name, (name if name in _WHOLE else "flux", str))
    writer = gguf.GGUFWriter(path, architecture)

    def coded(key: str) -> bool:
        whole = len(shapes[key]) == 2 and shapes[key][-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
        return whole and not key.startswith(_PLAIN) and not any(t in key for t in _TABLES)

    for key, shape in shapes.items():
        called = name_of(key)
        if coded(key):
            elements, size = gguf.GGML_QUANT_SIZES[kind]
            stored = (*shape[:-1], shape[-1] // elements * size)
            writer.add_tensor_info(called, stored, np.dtype(np.uint8), int(np.prod(stored)), raw_dtype=kind)
        else:
            writer.add_tensor_info(called, shape, np.dtype(np.float16), 2 * int(np.prod(shape)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for key, shape in shapes.items():
        if coded(key):
            writer.write_tensor_data(_random_blocks(shape, kind, random))
        elif len(shape) == 1:
            writer.write_tensor_data(np.full(shape, 1 if "norm" in key and key.endswith("weight") else 0, np.float16))
        else:
            deviation = int(np.prod(shape[1:])) ** -0.5
            writer.write_tensor_data((random.standard_normal(shape, np.float32) * deviation).astype(np.float16))
    writer.close()
