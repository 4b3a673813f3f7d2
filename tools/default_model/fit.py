"""One training loop for every stage: a budget in minutes or steps, warm-up and cosine, EMA, atomic checkpoints."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .muon import Muon, split_parameters

# (step, fraction of the budget used, worker) -> named scalars of that worker's part of the batch; the mean of "loss"
# over the workers is minimised, the sum of "samples" counts pictures.
StepLoss = Callable[[int, float, int], dict[str, Tensor | float]]


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
    workers: int = 1  # threads that each take a part of the batch

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("a budget is either minutes or steps")

    def fraction(self, step: int, elapsed_s: float) -> float:
        """Used part of the budget, 0..1."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
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


def worker_count(device: torch.device) -> int:
    """Two workers on a CPU of several cores, else one.

    Workers meet once per step, the threads of an operator thousands of times, which costs far more on a busy machine.
    """
    return 2 if device.type == "cpu" and torch.get_num_threads() > 1 else 1


@contextmanager
def autocast(device: torch.device) -> Iterator[None]:
    """bfloat16 on CUDA, float32 elsewhere."""
    with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
        yield


def fit(name: str, net: nn.Module, step_loss: StepLoss, options: FitOptions, folder: Path) -> dict[str, float]:
    """Trains `net` until its budget is used or `folder`/STOP exists (which is then removed); leaves the EMA
    parameters in `net`.

    `folder`/<name>.pt holds the last checkpoint, from which a later call goes on (with whatever budget that call has)
    unless the stage is done; `folder`/<name>.jsonl the log. A budget of nothing reads the checkpoint, writes nothing.

    Returns:
        What the training took: "steps", "samples", "minutes", and the last logged means of every scalar.
    """
    path = folder / f"{name}.pt"
    inner = max(1, torch.get_num_threads() // options.workers)
    threads = ThreadPoolExecutor(options.workers, initializer=torch.set_num_threads, initargs=(inner,))
    matrices, others = split_parameters(net, options.adam_only)
    optimizers = [
        Muon(matrices, options.learning_rate, weight_decay=options.weight_decay, spread=threads.map),
        torch.optim.AdamW(others, options.learning_rate, betas=options.betas, weight_decay=options.weight_decay),
    ]
    ema = Ema(net, options.ema)
    step, elapsed, samples, summary, done = 0, 0.0, 0.0, {}, False
    if path.exists():
        saved = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict(saved["net"])
        ema.load(saved["ema"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, elapsed, samples, summary = saved["step"], saved["elapsed"], saved["samples"], saved["summary"]
        done = saved.get("done", False)
        print(f"{name}: resumed at step {step}, {elapsed / 60:.1f} minutes", flush=True)

    def checkpoint() -> None:
        state = {"net": net.state_dict(), "ema": ema.state(), "optimizers": [o.state_dict() for o in optimizers]}
        state |= {"step": step, "elapsed": elapsed, "samples": samples, "summary": summary, "done": done}
        save_atomic(state, path)

    parameters = [p for p in net.parameters() if p.requires_grad]

    def work(step: int, fraction: float, worker: int) -> tuple[dict[str, float], Sequence[Tensor | None]]:
        values = step_loss(step, fraction, worker)
        grads = torch.autograd.grad(values["loss"], parameters, allow_unused=True)
        return {key: float(v.detach() if isinstance(v, Tensor) else v) for key, v in values.items()}, grads

    def gradients(step: int, fraction: float) -> dict[str, float]:
        """Leaves the mean gradient in the parameters and returns the means of the values, the sum of "samples"."""
        parts = [part.result() for part in [threads.submit(work, step, fraction, w) for w in range(options.workers)]]
        for parameter, *grads in zip(parameters, *(grads for _, grads in parts), strict=True):
            parameter.grad = None if grads[0] is None else sum(grads[1:], grads[0]) / options.workers
        values = {key: sum(part[key] for part, _ in parts) / options.workers for key in parts[0][0]}
        return values | {"samples": values["samples"] * options.workers}

    net.train()
    last = saved_at = logged_at = time.monotonic()
    sums: dict[str, float] = {}
    steps_in_log = 0
    first = step
    while not done and options.fraction(step, elapsed) < 1 and not (folder / "STOP").exists():
        fraction = options.fraction(step, elapsed)
        rate = options.rate(step, fraction)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        values = gradients(step, fraction)
        norm = nn.utils.clip_grad_norm_(net.parameters(), options.clip)
        for optimizer in optimizers:
            optimizer.step()
        ema.update(step)
        step += 1
        steps_in_log += 1
        samples += values["samples"]
        for key, value in (values | {"norm": norm}).items():
            sums[key] = sums.get(key, 0.0) + float(value)
        now = time.monotonic()
        elapsed, last = elapsed + now - last, now
        if now - logged_at >= options.log_s:
            summary = {key: value / steps_in_log for key, value in sums.items() if key != "samples"}
            row = {"step": step, "minutes": elapsed / 60, "rate": rate, "per_s": sums["samples"] / (now - logged_at)}
            with (folder / f"{name}.jsonl").open("a") as log:
                log.write(json.dumps({k: float(f"{v:.5g}") for k, v in (row | summary).items()}) + "\n")
            sums, steps_in_log, logged_at = {}, 0, now
        if now - saved_at >= options.checkpoint_s:
            checkpoint()
            saved_at = now
    threads.shutdown()
    if step > first:
        done = True
        checkpoint()
        (folder / "STOP").unlink(missing_ok=True)
    net.load_state_dict(ema.state(), strict=False)
    return {"steps": step, "samples": samples, "minutes": elapsed / 60} | summary
