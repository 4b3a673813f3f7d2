"""What lies to `sdgen convert`: the files of the other modules, damaged folders, and places where nothing can be written."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from . import gguf_cases, quantization_cases, safetensors_cases
from . import safetensors_file as st
from .case import ANY, BAD, BAD_FILE, BAD_USE, FINE, Case, Make, with_model, write

NOT_WRITTEN = frozenset({4})
UNET = safetensors_cases.UNET


def _damaged() -> Iterator[tuple[str, str, bytes]]:
    for name, data in safetensors_cases.malformed():
        yield f"safetensors/{name}", "x.safetensors", data
    for name, data in gguf_cases.damaged():
        yield f"gguf/{name}", "x.gguf", data
    for name, tensors in quantization_cases.damaged():
        yield f"codes/{name}", "x.safetensors", st.of(tensors)


def _both(model: Path, name: str, data: bytes) -> Make:
    """`data` as the file, and a sound network beside it."""

    def make(folder: Path) -> None:
        (folder / name).write_bytes(data)
        (folder / "sound.safetensors").symlink_to(model / UNET)

    return make


def cases(model: Path) -> Iterator[Case]:
    for name, file, data in _damaged():
        dense = ["convert", "-m", f"IN/{file}", "--dtype", "float16", "-o", "y.safetensors"]
        yield Case(f"convert/dense/{name}", write(file, data), dense, BAD_FILE, [file])
        coded = ["convert", "-m", f"IN/{file}", "--dtype", "float16", "--quantize", "q8_0", "-o", "y.gguf"]
        yield Case(f"convert/coded/{name}", write(file, data), coded, BAD_FILE, [file])
    for name, data in safetensors_cases.malformed():  # the last that a whole model's folder is made of
        whole = ["convert", "-m", "IN/model", "--quantize", "int8", "-o", "y"]
        yield Case(f"convert/folder/{name}", with_model(model, UNET, data), whole, BAD_FILE, [UNET])
    for name, data in safetensors_cases.legal():
        yield Case(f"convert/legal/{name}", write("x.safetensors", data), ["convert", "-m", "IN/x.safetensors", "-o", "y.gguf"], ANY)
    for name, data in gguf_cases.strange():
        yield Case(f"convert/legal/gguf-{name}", write("x.gguf", data), ["convert", "-m", "IN/x.gguf", "--dtype", "float16", "-o", "y.safetensors"], ANY)
    weights = (model / UNET).read_bytes()
    for percent in range(0, 100, 5):
        data = weights[: len(weights) * percent // 100]
        yield Case(f"convert/cut/{percent}%", write("x.safetensors", data), ["convert", "-m", "IN/x.safetensors", "--quantize", "int8", "-o", "y.safetensors"], BAD_FILE, ["x.safetensors"])
    yield from _places(model, weights)


def _places(model: Path, weights: bytes) -> Iterator[Case]:
    sound = _both(model, "other", b"")
    start = ["convert", "-m", "IN/sound.safetensors"]
    yield Case("convert/place/sound", sound, [*start, "-o", "y.gguf"], FINE)
    for label, words, codes in (
        ("no-ending", ["-o", "y"], BAD_USE), ("other-ending", ["-o", "y.bin"], BAD_USE), ("pickle", ["-o", "y.ckpt"], BAD_USE), ("nothing", ["-o", ""], BAD),
        ("no-folder", ["-o", "gone/y.gguf"], FINE), ("of-the-system", ["-o", "/proc/y.gguf"], NOT_WRITTEN), ("device", ["-o", "/dev/full/y.gguf"], NOT_WRITTEN),
        ("codes-elsewhere", ["--quantize", "q8_0", "-o", "y.safetensors"], BAD_USE), ("codes-elsewhere-too", ["--quantize", "int8", "-o", "y.gguf"], BAD_USE),
        ("unknown-codes", ["--quantize", "q9", "-o", "y.gguf"], BAD_USE), ("unknown-type", ["--dtype", "float99", "-o", "y.gguf"], BAD_USE),
    ):  # fmt: skip
        yield Case(f"convert/place/{label}", sound, [*start, *words], codes)
    yield Case("convert/place/not-again", sound, [*start, "-o", "IN/other.gguf", "--no-clobber"], FINE)
    there = partial(_there, model)
    yield Case("convert/place/there", there, [*start, "-o", "IN/y.gguf", "--no-clobber"], NOT_WRITTEN)
    yield Case("convert/place/a-folder", there, [*start, "-o", "IN/y.safetensors"], NOT_WRITTEN)
    yield Case("convert/place/itself", write("x.safetensors", weights), ["convert", "-m", "IN/x.safetensors", "-o", "IN/x.safetensors", "--dtype", "float16"], NOT_WRITTEN)
    yield Case("convert/place/pickle-in", write("x.ckpt", b"\x80\x02}q\0."), ["convert", "-m", "IN/x.ckpt", "-o", "y.gguf"], BAD_FILE, ["x.ckpt"])
    yield Case("convert/place/gone-in", write("x", b""), ["convert", "-m", "IN/gone.gguf", "-o", "y.gguf"], BAD_FILE, ["gone.gguf"])


def _there(model: Path, folder: Path) -> None:
    _both(model, "y.gguf", b"mine")(folder)
    (folder / "y.safetensors").mkdir()
