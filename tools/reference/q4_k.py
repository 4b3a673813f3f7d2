"""Blocks of Q4_K, which gguf-py reads but does not write."""

from __future__ import annotations

import numpy as np

_BLOCK, _GROUP = 256, 32


def _factors(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each block the unit, a power of two; of each group how many units a step has (1, 2, 4 or 8), and how many times eight
    units its least number is below zero. Such grids lie in one another: what was rounded to one is exact in the next."""
    low, high = np.minimum(groups.min(-1), 0), groups.max(-1)
    most = np.maximum(np.abs(groups).max((1, 2)), 1e-30)
    unit = np.exp2(np.floor(np.log2(most / 120)))
    while True:
        below = np.ceil(-low / (8 * unit[:, None]))
        span = (high + 8 * unit[:, None] * below) / unit[:, None]
        short = ((span > 15 * 8) | (below > 63)).any(1)
        if not short.any():
            return unit, np.exp2(np.ceil(np.log2(np.maximum(span, 1) / 15)).clip(0, 3)), below
        unit = np.where(short, 2 * unit, unit)


def q4_k_blocks(value: np.ndarray) -> np.ndarray:
    """Of each row its blocks' bytes. What came of these bytes gives numbers that are kept."""
    groups = value.astype(np.float64).reshape(-1, _BLOCK // _GROUP, _GROUP)
    unit, step, below = _factors(groups)
    codes = np.rint((groups / unit[:, None, None] + 8 * below[..., None]) / step[..., None]).astype(np.uint8)
    assert codes.max() <= 15
    steps, lows = step.astype(np.uint8), below.astype(np.uint8)
    # Six bits each: of the first four groups together, the others' lower four and upper two apart.
    packed = np.concatenate([
        steps[:, :4] | (steps[:, 4:] >> 4) << 6, lows[:, :4] | (lows[:, 4:] >> 4) << 6, (steps[:, 4:] & 15) | (lows[:, 4:] & 15) << 4,
    ], 1)  # fmt: skip
    halves = np.stack([unit, 8 * unit], 1).astype(np.float16).view(np.uint8)
    pairs = codes.reshape(len(codes), 4, 2, _GROUP)
    nibbles = (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(len(codes), -1)
    blocks = np.concatenate([halves, packed, nibbles], 1)
    return blocks.reshape(*value.shape[:-1], -1)
