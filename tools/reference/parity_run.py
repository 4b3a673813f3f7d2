"""Runs sdgen and diffusers on the same case and compares every sample."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .exact import EXACT
from .model_store import ModelStore
from .parity_case import ParityCase
from .pictures import backbone, render

TOLERANCE = 1  # of 255
NUDGE = 1e-6  # relative change of a weight that no picture should show
TIMEOUT = 300  # seconds for one run of sdgen
LINES_TIMEOUT = 1200  # for one of many lines
TEXTS = ("prompt", "negative_prompt")
# What belongs to a whole run, so that no line of a batch file can say it; and the pictures that go with it.
LOADED = ("textual_inversion", "controlnet", "t2i_adapter", "control_image", "unet", "vae", "text_encoder", "refiner", "refiner_start",
          "quantize")


@dataclass
class Outcome:
    """How one case went; without error and with maximum <= TOLERANCE it passed."""

    case: str
    maximum: int = 0  # largest difference of two samples
    differing: float = 0.0  # share of samples that differ at all
    beyond: float = 0.0  # share of samples beyond the tolerance
    error: str = ""
    own: int = 0  # of a failed case: what the reference differs from itself by after a nudge
    seconds: float = 0.0
    command: list[str] = field(default_factory=list)
    line: int = 0  # of the command's batch file, from 1
    pictures: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)  # what was asked for, as a line of a batch file says it

    @property
    def passed(self) -> bool:
        return not self.error and self.maximum <= TOLERANCE


class Sdgen:
    """The program under test."""

    def __init__(self, binary: Path, threads: int) -> None:
        self.binary, self.threads = binary, threads

    def schedulers(self) -> set[str]:
        """The names that it lists, aliases too."""
        listed = subprocess.run([self.binary, "--list-schedulers"], capture_output=True, text=True, check=True)
        return set(listed.stdout.replace(",", " ").split())

    def command(self, case: ParityCase, locate: Callable[[str], Path], output: Path) -> list[str]:
        return [
            *self._start(case, locate, case.batch_size), f"--num-images={case.images}",
            *case.request.arguments(locate), f"--output={output}/{{index:03}}.png",
        ]  # fmt: skip

    def _start(self, case: ParityCase, locate: Callable[[str], Path], batch_size: int) -> list[str]:
        return [
            *(EXACT if case.request.quantize == "int8" else []), str(self.binary), f"--model={locate(case.place)}", "--device=cpu", "--dtype=float32",
            f"--threads={self.threads}", "--quiet", f"--batch-size={batch_size}",
        ]  # fmt: skip

    def run(self, case: ParityCase, command: list[str], output: Path) -> Outcome:
        """Makes the case's pictures in the empty folder `output`."""
        output.mkdir(parents=True)
        outcome = Outcome(case.label, command=command)
        start = time.monotonic()
        _, outcome.error = _run(command, TIMEOUT)
        outcome.seconds = time.monotonic() - start
        return outcome

    def run_lines(self, cases: Sequence[ParityCase], locate: Callable[[str], Path], outputs: Sequence[Path]) -> list[Outcome]:
        """The same of cases that share a Group, in one run: a case a line."""
        first = outputs[0]
        lines, drawn = first.with_name(f"lines-of-{first.name}.jsonl"), first.with_name(f"drawn-{first.name}")
        drawn.mkdir(parents=True)
        options = [line_of(case, locate) for case in cases]
        lines.write_text("".join(json.dumps(picture) + "\n" for _, picture in options))
        whole = [f"--{key.replace('_', '-')}={value}" for key, values in options[0][0].items() for value in values]
        command = [
            *self._start(cases[0], locate, batch_size(cases[0])), *whole, f"--prompts={lines}", "--no-manifest",
            f"--output={drawn}/{{index:04}}.png",
        ]  # fmt: skip
        start = time.monotonic()
        messages, error = _run(command, LINES_TIMEOUT)
        seconds = (time.monotonic() - start) / len(cases)
        told = {int(number): text for number, text in re.findall(rf"^sdgen: {re.escape(str(lines))}:(\d+): (.*)$", messages, re.M)}
        outcomes = []
        for index, (case, output) in enumerate(zip(cases, outputs, strict=True)):
            outcome = Outcome(case.label, seconds=seconds, command=command, line=index + 1)
            outcome.error = told.get(index + 1, "")
            output.mkdir()
            picture = drawn / f"{index:04}.png"
            if picture.exists():
                picture.rename(output / "000.png")
            elif not outcome.error:
                outcome.error = error or "no picture of this line, and no word about it"
            outcomes.append(outcome)
        if not any(drawn.iterdir()):
            drawn.rmdir()
        elif all(outcome.passed for outcome in outcomes):
            outcomes[-1].error = f"more pictures than lines: {sorted(path.name for path in drawn.iterdir())}"
        return outcomes


def _run(command: list[str], timeout: float) -> tuple[str, str]:
    """What it said on stderr, and why it failed."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    messages = done.stderr.decode(errors="replace").strip()
    last = " ".join(messages.splitlines()[-2:]) or "nothing on stderr"
    return messages, f"exit {done.returncode}: {last}" if done.returncode else ""


def line_of(case: ParityCase, locate: Callable[[Any], Path]) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """The options of the whole run, and those of the picture as a line of a batch file."""
    said: dict[str, list[Any]] = {}
    for argument in case.request.arguments(locate):
        flag, _, value = argument.partition("=")
        key = flag.removeprefix("--").replace("-", "_")
        number = key not in TEXTS and re.fullmatch(r"-?\d+(\.\d+)?", value)
        said.setdefault(key, []).append(json.loads(value) if number else value if "=" in argument else True)
    whole = {key: list(map(str, values)) for key, values in said.items() if key in LOADED}
    picture = {key: values if len(values) > 1 else values[0] for key, values in said.items() if key not in LOADED}
    return whole, picture


def batch_size(case: ParityCase) -> int:
    """Of its run: the case's own, or else of one case in three 2 or 3, so that single pictures go through batches too."""
    if case.batch_size > 1 or case.images > 1:
        return case.batch_size
    return (1, 1, 1, 1, 2, 3)[hashlib.sha256(case.label.encode()).digest()[0] % 6]


def group(case: ParityCase, locate: Callable[[Any], Path]) -> Hashable:
    """Cases of which this is the same can be lines of one run. Several pictures are asked for by a run of their own."""
    whole, _ = line_of(case, locate)
    return case.place, batch_size(case), json.dumps(whole), case.label if case.images > 1 else ""


def compare(ours: np.ndarray, reference: np.ndarray) -> tuple[int, float, float]:
    """Largest difference, share that differs, share beyond the tolerance, of two uint8 pictures of one shape."""
    difference = np.abs(ours.astype(np.int16) - reference.astype(np.int16))
    return int(difference.max()), float((difference > 0).mean()), float((difference > TOLERANCE).mean())


def judge(outcome: Outcome, case: ParityCase, store: ModelStore, output: Path) -> None:
    """Fills `outcome` with the comparison of the pictures in `output` with diffusers'. The reference makes all pictures
    of the case in one batch with a list of generators; it is kept beside ours as NNN-reference.png."""
    if outcome.error:
        return
    found = sorted(path.name for path in output.glob("*.png"))
    outcome.pictures = [str(output / name) for name in found]
    outcome.options = line_of(case, store.locate)[1]
    if len(found) != case.images:
        outcome.error = f"{case.images} pictures expected, found {found}"
        return
    for name, reference in zip(found, store.pictures(case.model, case.requests()), strict=True):
        Image.fromarray(reference).save(output / f"{Path(name).stem}-reference.png")
        image = Image.open(output / name)
        if image.mode != "RGB" or image.size != reference.shape[1::-1]:
            outcome.error = f"{name}: {image.mode} {image.size}, the reference has RGB {reference.shape[1::-1]}"
            return
        maximum, differing, beyond = compare(np.array(image), reference)
        outcome.maximum = max(outcome.maximum, maximum)
        outcome.differing += differing / case.images
        outcome.beyond += beyond / case.images
    if not outcome.passed:
        outcome.own = instability(case, store)


def instability(case: ParityCase, store: ModelStore) -> int:
    """How far the reference's picture moves when the first convolution's weights change by NUDGE. Beyond the tolerance
    it is the case that is at fault: rounding alone decides its picture."""
    pipe, companions = store.with_files(case.model, case.request), store.companions(case.request)
    network = backbone(pipe)
    first = next(part for part in ("conv_in", "x_embedder", "pos_embed.proj") if hasattr(network, part.partition(".")[0]))
    weight = network.get_submodule(first).weight
    exact = weight.detach().clone()
    right = render(pipe, [case.request], *companions)[0]
    with torch.no_grad():
        weight.mul_(1 + NUDGE)
        nudged = render(pipe, [case.request], *companions)[0]
        weight.copy_(exact)
    return compare(nudged, right)[0]


def table(outcomes: list[Outcome]) -> str:
    """The failures, one a line."""
    lines = [f"{'case':<48} {'max':>4} {'differ':>7} {'> ' + str(TOLERANCE):>7}"]
    for outcome in outcomes:
        if outcome.error:
            lines.append(f"{outcome.case:<48} {outcome.error}")
        else:
            share = f"{outcome.maximum:>4} {outcome.differing:>6.1%} {outcome.beyond:>6.1%}"
            unstable = outcome.own > TOLERANCE
            note = f"  unstable: rounding moves the reference itself by {outcome.own}" if unstable else ""
            lines.append(f"{outcome.case:<48} {share}{note}")
    return "\n".join(lines)


def save_json(path: Path, outcomes: list[Outcome]) -> None:
    path.write_text(json.dumps([{**vars(outcome), "passed": outcome.passed} for outcome in outcomes], indent=1) + "\n")
