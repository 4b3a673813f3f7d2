"""Fixture files: tensors and their configuration in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor


def save_fixture(
    path: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
) -> None:  # fmt: skip
    """Writes `w.*` (float16: the models were made of such values), `in.*` and `out.*`, and the configuration as JSON
    under the metadata key "config"."""
    tensors = {f"w.{name}": value.half() for name, value in weights.items()}
    tensors |= {f"in.{name}": value for name, value in inputs.items()}
    tensors |= {f"out.{name}": value for name, value in outputs.items()}
    for name, value in weights.items():
        if not torch.equal(value.half().float(), value):
            raise ValueError(f"{path.name}: {name} is not exact in float16")
    save(path, tensors, {"config": config})


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """A safetensors file whose metadata values are JSON texts. The same content gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{path.name}: {name} is not finite")
    texts = {key: json.dumps(value, sort_keys=True, ensure_ascii=False) for key, value in metadata.items()}
    save_file({name: value.detach().contiguous() for name, value in tensors.items()}, path, texts)
