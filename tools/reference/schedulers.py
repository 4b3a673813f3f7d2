"""The scheduler table of src/cli/README.md in diffusers' words; what its classes have and do is asked of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import diffusers
import torch

from . import toy

# --scheduler NAME -> diffusers class and the options of that table.
SCHEDULERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "plms": ("PNDMScheduler", {"skip_prk_steps": True}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2-a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpm++2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpm++3m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 3}),
    "dpm++2m-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}),
    "dpm++2s": ("DPMSolverSinglestepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
# Those for models that predict a flow alone; of the others these are for such models too:
FLOW_SCHEDULERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "flow-heun": ("FlowMatchHeunDiscreteScheduler", {}),
    "flow-lcm": ("FlowMatchLCMScheduler", {}),
}
FLOW_SIDE = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
SPACINGS = ("leading", "linspace", "trailing")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
SIGMA_SCHEDULES = ("default", "karras", "exponential", "beta")


@cache
def class_defaults(class_name: str) -> Mapping[str, Any]:
    """The config keys of the diffusers class, and what they are by default."""
    return {key: each.default for key, each in inspect.signature(getattr(diffusers, class_name)).parameters.items()}


def class_has(class_name: str, key: str) -> bool:
    return key in class_defaults(class_name)


def row(name: str) -> tuple[str, Mapping[str, Any]]:
    return SCHEDULERS[name] if name in SCHEDULERS else FLOW_SCHEDULERS[name]


def on_flow(name: str) -> str:
    """What sdgen's name means on a model that predicts a flow."""
    return f"flow-{name}" if f"flow-{name}" in FLOW_SCHEDULERS else name


def has(name: str, key: str) -> bool:
    return class_has(row(name)[0], key)


def with_keys(*keys: str, without: str = "") -> tuple[str, ...]:
    """The first scheduler of every class that has the keys, and has not the other one."""
    found: dict[str, str] = {}
    for name, (class_name, _) in SCHEDULERS.items():
        if all(has(name, key) for key in keys) and not has(name, without):
            found.setdefault(class_name, name)
    return tuple(found.values())


def calls_a_step(name: str) -> int:
    """Entries of `timesteps` a step."""
    return getattr(diffusers, row(name)[0]).order


def entries(name: str, steps: int) -> int:
    """How many `timesteps` a run of so many steps has."""
    class_name, options = row(name)
    scheduler = getattr(diffusers, class_name)(**options)
    scheduler.set_timesteps(steps)
    return len(scheduler.timesteps)


def distilled(name: str) -> bool:
    """Does it take its steps from those that its network was distilled on?"""
    return has(name, "original_inference_steps")


def spacings(name: str) -> tuple[str, ...]:
    """The timestep spacings that make a difference to it."""
    return SPACINGS if has(name, "timestep_spacing") and not distilled(name) else ()


def _trial(name: str, prediction: str) -> toy.Trajectory:
    diffusers.logging.set_verbosity_error()  # classes tell how they would rather be used
    class_name, options = SCHEDULERS[name]
    return toy.run(class_name, {**options, "prediction_type": prediction}, 4, torch.ones((20, *toy.SHAPE)).double())


@cache
def predictions(name: str) -> tuple[str, ...]:
    """The prediction types that it does not refuse."""
    try:
        _trial(name, "sample")
    except (ValueError, NotImplementedError):
        return PREDICTIONS[:2]
    return PREDICTIONS


def sigma_schedules(name: str) -> tuple[str, ...]:
    return SIGMA_SCHEDULES if has(name, "use_karras_sigmas") else SIGMA_SCHEDULES[:1]


def sigma_keys(schedule: str) -> dict[str, bool]:
    """The config keys that --sigma-schedule sets."""
    return {f"use_{each}_sigmas": each == schedule for each in SIGMA_SCHEDULES[1:]}


TAKE_ETA = tuple(name for name, (class_name, _) in SCHEDULERS.items()
                 if "eta" in inspect.signature(getattr(diffusers, class_name).step).parameters)  # fmt: skip
STOCHASTIC = tuple(name for name in SCHEDULERS if _trial(name, "epsilon").draws)
