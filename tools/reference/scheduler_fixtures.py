"""schedulers.safetensors: trajectories of diffusers' schedulers on the toy network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .scheduler_cases import SchedulerCase, scheduler_cases
from .tensors import save
from .toy import SHAPE, run

ALL_UP_TO = 13  # calls; longer trajectories keep the first, the last and some between
LONGEST = 1000


def kept_calls(calls: int) -> list[int]:
    """The calls after which the latents are recorded."""
    if calls <= ALL_UP_TO:
        return list(range(calls))
    return sorted({0, 1, 2, 3, 4, calls // 2, calls - 2, calls - 1})


def write_scheduler_fixtures(path: Path) -> None:
    """Tensors: `noise` [1001, *SHAPE] float32 (noise[0] starts, noise[1 + k] is the k-th draw), `timesteps` float64 and
    `latents` [rows, *SHAPE] float32, the cases' rows one after another. Metadata "cases": a list of objects with
    scheduler, class, config, steps, eta, init_noise_sigma, draws, timesteps [offset, count], rows [offset, count] and
    calls, the numbers of the calls that the rows follow."""
    noise = torch.randn((LONGEST + 1, *SHAPE), generator=torch.Generator("cpu").manual_seed(3))
    times: list[Tensor] = []
    rows: list[Tensor] = []
    cases: list[dict[str, Any]] = []
    time_offset = row_offset = 0
    for case in scheduler_cases():
        trajectory = run(case.class_name, case.constructor_options(), case.steps, noise.double(), case.eta)
        calls = kept_calls(len(trajectory.timesteps))
        kept = trajectory.latents[calls]
        if not torch.isfinite(kept).all():
            raise ValueError(f"{case} is not finite")
        entry = _describe(case) | {"init_noise_sigma": trajectory.init_noise_sigma, "draws": trajectory.draws}
        entry |= {"timesteps": [time_offset, len(trajectory.timesteps)]}
        entry |= {"rows": [row_offset, len(calls)], "calls": calls}
        cases.append(entry)
        times.append(trajectory.timesteps)
        rows.append(kept.float())
        time_offset += len(trajectory.timesteps)
        row_offset += len(calls)
    used = 1 + max(entry["draws"] for entry in cases)
    save(path, {"noise": noise[:used], "timesteps": torch.cat(times), "latents": torch.cat(rows)}, {"cases": cases})


def _describe(case: SchedulerCase) -> dict[str, Any]:
    return {
        "scheduler": case.scheduler, "class": case.class_name, "config": dict(case.config), "steps": case.steps,
        "eta": case.eta or 0.0,
    }  # fmt: skip
