"""Networks of released size as GGUF files, a tensor at a time: random numbers, whose products keep their size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import nn

from .encoding_fixtures import FACTORS
from .encodings import t5_name
from .full_size_transformers import TRANSFORMER_MODELS, t5_xxl

GGUF_MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "t5xxl": lambda: t5_xxl(24),
    **{name: model.transformer for name, model in TRANSFORMER_MODELS.items()},
}
# Matrices that makers of such files leave as they are: of the first and last layers, and tables.
_PLAIN = ("x_embedder.", "context_embedder.", "time_text_embed.", "pos_embed.", "norm_out.", "proj_out.")


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


def write_gguf(path: Path, name: str, encoding: str, seed: int) -> None:
    """The network alone; transformers under diffusers' names, T5 under llama.cpp's."""
    with torch.device("meta"):
        network = GGUF_MODELS[name]()
    kind, random = gguf.GGMLQuantizationType[encoding], np.random.default_rng(seed)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items() if key != "encoder.embed_tokens.weight"}
    writer = gguf.GGUFWriter(path, "t5encoder" if name == "t5xxl" else "flux")

    def coded(key: str) -> bool:
        whole = shapes[key][-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
        return len(shapes[key]) == 2 and whole and not key.startswith(_PLAIN) and "relative_attention_bias" not in key

    for key, shape in shapes.items():
        called = t5_name(key) if name == "t5xxl" else key
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
            writer.write_tensor_data((random.standard_normal(shape, np.float32) * shape[-1] ** -0.5).astype(np.float16))
    writer.close()
