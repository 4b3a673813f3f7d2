"""Schedulers on a network that fits in one line, so that a C++ test can repeat whole trajectories.

The network gets its input x_in (the noisy latents, scaled to unit variance as `scale_model_input` does: for nodes
x = alpha x0 + sigma noise that is x_in = x / sqrt(alpha^2 + sigma^2)) and the time t that the scheduler tells it; of a flow it gets x itself:

    network(x_in, t) = 0.9 tanh(1.5 x_in + 0.002 t - 1) + 0.25 cos(2 x_in)

Its value is taken as epsilon, v, x0 or the flow, whatever the prediction type says. Elementwise, in float64.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any
from unittest import mock

import diffusers
import torch
from torch import Tensor

_TABLES = ("alphas_cumprod", "final_alpha_cumprod", "sigmas", "sigmas_interpol", "sigmas_up", "sigmas_down")
SHAPE = (2, 2, 1, 2)  # pictures, channels, height, width of the latents


def network(x: Tensor, t: float) -> Tensor:
    return 0.9 * torch.tanh(1.5 * x + 0.002 * t - 1) + 0.25 * torch.cos(2 * x)


@dataclass(frozen=True)
class Trajectory:
    timesteps: Tensor  # [calls] float64: what the network gets
    init_noise_sigma: float  # the first latents are this times the first noise
    latents: Tensor  # [1 + calls, *SHAPE] float64: the first, and after each call
    draws: int  # noises taken in the steps


def run(
    class_name: str,
    config: Mapping[str, Any],
    steps: int,
    noise: Tensor,
    eta: float | None = None,
    part: tuple[int, int] | None = None,
    exact: bool = False,
    given: Mapping[str, Any] | None = None,
) -> Trajectory:
    """One trajectory of the diffusers scheduler. noise[0] makes the first latents, noise[1 + k] is the k-th draw of the
    steps, however many of them draw. With `part` = (begin, end) these entries of scheduler.timesteps, as image to image
    does it: from add_noise of the clean latents noise[1] / 2 by noise[0]. `exact`: the class computes with its float32
    tables widened, so that its coefficients are not rounded on the way. `given`: what else the pipeline says to
    set_timesteps."""
    scheduler = getattr(diffusers, class_name)(**config)
    scheduler.set_timesteps(steps, **(given or {}))
    for table in _TABLES if exact else ():
        if hasattr(scheduler, table):
            setattr(scheduler, table, getattr(scheduler, table).double())
    draws = iter(noise[1:])
    drawn = 0

    def draw(*_: Any, **__: Any) -> Tensor:
        nonlocal drawn
        drawn += 1
        return next(draws)

    flow = not hasattr(scheduler, "add_noise")  # the classes that are for flows alone
    times, init_noise_sigma = scheduler.timesteps, 1.0 if flow else float(scheduler.init_noise_sigma)
    x = noise[0] * init_noise_sigma
    if part:
        times = times[part[0] : part[1]]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(part[0])
        x = (scheduler.scale_noise(noise[1] / 2, times[:1], noise[0]) if flow
             else scheduler.add_noise(noise[1] / 2, noise[0], times[:1]))  # fmt: skip
    latents: list[Tensor] = [x]
    options = {"eta": eta or 0.0} if "eta" in signature(scheduler.step).parameters else {}
    with mock.patch.object(sys.modules[type(scheduler).__module__], "randn_tensor", draw, create=True):
        for t in times:
            prediction = network(x if flow else scheduler.scale_model_input(x, t), float(t))
            x = scheduler.step(prediction, t, x, **options).prev_sample.double()
            latents.append(x)
    return Trajectory(times.double(), init_noise_sigma, torch.stack(latents), drawn)
