"""One training loop for every stage: a budget in minutes or steps, warm-up and cosine, EMA, atomic checkpoints, a log."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .muon import Muon, split_parameters

# (step, fraction of the budget used) -> named scalars; "loss" is minimised, "samples" counts pictures
StepLoss = Callable[[int, float], dict[str, Tensor | float]]


@dataclass(frozen=True)
class FitOptions:
    """How long and how fast one stage learns. Exactly one of `minutes` and `steps` is set."""

    minutes: float | None = None
    steps: int | None = None
    learning_rate: float = 1e-3
    final_rate: float = 0.01  # last learning rate as a part of the peak
    warmup_steps: int = 150
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    adam_only: tuple[str, ...] = ("conv_in", "conv_out")  # parts of names of matrices that Muon leaves to AdamW
    ema: float = 0.998
    checkpoint_s: float = 180.0
    log_s: float = 20.0
    stop_after: int | None = None  # a step at which to end as if it were killed, checkpoint written

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("a budget is either minutes or steps")

    def fraction(self, step: int, elapsed_s: float) -> float:
        """Used part of the budget, 0..1."""
        if self.steps is not None:
            return min(1.0, step / self.steps) if self.steps else 1.0
        return min(1.0, elapsed_s / (60 * self.minutes)) if self.minutes else 1.0

    def rate(self, step: int, fraction: float) -> float:
        """Learning rate: linear warm-up in steps, cosine over the budget."""
        cosine = self.final_rate + (1 - self.final_rate) * 0.5 * (1 + math.cos(math.pi * fraction))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * cosine


class Ema:
    """Exponential moving average of a module's parameters, with the usual warm-up of the decay."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.names = [name for name, _ in module.named_parameters()]
        self.live = [p for _, p in module.named_parameters()]
        self.mean = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the mean towards the live parameters."""
        torch._foreach_lerp_(self.mean, [p.detach() for p in self.live], 1 - min(self.decay, (1 + step) / (10 + step)))

    def state(self) -> dict[str, Tensor]:
        """Mean parameters by name."""
        return dict(zip(self.names, self.mean, strict=True))

    def load(self, state: dict[str, Tensor]) -> None:
        """Takes the mean from a checkpoint."""
        for name, mean in zip(self.names, self.mean, strict=True):
            mean.copy_(state[name])


def save_atomic(state: object, path: Path) -> None:
    """torch.save that leaves either the old file or the new one."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


@contextmanager
def autocast(device: torch.device) -> Iterator[None]:
    """bfloat16 for convolutions and products. Parameters, norms' statistics and losses stay float32."""
    with torch.autocast(device.type, torch.bfloat16):
        yield


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a log that `fit` wrote."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """Writes `rows` as CSV, whole or not at all; columns are all that occur."""
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        out = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        out.writeheader()
        out.writerows({key: f"{value:.5g}" for key, value in row.items()} for row in rows)
    os.replace(part, path)


def fit(
    name: str,
    net: nn.Module,
    step_loss: StepLoss,
    options: FitOptions,
    folder: Path,
    at_checkpoint: Callable[[int], dict[str, float]] | None = None,
) -> dict[str, float]:
    """Trains `net` until its budget is used or `folder`/STOP appears (which is then removed); leaves the EMA
    parameters in `net`.

    `folder`/<name>.pt holds the last checkpoint, from which a later call goes on (with whatever budget that call has)
    unless the stage is done; `folder`/<name>.csv the log. A budget of nothing reads the checkpoint, writes nothing.

    Args:
        name: of the stage.
        step_loss: see StepLoss. All its randomness must come from its arguments, so that a resumed run goes on alike.
        options: budget and rates.
        folder: for checkpoint and log.
        at_checkpoint: called with the step while the EMA parameters are in `net`; what it returns joins the log.

    Returns:
        Steps, pictures, minutes, whether the stage is done, and the last logged values.
    """
    muon, adam = split_parameters(net, options.adam_only)
    optimizers: list[torch.optim.Optimizer] = [
        Muon(muon, lr=options.learning_rate, weight_decay=options.weight_decay),
        torch.optim.AdamW(adam, lr=options.learning_rate, betas=options.betas, weight_decay=options.weight_decay),
    ]
    ema = Ema(net, options.ema)
    step, elapsed, samples, done = 0, 0.0, 0.0, False
    summary: dict[str, float] = {}
    path, log_path = folder / f"{name}.pt", folder / f"{name}.csv"
    rows = read_log(log_path)
    if path.exists():
        saved = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict(saved["net"])
        ema.load(saved["ema"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, elapsed, samples, summary = saved["step"], saved["elapsed"], saved["samples"], saved["summary"]
        done = saved["done"]
        rows = [row for row in rows if row["step"] <= step]
        print(f"{name}: resumed at step {step}, {elapsed / 60:.1f} minutes", flush=True)

    def checkpoint() -> None:
        state = {"net": net.state_dict(), "ema": ema.state(), "optimizers": [o.state_dict() for o in optimizers]}
        state |= {"step": step, "elapsed": elapsed, "samples": samples, "summary": summary, "done": done}
        save_atomic(state, path)
        write_log(log_path, rows)
        if at_checkpoint and rows:
            live = {key: value.clone() for key, value in net.state_dict().items()}
            net.load_state_dict(ema.state(), strict=False)
            rows[-1] |= at_checkpoint(step)
            net.load_state_dict(live)
            net.train()
            write_log(log_path, rows)

    nothing = options.fraction(0, 0.0) >= 1
    stop = folder / "STOP"
    stop.unlink(missing_ok=True)
    net.train()
    last = saved_at = logged_at = time.monotonic()
    sums: dict[str, float] = {}
    steps_in_log = 0
    while not done and options.fraction(step, elapsed) < 1 and step != options.stop_after and not stop.exists():
        fraction = options.fraction(step, elapsed)
        rate = options.rate(step, fraction)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        values = step_loss(step, fraction)
        for optimizer in optimizers:
            optimizer.zero_grad()
        values["loss"].backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), options.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"{name}: the gradient at step {step} is not finite")
        for optimizer in optimizers:
            optimizer.step()
        ema.update(step)
        step += 1
        steps_in_log += 1
        samples += float(values["samples"])
        for key, value in (values | {"norm": norm}).items():
            sums[key] = sums.get(key, 0.0) + float(value.detach() if isinstance(value, Tensor) else value)
        now = time.monotonic()
        elapsed, last = elapsed + now - last, now
        if now - logged_at >= options.log_s:
            summary = {key: value / steps_in_log for key, value in sums.items() if key != "samples"}
            row = {"step": step, "minutes": elapsed / 60, "rate": rate, "per_s": sums["samples"] / (now - logged_at)}
            rows.append(row | summary)
            print(name, " ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()), flush=True)
            sums, steps_in_log, logged_at = {}, 0, now
        if now - saved_at >= options.checkpoint_s:
            checkpoint()
            saved_at = last = logged_at = time.monotonic()
            sums, steps_in_log = {}, 0
    if not done and not nothing:
        done = True
        checkpoint()
        stop.unlink(missing_ok=True)
    net.load_state_dict(ema.state(), strict=False)
    return {"steps": step, "samples": samples, "minutes": elapsed / 60, "done": done} | summary
