"""Compares sdgen's schedulers with diffusers', step by step.

    python tools/scheduler_parity.py [build/tools/sdgen_trajectories] [--filter REGEX]

Every scheduler x spacing x sigma schedule x prediction type x step count of cli.md's table, every key that a
scheduler_config.json can have, and parts of grids, on a toy network in float64: what the network is told, the number of
draws, and the latents after every call, relative to their largest. What diffusers refuses or cannot finish, sdgen must
refuse. Ends with the line `N passed, N failed`; exit 1 when a case failed.

A case may differ by 1e-5, or by 4 times what the reference moves when its first latents change by one float32 rounding
(its coefficients, and in most classes its latents, are float32).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import diffusers  # noqa: E402
import torch  # noqa: E402

from reference import toy  # noqa: E402
from reference.scheduler_cases import SchedulerCase, all_cases  # noqa: E402

TOLERANCE = 1e-5
FROM_AFAR = 4e-5  # where a run begins at sigma 4096 (zero terminal SNR): its float32 latents are worth no more
NOISES = 120
REFUSALS = (ValueError, NotImplementedError, IndexError, UnboundLocalError, RuntimeError, AssertionError)


def reference(case: SchedulerCase, noise: torch.Tensor) -> toy.Trajectory | str:
    """The trajectory, or why diffusers has none."""
    try:
        found = toy.run(case.diffusers_class, case.constructor_options(), case.steps, noise, case.eta, case.part)
    except REFUSALS as error:
        return f"{type(error).__name__}: {error}"
    return found if torch.isfinite(found.latents).all() else "not finite"


def differences(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest of all calls, each relative to the largest latent of its call."""
    flat = theirs.flatten(1)
    return float(((ours.view_as(flat) - flat).abs().amax(1) / flat.abs().amax(1)).max())


def judge(case: SchedulerCase, ours: dict[str, Any], noise: torch.Tensor) -> tuple[float, str]:
    """The difference and, of a case that failed, why."""
    theirs = reference(case, noise)
    if isinstance(theirs, str):
        return 0.0, "" if "error" in ours or theirs == "not finite" else f"sdgen runs what diffusers does not: {theirs}"
    if "error" in ours:
        return 0.0, f"sdgen refuses: {ours['error']}"
    told = torch.tensor(ours["timesteps"], dtype=torch.double)
    if told.shape != theirs.timesteps.shape or (told - theirs.timesteps).abs().max() > 1e-3:
        return 0.0, f"timesteps {told.tolist()[:8]}, diffusers {theirs.timesteps.tolist()[:8]}"
    if ours["draws"] != theirs.draws:
        return 0.0, f"{ours['draws']} draws, diffusers {theirs.draws}"
    latents = torch.tensor([ours["first"], *ours["latents"]], dtype=torch.double)
    found = differences(latents, theirs.latents)
    allowed = FROM_AFAR if theirs.init_noise_sigma > 1000 else TOLERANCE
    if found <= allowed:
        return found, ""
    nudged = reference(case, noise * (1 + 2.0**-24 * torch.sign(noise.flip(0))))
    own = 0.0 if isinstance(nudged, str) else differences(nudged.latents.flatten(1), theirs.latents)
    return found, "" if found <= 4 * own else f"differs by {found:.1e} (rounding moves the reference by {own:.1e})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, nargs="?",
                        default=Path(__file__).parents[1] / "build" / "tools" / "sdgen_trajectories")  # fmt: skip
    parser.add_argument("--filter", default="", metavar="REGEX", help="only cases whose JSON matches")
    args = parser.parse_args()
    torch.set_num_threads(1)
    diffusers.logging.set_verbosity_error()

    noise = torch.randn((NOISES, *toy.SHAPE), generator=torch.Generator("cpu").manual_seed(3)).double()
    cases = [case for case in all_cases() if re.search(args.filter, json.dumps(case.describe()))]
    lines = [json.dumps(noise.flatten(1).tolist())] + [json.dumps(case.describe()) for case in cases]
    done = subprocess.run([args.program], input="\n".join(lines) + "\n", capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return 1
    rows: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for case, line in zip(cases, done.stdout.splitlines(), strict=True):
        found = judge(case, json.loads(line), noise)
        rows[case.scheduler or case.diffusers_class].append(found)
        if found[1]:
            print(f"FAILED {json.dumps(case.describe())}\n    {found[1]}", flush=True)
    for name, found in rows.items():
        failed = sum(bool(why) for _, why in found)
        print(f"{name:<30} {len(found):>5} cases, largest difference {max(each for each, _ in found):.1e}, {failed} failed")
    failed = sum(bool(why) for found in rows.values() for _, why in found)
    print(f"schedulers: {len(cases) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
