"""Blocks of every encoding of weights, and the numbers that the reference readers make of them."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.numpy import save_file

BLOCKS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL")
FLOATS = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
# Where float16 factors lie in a block.
FACTORS = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2),
    "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,),
}  # fmt: skip
# Zero, the smallest, a subnormal, ordinary ones, the largest, infinity, a NaN.
SPECIAL = (0x0000, 0x0001, 0x8123, 0x2E66, 0xB1AB, 0x7BFF, 0x7C00, 0x7E01)


def write_encoding_fixtures(path: Path) -> None:
    random = np.random.default_rng(26)
    out: dict[str, np.ndarray] = {}
    for name in BLOCKS:
        kind = gguf.GGMLQuantizationType[name]
        _, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (len(SPECIAL), size), dtype=np.uint8)
        for block, special in zip(blocks, SPECIAL, strict=True):
            for number, at in enumerate(FACTORS[name]):
                block[at : at + 2] = np.frombuffer(np.uint16(special if number == 0 else 0x251E).tobytes(), np.uint8)
        with np.errstate(all="ignore"):
            out[f"{name}.numbers"] = gguf.quants.dequantize(blocks, kind).astype(np.float32).reshape(-1)
        out[f"{name}.blocks"] = blocks
    every = torch.arange(256, dtype=torch.int32).to(torch.uint8)
    for name, dtype in FLOATS.items():
        out[f"{name}.blocks"] = every.numpy()
        out[f"{name}.numbers"] = every.view(dtype).to(torch.float32).numpy()
    halves = random.integers(0, 65536, 512, dtype=np.uint16)
    halves[: len(SPECIAL)] = SPECIAL
    out["F16.blocks"] = halves.view(np.uint8)
    out["F16.numbers"] = halves.view(np.float16).astype(np.float32)
    out["BF16.blocks"] = halves.view(np.uint8)
    out["BF16.numbers"] = (halves.astype(np.uint32) << 16).view(np.float32)
    save_file(out, path)
