"""The part of its cases that a tool tries in CI: it turns with every commit, and can be repeated.

Every case has a draw, a number in 0..1 that follows from the seed and the case's name alone. In the order of their draws, a
case is taken if it has a trait that fewer than `at_least` cases before it have; of the others, those whose draw is below
`share`. So whatever a case can have (an option's value, a model, a kind of file) is tried with every commit, on other cases
each time."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="every case, not a sample of them")
    parser.add_argument("--sample", metavar="SEED", help="the sample that this seed draws (default: the commit's hash)")


def seed_of(args: argparse.Namespace) -> str | None:
    """What the sample is drawn by; None: everything is wanted."""
    if args.all or (getattr(args, "filter", "") and args.sample is None):
        return None
    return args.sample or commit()


def commit() -> str:
    """The hash of HEAD, abbreviated. Without a repository the sample is always the same."""
    command = ["git", "-c", "safe.directory=*", "-C", Path(__file__).parent, "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "none"


def draw(seed: str, name: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8]) / 2**64


def take(
    cases: Iterable[T], seed: str | None, share: float = 0.0, *, name: Callable[[T], str] = str,
    traits: Callable[[T], Iterable[Hashable]] = lambda _: (), at_least: int = 1,
) -> list[T]:  # fmt: skip
    """The sample, in the order of `cases`; everything without a seed."""
    every = list(cases)
    if seed is None:
        return every
    draws = [draw(seed, name(case)) for case in every]
    seen: Counter[Hashable] = Counter()
    taken = set()
    for index in sorted(range(len(every)), key=draws.__getitem__):
        own = set(traits(every[index]))
        if draws[index] < share or any(seen[trait] < at_least for trait in own):
            taken.add(index)
            seen.update(own)
    return [case for index, case in enumerate(every) if index in taken]


def told(seed: str | None, taken: Sequence[object], every: int, what: str = "cases") -> str:
    """What a tool says of its sample."""
    if seed is None:
        return f"all {len(taken)} {what}" if len(taken) == every else f"{len(taken)} of {every} {what}"
    return f"{len(taken)} of {every} {what}, --sample {seed} draws the same"
