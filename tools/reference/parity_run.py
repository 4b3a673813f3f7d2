"""Runs sdgen and diffusers on the same case and compares every sample."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .model_store import ModelStore
from .parity_case import ParityCase
from .pictures import render

TOLERANCE = 1  # of 255
NUDGE = 1e-6  # relative change of a weight that no picture should show
TIMEOUT = 300  # seconds for one run of sdgen


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
            str(self.binary), f"--model={locate(case.place)}", "--device=cpu", "--dtype=float32",
            f"--threads={self.threads}", "--quiet", f"--num-images={case.images}", f"--batch-size={case.batch_size}",
            *case.request.arguments(locate), f"--output={output}/{{index:03}}.png",
        ]  # fmt: skip

    def run(self, case: ParityCase, command: list[str], output: Path) -> Outcome:
        """Makes the case's pictures in the empty folder `output`."""
        output.mkdir(parents=True)
        outcome = Outcome(case.label, command=command)
        start = time.monotonic()
        try:
            done = subprocess.run(outcome.command, capture_output=True, timeout=TIMEOUT)
        except (OSError, subprocess.TimeoutExpired) as error:
            outcome.error = str(error)
        else:
            if done.returncode:
                message = done.stderr.decode(errors="replace").strip().splitlines()
                outcome.error = f"exit {done.returncode}: {message[-1] if message else 'nothing on stderr'}"
        outcome.seconds = time.monotonic() - start
        return outcome


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
    weight = pipe.unet.conv_in.weight
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
