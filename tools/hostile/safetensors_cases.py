"""safetensors files that break the format's rules: the reference's own tests and attacks, and what other readers in C++
fell for. Each as a network's weights, as a LoRA, and under `sdgen inspect`."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from . import safetensors_file as st
from .case import ANY, BAD_FILE, FINE, Case, with_model, write

UNET = "unet/diffusion_pytorch_model.safetensors"
PICTURE = ["-p", "a fox", "-s", "1", "--steps", "1", "-o", "out.png", "--dtype", "float32"]
FOLDER = ["-m", "IN/model", *PICTURE]


def malformed() -> Iterator[tuple[str, bytes]]:
    one = st.entry([2], 0, 8)
    yield "empty", b""
    for length in (1, 7):
        yield f"{length}-bytes", b"\x10" * length
    yield "zeros", bytes(4096)
    for size in (0xFFFFFF000000003C, 100_000_001, 2**63, 2**64 - 1, 2**64 - 8, 2**64 - 7):
        yield f"header-of-{size:x}", st.raw(b'{"a":', size=size)
    yield "header-behind-the-end", st.raw(b"{}", size=1000)
    yield "header-of-nothing", st.raw(b"")
    for name, header in {
        "not-utf8": b'{"\xff":{}}',
        "not-json": b"{",
        "blank": b"    ",
        "a-list": b"[]",
        "a-number": b"12345678",
        "null": b"null",
        "two-values": b"{}{}",
        "nul-inside": b'{}\x00{"a":1}',
        "nul-behind": b"{}\x00\x00\x00",
        "bom": b"\xef\xbb\xbf{}",
        "comment": b"{/* no */}",
        "trailing-comma": b'{"__metadata__":{"a":"b"},}',
        "nan": b'{"a":NaN}',
        "lone-surrogate": b'{"\\ud800":{}}',
        "deep": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "deep-objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "cut-string": b'{"aaaaaaaa',
        "control-characters": b'{"\x1b[31m":{}}',
    }.items():
        yield f"header-{name}", st.raw(header)
    yield "the-name-twice", st.raw(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}',
        bytes(16),
    )
    for name, value in {
        "a-list": [],
        "a-number": 5,
        "a-text": "x",
        "null": None,
        "empty": {},
        "no-dtype": {"shape": [2], "data_offsets": [0, 8]},
        "no-shape": {"dtype": "F32", "data_offsets": [0, 8]},
        "no-offsets": {"dtype": "F32", "shape": [2]},
        "dtype-a-number": {**one, "dtype": 32},
        "dtype-null": {**one, "dtype": None},
        "dtype-unknown": {**one, "dtype": "F31"},
        "dtype-lower-case": {**one, "dtype": "f32"},
        "dtype-long": {**one, "dtype": "F" * 100_000},
        "dtype-of-half-bytes": {**one, "dtype": "F4"},
        "dtype-of-six-bits": {**one, "dtype": "F6_E2M3"},
        "shape-a-text": {**one, "shape": "2"},
        "shape-null": {**one, "shape": None},
        "shape-negative": {**one, "shape": [-2]},
        "shape-of-reals": {**one, "shape": [2.0]},
        "shape-of-texts": {**one, "shape": ["2"]},
        "shape-of-lists": {**one, "shape": [[2]]},
        "shape-true": {**one, "shape": [True, 2]},
        "shape-beyond-64-bits": {**one, "shape": [2**64]},
        "shape-overflow-1": {**one, "shape": [2, 18446744073709551614]},
        "shape-overflow-2": {**one, "shape": [2, 9223372036854775807]},
        "shape-wraps-to-0": {**one, "shape": [2**32, 2**32]},
        "shape-wraps-to-8": {**one, "shape": [2**62 + 2]},
        "shape-zero-times-much": {**one, "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]},
        "rank-9": {**one, "shape": [1, 1, 1, 1, 1, 1, 1, 1, 2]},
        "rank-100000": {**one, "shape": [1] * 100_000},
        "too-small": {**one, "shape": [1]},
        "too-large": {**one, "shape": [3]},
        "offsets-a-text": {**one, "data_offsets": "0,8"},
        "offsets-null": {**one, "data_offsets": None},
        "offsets-one": {**one, "data_offsets": [8]},
        "offsets-three": {**one, "data_offsets": [0, 8, 8]},
        "offsets-negative": {**one, "data_offsets": [-8, 0]},
        "offsets-of-reals": {**one, "data_offsets": [0.0, 8.0]},
        "offsets-backwards": {**one, "data_offsets": [8, 0]},
        "offsets-not-from-0": {**one, "data_offsets": [1, 9]},
        "offsets-huge": {**one, "data_offsets": [2**64 - 9, 2**64 - 1]},
        "offsets-beyond-64-bits": {**one, "data_offsets": [0, 2**64]},
        "offsets-behind-the-end": {**one, "shape": [1000], "data_offsets": [0, 4000]},
    }.items():
        yield f"tensor-{name}", st.with_header({"a": value}, bytes(8))
    yield "metadata-a-list", st.with_header({"__metadata__": [], "a": one}, bytes(8))
    yield "metadata-of-numbers", st.with_header({"__metadata__": {"a": 1}, "a": one}, bytes(8))
    yield "metadata-nested", st.with_header({"__metadata__": {"a": {"b": "c"}}, "a": one}, bytes(8))
    yield "hole", st.with_header({"a": one, "b": st.entry([2], 12, 20)}, bytes(20))
    yield "overlap", st.with_header({"a": one, "b": st.entry([2], 4, 12)}, bytes(12))
    yield "on-one-range", st.with_header({"a": one, "b": one}, bytes(8))
    yield "many-on-one-range", st.with_header({f"t{i}": st.entry([40_000], 0, 160_000) for i in range(100_000)}, bytes(160_000))
    yield "polyglot", st.with_header({"a": one}, bytes(8) + b"PK\x03\x04 extra bogus data for polyglot file")
    yield "two-bytes-missing", st.with_header({"a": one}, bytes(6))
    yield "data-missing", st.with_header({"a": one})
    yield "200001-empty-tensors", st.with_header({f"t{i}": st.entry([0], 0, 0) for i in range(200_001)})
    yield "values-without-end", st.raw(b'{"a":[' + b"0," * 4_000_000 + b"0]}")
    yield "name-of-a-megabyte", st.with_header({"n" * 1_000_000: st.entry([3], 0, 8)}, bytes(8))
    yield "name-with-escapes", st.with_header({"\x1b]0;title\x07\x1b[2J\x00": st.entry([3], 0, 8)}, bytes(8))
    for name, magic in {
        "gguf": b"GGUF\x03\0\0\0" + bytes(64),
        "gguf-of-later": b"GGUF\x04\0\0\0" + bytes(64),
        "gguf-endless": b"GGUF\x03\0\0\0" + b"\xff" * 64,
        "zip": b"PK\x03\x04" + bytes(64),
        "pickle": b"\x80\x02}q\0." + bytes(64),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "gzip": b"\x1f\x8b\x08" + bytes(64),
        "html": b"<!DOCTYPE html><html><body>404</body></html>",
        "lfs-pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "json": b'{"error":"Repository not found"}',
        "png": b"\x89PNG\r\n\x1a\n" + bytes(64),
    }.items():
        yield f"magic-{name}", magic


def legal() -> Iterator[tuple[str, bytes]]:
    """What the reference takes."""
    yield "nothing", st.raw(b"{}")
    yield "blanks-behind", st.raw(b"{}" + b" " * 100)
    yield "blanks-before", st.raw(b" \t\r\n{}")
    yield "scalar", st.with_header({"a": st.entry([], 0, 4)}, bytes(4))
    yield "no-elements", st.with_header({"a": st.entry([2, 0], 0, 0)})
    yield "in-any-order", st.with_header({"b": st.entry([1], 4, 8), "a": st.entry([1], 0, 4)}, bytes(8))


def cases(model: Path) -> Iterator[Case]:
    for name, data in malformed():
        yield Case(f"safetensors/weights/{name}", with_model(model, UNET, data), FOLDER, says=[UNET])
        file = write("x.safetensors", data)
        yield Case(f"safetensors/lora/{name}", file, ["-m", str(model), "--lora", "IN/x.safetensors", *PICTURE], says=["x.safetensors"])
        yield Case(f"safetensors/inspect/{name}", file, ["inspect", "IN/x.safetensors"], says=["x.safetensors"])
    for name, data in legal():
        file = write("x.safetensors", data)
        yield Case(f"safetensors/legal/{name}", file, ["inspect", "IN/x.safetensors"], FINE)
        # None of them is a network: the tensor that is missing is named.
        yield Case(f"safetensors/legal-weights/{name}", with_model(model, UNET, data), FOLDER, says=[UNET])
    yield from truncations(model)
    yield from tensors(model)
    yield from shards(model)


def start(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def cut(path: Path, size: int, folder: Path) -> None:
    (folder / "x.safetensors").write_bytes(start(path, size))


def truncations(model: Path) -> Iterator[Case]:
    """Every weights file at every hundredth, the smallest header at every byte."""
    files = sorted(model.glob("*/*.safetensors"))
    for path in files:
        name, size = path.relative_to(model).as_posix(), path.stat().st_size
        for percent in range(100):
            yield Case(f"safetensors/cut/{name}-{percent}%", with_model(model, name, partial(start, path, size * percent // 100)), FOLDER, says=[name])

    def header(path: Path) -> int:
        return 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]

    smallest = min(files, key=header)
    for size in range(header(smallest) + 1):
        yield Case(f"safetensors/cut-header/{size}", partial(cut, smallest, size), ["inspect", "IN/x.safetensors"], says=["x.safetensors"])


def tensors(model: Path) -> Iterator[Case]:
    """Every tensor under another name, of another type, in another shape; every file with nothing but NaN in it."""
    for path in sorted(model.glob("*/*.safetensors")):
        name = path.relative_to(model).as_posix()
        header, data = st.parts(path)
        for tensor, value in header.items():
            if tensor == "__metadata__":
                continue
            label = f"{name.split('/')[0]}/{tensor}"
            # One of its names shows the text encoder's spelling: without it the first of the other is missed.
            missed = (tensor, "'embeddings.token_embedding.weight'") if "final_layer_norm" in tensor else tensor
            # An autoencoder without an encoder draws from text all the same.
            codes = FINE if tensor == "encoder.conv_in.weight" else BAD_FILE
            renamed = {("renamed" if key == tensor else key): each for key, each in header.items()}
            yield Case(f"tensor/renamed/{label}", with_model(model, name, partial(st.with_header, renamed, data)), FOLDER, codes, [name, missed])
            retyped = {**header, tensor: {**value, "dtype": "I32" if value["dtype"] == "F32" else "I16"}}
            yield Case(f"tensor/retyped/{label}", with_model(model, name, partial(st.with_header, retyped, data)), FOLDER, says=[name, tensor])
            shape = value["shape"]
            turned = shape[::-1] if shape != shape[::-1] else [1, *shape]
            if [*turned, 1, 1] != [*shape, 1, 1]:
                reshaped = {**header, tensor: {**value, "shape": turned}}
                yield Case(f"tensor/reshaped/{label}", with_model(model, name, partial(st.with_header, reshaped, data)), FOLDER, says=[name, tensor])
        nan = partial(st.with_header, header, b"\xff" * len(data))
        yield Case(f"tensor/nan/{name}", with_model(model, name, nan), FOLDER, frozenset({5}), says=["NaN"])


def shards(model: Path) -> Iterator[Case]:
    """Weights in parts, whose index says where."""
    part, index = "unet/part.safetensors", "unet/diffusion_pytorch_model.safetensors.index.json"
    whole = (model / UNET).read_bytes()
    header, _ = st.parts(whole)
    names = [n for n in header if n != "__metadata__"]

    def make(text: bytes, folder: Path) -> None:
        with_model(model, UNET)(folder)
        (folder / "model" / index).write_bytes(text)
        (folder / "model" / part).write_bytes(whole)
        (folder / "part.safetensors").write_bytes(whole)

    def index_of(file: object) -> bytes:
        return json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, file)}).encode()

    bad = {
        "up": index_of("../part.safetensors"),
        "up-twice": index_of("../../part.safetensors"),
        "absolute": index_of("/etc/passwd"),
        "absolute-weights": index_of(str(model / UNET)),
        "hidden": index_of(".part.safetensors"),
        "nul": index_of("part\0.safetensors"),
        "backslash": index_of("..\\part.safetensors"),
        "empty-name": index_of(""),
        "dots": index_of(".."),
        "pickle": index_of("part.bin"),
        "missing": index_of("other.safetensors"),
        "a-number": index_of(5),
        "a-list": index_of(["part.safetensors"]),
        "null": index_of(None),
        "long-name": index_of("p" * 5000 + ".safetensors"),
        "escapes": index_of("\x1b[2J.safetensors"),
        "no-map": b'{"metadata":{}}',
        "empty-map": b'{"weight_map":{}}',
        "map-a-list": b'{"weight_map":[]}',
        "list": b"[]",
        "empty": b"",
        "cut": index_of("part.safetensors")[:-40],
        "deep": b'{"weight_map":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        "twice": b'{"weight_map":{"a":"part.safetensors","a":"part.safetensors"}}',
    }
    for name, text in bad.items():
        yield Case(f"shards/{name}", partial(make, text), FOLDER, BAD_FILE, says=[index])
    yield Case("shards/right", partial(make, index_of("part.safetensors")), FOLDER, FINE)
    stranger = {"weight_map": {**dict.fromkeys(names, "part.safetensors"), "no.such.tensor": "part.safetensors"}}
    yield Case("shards/names-a-stranger", partial(make, json.dumps(stranger).encode()), FOLDER, ANY)
