"""Schedulers on a network that fits in one line, so that a C++ test can repeat whole trajectories.

The network is told its input x_in (the noisy latents, scaled to unit variance as `scale_model_input` does: for nodes
x = alpha x0 + sigma noise that is x_in = x / sqrt(alpha^2 + sigma^2)) and the time t that the scheduler tells it:

    network(x_in, t) = 0.9 tanh(1.5 x_in + 0.002 t - 1) + 0.25 cos(2 x_in)

Its value is taken as epsilon, v or x0, whatever the prediction type says. Elementwise, in float64.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import diffusers
import torch
from torch import Tensor

SHAPE = (2, 2, 2, 2)  # pictures, channels, height, width of the latents


def network(x: Tensor, t: float) -> Tensor:
    return 0.9 * torch.tanh(1.5 * x + 0.002 * t - 1) + 0.25 * torch.cos(2 * x)


@dataclass(frozen=True)
class Trajectory:
    timesteps: Tensor  # [calls] float64: what the network is told
    init_noise_sigma: float  # the first latents are this times the first noise
    latents: Tensor  # [calls, *SHAPE] float64: after each call
    draws: int  # noises taken in the steps


def run(class_name: str, config: Mapping[str, Any], steps: int, noise: Tensor, eta: float | None = None) -> Trajectory:
    """One trajectory of the diffusers scheduler. noise[0] makes the first latents, noise[1 + k] is the k-th draw of the
    steps, however many of them draw."""
    scheduler = getattr(diffusers, class_name)(**config)
    scheduler.set_timesteps(steps)
    draws = iter(noise[1:])
    drawn = 0

    def draw(*_: Any, **__: Any) -> Tensor:
        nonlocal drawn
        drawn += 1
        return next(draws)

    x = noise[0] * float(scheduler.init_noise_sigma)
    latents: list[Tensor] = []
    options = {} if eta is None else {"eta": eta}
    with mock.patch.object(sys.modules[type(scheduler).__module__], "randn_tensor", draw, create=True):
        for t in scheduler.timesteps:
            prediction = network(scheduler.scale_model_input(x, t), float(t))
            x = scheduler.step(prediction, t, x, **options).prev_sample.double()
            latents.append(x)
    times = scheduler.timesteps.double()
    return Trajectory(times, float(scheduler.init_noise_sigma), torch.stack(latents), drawn)
