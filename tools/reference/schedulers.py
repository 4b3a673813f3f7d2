"""The scheduler table of src/cli/README.md in diffusers' words, and what its classes have."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import diffusers

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
SPACINGS = ("leading", "linspace", "trailing")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
SIGMA_SCHEDULES = ("default", "karras", "exponential", "beta")
TAKE_ETA = ("ddim", "tcd")
SECOND_ORDER = ("heun", "dpm2", "dpm2-a")  # two entries of `timesteps` a step


@cache
def class_has(class_name: str, key: str) -> bool:
    """Does the diffusers class know the config key?"""
    return key in inspect.signature(getattr(diffusers, class_name)).parameters


def has(name: str, key: str) -> bool:
    return class_has(SCHEDULERS[name][0], key)


def spacings(name: str) -> tuple[str, ...]:
    """The timestep spacings that make a difference to it."""
    return () if name in ("dpm++2s", "lcm", "tcd") else SPACINGS


def predictions(name: str) -> tuple[str, ...]:
    return PREDICTIONS[:2] if name in ("plms", "pndm", "euler-a", "dpm2", "dpm2-a") else PREDICTIONS


def sigma_schedules(name: str) -> tuple[str, ...]:
    return SIGMA_SCHEDULES if has(name, "use_karras_sigmas") else SIGMA_SCHEDULES[:1]


def sigma_keys(schedule: str) -> dict[str, bool]:
    """The config keys that --sigma-schedule sets."""
    return {f"use_{each}_sigmas": each == schedule for each in SIGMA_SCHEDULES[1:]}
