"""Descriptions of codes that are not what they say: bitsandbytes', ComfyUI's, and formats that are refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .case import BAD_FILE, Case, write
from .safetensors_cases import PICTURE
from .safetensors_file import of

Tensors = dict[str, np.ndarray]

NAME = "encoder.block.0.layer.0.SelfAttention.q.weight"
NF4 = (-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0,
       0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0)  # fmt: skip
SAID: Mapping[str, Any] = {
    "quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [64, 64], "nested_blocksize": 256, "nested_dtype": "float32",
    "nested_offset": 0.5,
}  # fmt: skip


def _bytes(text: bytes | str) -> np.ndarray:
    return np.array([*(text.encode() if isinstance(text, str) else text)], np.uint8)


def _four_bits(said: Any = SAID, **others: np.ndarray | None) -> Tensors:
    """A layer of 64x64, whose scales are codes; `others`: of its tensors what is not so, or not there."""
    text = said if isinstance(said, (bytes, str)) else json.dumps(said)
    parts = {
        "absmax": np.zeros(64, np.uint8), "quant_map": np.array(NF4, np.float32), "nested_absmax": np.zeros(1, np.float32),
        "nested_quant_map": np.zeros(256, np.float32), **others,
    }  # fmt: skip
    codes = parts.pop("codes", np.zeros((2048, 1), np.uint8))
    out = {f"{NAME}.{key}": value for key, value in parts.items() if value is not None}
    return {**({} if codes is None else {NAME: codes}), **out, f"{NAME}.quant_state.bitsandbytes__nf4": _bytes(text)}


def damaged() -> Iterator[tuple[str, Tensors]]:
    for key in SAID:
        yield f"without-{key}", _four_bits({name: value for name, value in SAID.items() if name != key})
        for told, value in {"null": None, "list": [1], "negative": -1, "huge": 2**63, "text": "x", "half": 0.5}.items():
            if (key, told) != ("nested_offset", "negative") and not (
                key == "nested_offset" and told in ("half", "huge")
            ):
                yield f"{key}-{told}", _four_bits({**SAID, key: value})
    for told, shape in {"empty": [], "zero": [0, 64], "more": [64, 65], "fewer": [63, 64], "past-63-bits": [2**40, 2**40],
                        "deep": [1] * 30, "nested": [[64, 64]]}.items():  # fmt: skip
        yield f"shape-{told}", _four_bits({**SAID, "shape": shape})
    for part in ("absmax", "quant_map", "nested_absmax", "nested_quant_map", "codes"):
        yield f"no-{part}", _four_bits(**{part: None})
        yield f"short-{part}", _four_bits(**{part: np.zeros(3, np.float32)})
        yield f"integers-{part}", _four_bits(**{part: np.zeros(64, np.int64)})
    yield "other-map", _four_bits(quant_map=np.zeros(16, np.float32))
    yield "no-number-map", _four_bits(quant_map=np.full(16, np.nan, np.float32))
    for told, text in {
        "no-json": "{",
        "list": "[]",
        "deep": "[" * 3000,
        "no-text": b"\xff\xfe",
        "nothing": "",
        "long": " " * 5000,
    }.items():
        yield f"said-{told}", _four_bits(text)
    yield "eight-alone", {"a.SCB": np.zeros(4, np.float32)}
    yield "eight-of-floats", {"a.weight": np.zeros((4, 4), np.float32), "a.SCB": np.zeros(4, np.float32)}
    for told, said in {"nvfp4": {"format": "nvfp4"}, "nothing": {}, "rotated-by-3": {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 3},
                       "rotated-by-text": {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": "x"}}.items():  # fmt: skip
        yield f"comfy-{told}", {"a.weight": np.zeros((4, 4), np.uint8), "a.comfy_quant": _bytes(json.dumps(said))}
    for codes, beside in (
        (".qweight", ".wscales"),
        (".qweight", ".g_idx"),
        (".weight._data", ".weight._scale"),
        (".weight", ".weight_scale_inv"),
    ):
        yield f"foreign{beside}", {f"a{codes}": np.zeros((4, 4), np.uint8), f"a{beside}": np.zeros(4, np.float32)}


def cases() -> Iterator[Case]:
    for name, tensors in damaged():
        data = of(tensors)
        yield Case(
            f"codes/inspect-{name}",
            write("x.safetensors", data),
            ["inspect", "IN/x.safetensors"],
            BAD_FILE,
            ["x.safetensors"],
        )
        yield Case(
            f"codes/model-{name}",
            write("x.safetensors", data),
            ["-m", "IN/x.safetensors", *PICTURE],
            BAD_FILE,
            ["x.safetensors"],
        )
