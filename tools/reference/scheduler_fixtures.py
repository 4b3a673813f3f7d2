"""schedulers.safetensors: trajectories of diffusers' schedulers on the toy network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from .scheduler_cases import fixture_cases
from .tensors import save
from .toy import SHAPE

ALL_UP_TO = 10  # calls; longer trajectories keep the first, the last and one between
REFUSALS = (ValueError, NotImplementedError, IndexError, UnboundLocalError, AssertionError)


def kept_calls(calls: int) -> list[int]:
    """The calls after which the latents are recorded."""
    return list(range(calls)) if calls <= ALL_UP_TO else sorted({0, 1, 2, calls // 2, calls - 2, calls - 1})


def write_scheduler_fixtures(path: Path) -> None:
    """Tensors: `noise` [n, *SHAPE] float32 (noise[0] starts, noise[1 + k] is the k-th draw), `timesteps` and `latents`
    [rows, *SHAPE] float32, the cases' rows one after another. Metadata "configs": the configs that occur; "cases": a list
    of objects as SchedulerCase.describe gives them, `config` being a number of the former, with init_noise_sigma, draws,
    timesteps [offset, count], rows [offset, count] and calls, the numbers of the calls that the rows follow; with
    `refused` instead where diffusers raises an exception. Cases that diffusers does not finish with numbers are left
    out."""
    diffusers.logging.set_verbosity_error()
    noise = torch.randn((120, *SHAPE), generator=torch.Generator("cpu").manual_seed(3))
    times: list[Tensor] = []
    rows: list[Tensor] = []
    cases: list[dict[str, Any]] = []
    configs: list[dict[str, Any]] = []
    time_offset = row_offset = 0
    for case in fixture_cases():
        entry = {key: value for key, value in case.describe().items() if key != "eta" or value}
        if entry["config"] not in configs:
            configs.append(entry["config"])
        entry["config"] = configs.index(entry["config"])
        try:
            found = case.run(noise.double())
        except REFUSALS as error:
            cases.append(entry | {"refused": str(error)[:80]})
            continue
        if not torch.isfinite(found.latents).all():
            continue
        if _cancels(found, case.run(noise.double(), exact=True)):
            continue
        calls = kept_calls(len(found.timesteps))
        entry |= {"init_noise_sigma": found.init_noise_sigma, "draws": found.draws}
        entry |= {"timesteps": [time_offset, len(found.timesteps)], "rows": [row_offset, len(calls)]}
        cases.append(entry | ({"calls": calls} if len(calls) < len(found.timesteps) else {}))
        times.append(found.timesteps.float())
        rows.append(found.latents[1:][calls].float())
        time_offset += len(found.timesteps)
        row_offset += len(calls)
    used = 2 + max(entry.get("draws", 0) for entry in cases)
    tensors = {"noise": noise[:used], "timesteps": torch.cat(times), "latents": torch.cat(rows)}
    save(path, tensors, {"cases": cases, "configs": configs})


def _cancels(found: Any, widened: Any) -> bool:
    """Is the reference's own float32 worth less than what the tests ask for?"""
    ours, theirs = found.latents.flatten(1), widened.latents.flatten(1)
    return bool(((ours - theirs).abs().amax(1) / theirs.abs().amax(1)).max() > 8e-6) and found.init_noise_sigma < 1000
