"""A malformed input, and how sdgen must answer it."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .program import Outcome

MOST_CPU = 5.0  # seconds; of the CPU, since other work shares the machine
MOST_MEMORY = 1_000_000_000  # bytes

TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # the direction of text

TOLD = tuple(f"sdgen: {what} " for what in ("model", "seed", "LoRA", "textual inversion", "warning:"))  # before an error

BAD_FILE = frozenset({3})
BAD_USE = frozenset({2})
BAD = frozenset({2, 3})
FINE = frozenset({0})
ANY = frozenset({0, 2, 3})

REPORTS = {"inspect", "compare", "verify"}  # they tell what they found before they fail

Make = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """`make` writes the input into an empty folder, IN in `words`; the program's own folder is another one."""

    name: str
    make: Make
    words: Sequence[str | bytes]
    codes: frozenset[int] = BAD_FILE
    says: Sequence[str | tuple[str, ...]] = ()  # what the message must name, where there is one; of a tuple one

    def arguments(self, folder: Path) -> list[str | bytes]:
        return [w if isinstance(w, bytes) else w.replace("IN", str(folder), 1) for w in self.words]


def problems(case: Case, outcome: Outcome, left: Iterable[str]) -> list[str]:
    """What is wrong with an outcome; `left` are the files that the run left in its own folder."""
    found = []
    left = sorted(left)
    if outcome.timed_out:
        found.append("did not end")
    elif outcome.code not in case.codes:
        found.append(f"exit code {outcome.code}, expected {' or '.join(map(str, sorted(case.codes)))}")
    if outcome.cpu > MOST_CPU:
        found.append(f"{outcome.cpu:.1f} s of CPU")
    if outcome.peak > MOST_MEMORY:
        found.append(f"{outcome.peak / 1e6:.0f} MB")
    if any(mark in outcome.err for mark in ("Sanitizer", "runtime error:", "terminate called", "Assertion")):
        found.append("a sanitizer or an assertion spoke")
    if any(name.split("/")[-1].startswith(".sdgen-") for name in left):
        found.append(f"left {left}")
    if strange := sorted({c for c in outcome.err if c != "\n" and (unicodedata.category(c) == "Cc" or c in TURNING)}):
        found.append(f"its message has the characters {strange}")
    if outcome.code != 0:
        found += message_problems(case, outcome)
        if left or (outcome.out and not REPORTS & {*case.words}):
            found.append(f"failed, and left {left} and {outcome.out[:80]!r} on stdout")
    return found


def message_problems(case: Case, outcome: Outcome) -> list[str]:
    found = []
    lines = outcome.err.splitlines()
    errors = [line for line in lines if line.startswith("sdgen: ") and not line.startswith(TOLD)]
    if len(errors) != 1 or len(lines) > 4 or len(outcome.err) > 4000:
        found.append(f"{len(errors)} lines of error in {len(lines)} lines, {len(outcome.err)} bytes; expected one")
    for thing in case.says:
        if not any(word in outcome.err for word in ((thing,) if isinstance(thing, str) else thing)):
            found.append(f"the message does not name {thing!r}")
    return found


# --- What cases are made of


def write(name: str, data: bytes | str) -> Make:
    def make(folder: Path) -> None:
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())

    return make


def with_model(model: Path, name: str = "", data: bytes | str | Callable[[], bytes] | None = None) -> Make:
    """A folder MODEL like `model`, in which the file `name` is `data`, or what it returns; None: it is missing."""

    def make(folder: Path) -> None:
        target = folder / "model"
        for root, _, files in os.walk(model):
            place = target / Path(root).relative_to(model)
            place.mkdir()
            for file in files:
                (place / file).symlink_to(Path(root) / file)
        if name:
            (target / name).unlink(missing_ok=True)
            if data is not None:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                content = data() if callable(data) else data
                (target / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def dumped(value: Any) -> str:
    return json.dumps(value, allow_nan=True)


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
