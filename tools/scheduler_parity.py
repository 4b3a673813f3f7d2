"""Compares sdgen's schedulers with diffusers', step by step.

    python tools/scheduler_parity.py [build/tools/sdgen_trajectories] [--all] [--sample SEED] [--filter REGEX]

Every scheduler x spacing x sigma schedule x prediction type x step count of src/cli/README.md's table, every key that a
scheduler_config.json can have, and parts of grids, on a toy network in float64: the timesteps that the network gets, the number of
draws, and the latents after every call, relative to their largest. What diffusers refuses or cannot finish, sdgen must
refuse. Without --all or --filter it takes a sample, which turns with every commit (reference/sample.py): a case at least
for every scheduler with every value of every key and every count of steps, and a twelfth of the others. Ends with the line
`N passed, N failed`; exit 1 when a case failed.

Latents differ by 1e-5 at most from diffusers', or from what its class computes with its float32 tables widened (they
agree but where its float32 coefficients cancel: those cases are counted). Euler's runs from sigma 4096 (zero terminal
SNR) have 4e-5: the class rounds latents of that size to float32.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import subprocess
import sys
import warnings
from collections import defaultdict
from collections.abc import Hashable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import diffusers  # noqa: E402
import torch  # noqa: E402

from reference import sample, toy  # noqa: E402
from reference.scheduler_cases import SchedulerCase, all_cases  # noqa: E402

TOLERANCE = 1e-5
FROM_AFAR = 4e-5
TOLD = 2e-3  # timesteps between those of the training: found by float32 logarithms
NOISES = 120
SHARE = 0.08
REFUSALS = (ValueError, NotImplementedError, IndexError, UnboundLocalError, RuntimeError, AssertionError)


def prepare() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    diffusers.logging.set_verbosity_error()


@cache
def make_noise() -> torch.Tensor:
    return torch.randn((NOISES, *toy.SHAPE), generator=torch.Generator("cpu").manual_seed(3)).double()


def reference(case: SchedulerCase, noise: torch.Tensor, exact: bool = False) -> toy.Trajectory | str:
    """The trajectory, or why diffusers has none."""
    try:
        found = case.run(noise, exact)
    except REFUSALS as error:
        return f"{type(error).__name__}: {error}"
    return found if torch.isfinite(found.latents).all() else "not finite"


def differences(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest of all calls, each relative to the largest latent of its call."""
    flat = theirs.flatten(1)
    return float(((ours.view_as(flat) - flat).abs().amax(1) / flat.abs().amax(1)).max())


@dataclass
class Verdict:
    difference: float = 0.0
    failure: str = ""  # why
    refused: bool = False  # by both
    widened: bool = False  # compared with the class in float64


def judge(case: SchedulerCase, ours: dict[str, Any]) -> Verdict:
    noise = make_noise()
    theirs = reference(case, noise)
    if isinstance(theirs, str):
        good = "error" in ours or theirs == "not finite"
        return Verdict(failure="" if good else f"sdgen runs what diffusers does not: {theirs}", refused=True)
    if "error" in ours:
        return Verdict(failure=f"sdgen refuses: {ours['error']}")
    told = torch.tensor(ours["timesteps"], dtype=torch.double)
    if told.shape != theirs.timesteps.shape or (told - theirs.timesteps).abs().max() > TOLD:
        return Verdict(failure=f"timesteps {told.tolist()[:8]}, diffusers {theirs.timesteps.tolist()[:8]}")
    if ours["draws"] != theirs.draws:
        return Verdict(failure=f"{ours['draws']} draws, diffusers {theirs.draws}")
    latents = torch.tensor([ours["first"], *ours["latents"]], dtype=torch.double)
    found = differences(latents, theirs.latents)
    allowed = FROM_AFAR if theirs.init_noise_sigma > 1000 else TOLERANCE
    if found <= allowed:
        return Verdict(found)
    widened = reference(case, noise, exact=True)
    exact = differences(latents, widened.latents)
    return Verdict(exact, "" if exact <= allowed else f"differs by {found:.1e}, by {exact:.1e} if widened", widened=True)


def traits(case: SchedulerCase) -> Iterator[Hashable]:
    """What a sample must have a case of, for each scheduler: every value of every key, every count of steps, eta, and
    parts of grids."""
    name = case.scheduler or case.diffusers_class
    yield name, "steps", case.steps
    for key, value in case.config.items():
        yield name, key, json.dumps(value)
    yield name, "eta", case.eta is not None
    yield name, "part", case.part is not None
    yield name, "flow", case.tokens, case.even_sigmas, case.empirical


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, nargs="?",
                        default=Path(__file__).parents[1] / "build" / "tools" / "sdgen_trajectories")  # fmt: skip
    parser.add_argument("--filter", default="", metavar="REGEX", help="only cases whose JSON matches")
    parser.add_argument("--jobs", type=int, default=2, help="processes that run diffusers (default: 2)")
    sample.add_arguments(parser)
    args = parser.parse_args()
    seed = sample.seed_of(args)
    every = [case for case in all_cases() if re.search(args.filter, json.dumps(case.describe()))]
    cases = sample.take(every, seed, SHARE, name=lambda case: json.dumps(case.describe()), traits=traits)
    print(f"schedulers: {sample.told(seed, cases, len(every))}", flush=True)
    lines = [json.dumps(make_noise().flatten(1).tolist())] + [json.dumps(case.describe()) for case in cases]
    done = subprocess.run([args.program], input="\n".join(lines) + "\n", capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return 1
    rows: dict[str, list[Verdict]] = defaultdict(list)
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("fork"), prepare) as pool:
        answers = map(json.loads, done.stdout.splitlines())
        for case, verdict in zip(cases, pool.map(judge, cases, answers, chunksize=16), strict=True):
            rows[case.scheduler or case.diffusers_class].append(verdict)
            if verdict.failure:
                print(f"FAILED {json.dumps(case.describe())}\n    {verdict.failure}", flush=True)
    for name, found in rows.items():
        largest = max(verdict.difference for verdict in found)
        refused, widened = sum(verdict.refused for verdict in found), sum(verdict.widened for verdict in found)
        print(f"{name:<30}{len(found):>5} cases, {refused:>2} refused by both, {widened:>2} compared in float64, "
              f"largest difference {largest:.1e}")  # fmt: skip
    failed = sum(bool(verdict.failure) for found in rows.values() for verdict in found)
    print(f"{len(cases) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
