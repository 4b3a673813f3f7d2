"""safetensors files as they should not be: bytes from a header that anything can be done to."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_DTYPES = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8}


def raw(header: bytes, data: bytes = b"", size: int | None = None) -> bytes:
    """A file whose header says that it has `size` bytes."""
    return struct.pack("<Q", len(header) if size is None else size) + header + data


def with_header(header: Any, data: bytes = b"") -> bytes:
    return raw(json.dumps(header).encode(), data)


def entry(shape: list[Any], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def of(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    """A proper file."""
    names = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    data = b""
    for name, array in arrays.items():
        header[name] = entry(list(array.shape), len(data), len(data) + array.nbytes, names[array.dtype])
        data += array.tobytes()
    return with_header(header, data)


def parts(file: bytes | Path) -> tuple[dict[str, Any], bytes]:
    """Header and data of a proper file."""
    content = file if isinstance(file, bytes) else file.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def arrays(file: bytes | Path) -> dict[str, np.ndarray]:
    header, data = parts(file)
    found = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            found[name] = np.frombuffer(data[begin:end], _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    return found
