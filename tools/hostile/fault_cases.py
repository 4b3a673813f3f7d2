"""Requests whose files and memory tools/faults.py lets fail, one call after the other."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from . import safetensors_file as st
from .adapter_cases import lora

EIO, EMFILE, ENOMEM, ENOSPC, EINTR, EACCES = 5, 24, 12, 28, 4, 13


@dataclass(frozen=True)
class Scenario:
    """A request. GIVEN in `words` is a folder of inputs, which is there; the program's own folder takes the rest."""

    name: str
    words: Sequence[str]
    existing: Sequence[str] = ()  # files that are there already and are replaced


@dataclass(frozen=True)
class Fault:
    """A call that fails on files below GIVEN, OWN or CACHE, and the exit codes that then are right. What the program
    can do without, or do in another way, may also succeed: then everything is as without the fault."""

    call: str
    where: str
    error: int
    codes: frozenset[int]
    mode: str = "once"


def make_inputs(sdgen: Path, model: Path, given: Path) -> None:
    """`coded` is the model with its matrices in float8, which are used where they lie in the file."""
    shutil.copytree(model, given / "model")
    subprocess.run([sdgen, "convert", "-m", model, "-o", given / "coded", "--quantize", "float8"], check=True, stdout=subprocess.DEVNULL)
    (given / "x.safetensors").write_bytes(st.of(lora()))
    picture = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((32, 32)).save(picture, "PNG")
    (given / "drawing.png").write_bytes(picture.getvalue())
    Image.linear_gradient("L").convert("RGB").resize((32, 32)).save(given / "drawing.jpg")
    (given / "jobs.txt").write_text("a fox\na blue bird --steps 2\na cat\n")
    (given / "jobs.csv").write_text("prompt,steps\na fox,1\na bird,2\n")
    (given / "jobs.jsonl").write_text(json.dumps({"prompt": "a fox"}) + "\n" + json.dumps({"prompt": "a cat", "steps": 2}) + "\n")
    (given / "lists").mkdir()
    (given / "lists/animal.txt").write_text("fox\ncat\n")
    (given / "sdgen.toml").write_text("steps = 1\n")


BASE = ["-m", "GIVEN/model", "-s", "5", "--dtype", "float32"]
ONE = [*BASE, "-p", "a fox", "--steps", "1"]

# Without metadata: a model's hash that cannot be found is left out of them.
LOADS = [
    Scenario("picture", [*ONE, "--no-metadata", "-o", "x.png"]),
    Scenario("codes", ["-m", "GIVEN/coded", *BASE[2:], "-p", "a fox", "--steps", "1", "--no-metadata", "-o", "x.png"]),
    Scenario("everything", [
        *BASE, "-p", "a __animal__", "--config", "GIVEN/sdgen.toml", "--wildcards", "GIVEN/lists", "--lora", "GIVEN/x.safetensors",
        "-i", "GIVEN/drawing.png", "--mask", "GIVEN/drawing.jpg", "--no-metadata", "-o", "x.png"]),
    Scenario("lines", [*BASE, "--prompts", "GIVEN/jobs.txt", "--fail-fast", "--steps", "1", "--no-metadata", "--no-manifest", "-o", "{index}.png"]),
    Scenario("table", [*BASE, "--prompts", "GIVEN/jobs.csv", "--fail-fast", "--no-metadata", "--no-manifest", "-o", "{index}.png"]),
    Scenario("inspect", ["inspect", "GIVEN/model"]),
    Scenario("inspect-lora", ["inspect", "--json", "GIVEN/x.safetensors"]),
    Scenario("canny", ["canny", "-i", "GIVEN/drawing.jpg", "-o", "x.png"]),
    Scenario("compare", ["compare", "GIVEN/drawing.png", "GIVEN/drawing.png"]),
    Scenario("vae-roundtrip", ["vae-roundtrip", "-m", "GIVEN/model", "-i", "GIVEN/drawing.png", "-o", "x.png"]),
]
SAVES = [
    Scenario("png", [*ONE, "-o", "x.png"]),
    Scenario("png-over-another", [*ONE, "-o", "x.png", "--overwrite"], ["x.png"]),
    Scenario("jpeg", [*ONE, "-o", "x.jpg"]),
    Scenario("several", [*ONE, "-b", "3", "-o", "{index}.png"]),
    Scenario("batch", [*BASE, "--prompts", "GIVEN/jobs.jsonl", "--steps", "1", "-o", "./"]),
    Scenario("batch-of-jpegs", [*BASE, "--prompts", "GIVEN/jobs.txt", "--steps", "1", "--format", "jpg", "-o", "{index}.jpg"]),
    Scenario("manifest", [*ONE, "-b", "2", "--manifest", "m.jsonl", "-o", "{index}.png"]),
    Scenario("previews", [*BASE, "-p", "a fox", "--steps", "4", "--preview-every", "1", "-o", "x.png"]),
    Scenario("grid", [*ONE, "-b", "2", "--grid", "auto", "-o", "{index}.png"]),
    Scenario("sweep", [*BASE, "-p", "a fox", "--sweep", "steps=1,2", "-o", "{index}.png"]),
    Scenario("canny", ["canny", "-i", "GIVEN/drawing.png", "-o", "x.png"]),
    Scenario("compare", ["compare", "GIVEN/drawing.png", "GIVEN/drawing.png", "-o", "x.png", "--junit", "r.xml"]),
]
BAD_INPUT, BAD_OUTPUT, NO_MEMORY, FINE = (frozenset({code}) for code in (3, 4, 5, 0))

LOAD_FAULTS = [
    *(Fault("open", "GIVEN", error, BAD_INPUT) for error in (EMFILE, EACCES)),
    Fault("open", "GIVEN", EINTR, FINE),
    Fault("fstat", "GIVEN", EIO, BAD_INPUT),
    Fault("read", "GIVEN", EIO, BAD_INPUT),
    Fault("read", "GIVEN", EINTR, FINE),
    Fault("read", "GIVEN", 0, FINE, "short"),
    Fault("pread", "GIVEN", EIO, BAD_INPUT),
    Fault("pread", "GIVEN", EINTR, FINE),
    Fault("pread", "GIVEN", 0, FINE, "short"),
    *(Fault(call, where, error, FINE) for call, error in (("open", EACCES), ("read", EIO), ("pread", EIO), ("write", ENOSPC), ("rename", EIO), ("link", EIO)) for where in ("CACHE",)),
    Fault("mmap", "/", ENOMEM, NO_MEMORY),
    Fault("memalign", "/", ENOMEM, NO_MEMORY),
    Fault("memalign", "/", ENOMEM, NO_MEMORY, "always"),
]
SAVE_FAULTS = [
    Fault("open", "OWN", EACCES, BAD_OUTPUT),
    Fault("open", "OWN", EMFILE, BAD_OUTPUT, "always"),
    Fault("open", "OWN", EINTR, FINE),
    Fault("fstat", "OWN", EIO, BAD_OUTPUT),
    Fault("pread", "OWN", EIO, BAD_OUTPUT),
    Fault("write", "OWN", ENOSPC, BAD_OUTPUT),
    Fault("write", "OWN", EIO, BAD_OUTPUT, "always"),
    Fault("write", "OWN", EINTR, FINE),
    Fault("write", "OWN", 0, FINE, "short"),
    Fault("fsync", "OWN", EIO, BAD_OUTPUT),
    Fault("fsync", "OWN", ENOSPC, BAD_OUTPUT, "always"),
    Fault("fsync", "OWN", EINTR, FINE),
    Fault("ftruncate", "OWN", EIO, BAD_OUTPUT),
    Fault("rename", "OWN", EIO, BAD_OUTPUT),
    Fault("rename", "OWN", EIO, BAD_OUTPUT, "always"),
    Fault("link", "OWN", EIO, BAD_OUTPUT),
    Fault("link", "OWN", EIO, BAD_OUTPUT, "always"),
]

Find = Callable[[str], str]
