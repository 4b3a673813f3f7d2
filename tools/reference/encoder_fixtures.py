"""Numbers of all kinds, and the codes that the reference writers make of them; and what plain rounding leaves of Q4_K."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.numpy import save_file

COUNT = 1024  # of each kind


def numbers() -> dict[str, np.ndarray]:
    random = np.random.default_rng(27)
    normal = random.normal(0, 0.02, COUNT)
    kinds = {
        "normal": normal,
        "heavy": random.standard_t(2, COUNT) * 0.01,
        "positive": np.abs(normal),
        "negative": -np.abs(normal),
        "shifted": random.normal(1, 0.1, COUNT),
        "constant": np.repeat(random.normal(0, 1, COUNT // 256), 256),
        "zero": np.zeros(COUNT),
        "tiny": random.normal(0, 3e-6, COUNT),
        "vanishing": random.normal(0, 1e-8, COUNT),
        "huge": random.normal(0, 5e5, COUNT),
        "sparse": np.where(random.random(COUNT) < 0.02, random.normal(0, 1, COUNT), 0),
        "outliers": np.where(random.random(COUNT) < 0.01, random.normal(0, 1, COUNT), normal),
        "halves": random.integers(-254, 255, COUNT) / 2,  # ties of the eight-bit codes
    }
    kinds["halves"][::32] = 127
    return {name: values.astype(np.float32) for name, values in kinds.items()}


def plain_errors(x: np.ndarray) -> np.ndarray:
    """Of each block of 256, the weighted error of Q4_K from the extremes of its groups, rounded to nearest."""
    blocks = x.reshape(-1, 8, 32).astype(np.float64)
    least = np.minimum(blocks.min(2), 0)
    scale = (blocks.max(2) - least) / 15

    def six_bits(values: np.ndarray) -> np.ndarray:
        factor = (values.max(1, keepdims=True) / 63).astype(np.float16).astype(np.float64)
        codes = np.clip(np.round(np.divide(values, factor, out=np.zeros_like(values), where=factor > 0)), 0, 63)
        return (factor * codes)[..., None]

    with np.errstate(over="ignore"):
        scales, offsets = six_bits(scale), six_bits(-least)
    codes = np.clip(np.round(np.divide(blocks + offsets, scales, out=np.zeros_like(blocks), where=scales > 0)), 0, 15)
    weights = np.abs(blocks) + np.sqrt((blocks**2).mean((1, 2), keepdims=True))
    return (weights * (blocks - (scales * codes - offsets)) ** 2).sum((1, 2))


def write_encoder_fixtures(path: Path) -> None:
    out: dict[str, np.ndarray] = {}
    for kind, x in numbers().items():
        tensor = torch.from_numpy(x)
        out[f"{kind}.F32"] = x
        out[f"{kind}.Q8_0"] = gguf.quants.quantize(x, gguf.GGMLQuantizationType.Q8_0)
        out[f"{kind}.BF16"] = tensor.to(torch.bfloat16).view(torch.uint8).numpy()
        if np.abs(x).max() < 65504:
            out[f"{kind}.F16"] = x.astype(np.float16).view(np.uint8)
        for name, most in (("F8_E4M3", 448), ("I8", 127)):
            scale = torch.tensor(float(np.abs(x).max()), dtype=torch.float32) / most
            scaled = tensor / (scale if scale > 0 else 1)
            codes = scaled.to(torch.float8_e4m3fn) if most == 448 else scaled.round().clamp(-127, 127).to(torch.int8)
            out[f"{kind}.{name}"] = codes.view(torch.uint8).numpy()
        out[f"{kind}.plain"] = plain_errors(x)
    save_file(out, path)
