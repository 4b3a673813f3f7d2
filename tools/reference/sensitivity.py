"""The comparison must notice mistakes: a reference made with one wrong input has to differ from the right one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffusers import StableDiffusionPipeline

from .parity_run import Outcome, compare
from .pictures import PictureRequest, render

VISIBLE = 8  # of 255
BASE = PictureRequest(seed=21, scheduler="ddim", timestep_spacing="leading", eta=0.5, negative_prompt="a blue bird")

MISTAKES: dict[str, dict[str, Any]] = {
    "seed": {"seed": 22},
    "prompt": {"prompt": "a red fox in the rain"},
    "empty-prompt": {"prompt": ""},
    "negative": {"negative_prompt": ""},
    "guidance": {"guidance_scale": 5.5},
    "no-guidance": {"guidance_scale": 1.0},
    "steps": {"steps": 8},
    "scheduler": {"scheduler": "ddpm", "eta": None},
    "spacing": {"timestep_spacing": "trailing"},
    "prediction": {"prediction_type": "v_prediction"},
    "eta": {"eta": 0.8},
}


def check_sensitivity(model: str, pipe: StableDiffusionPipeline) -> list[Outcome]:
    """One outcome a mistake; it carries an error where the wrong picture could pass for the right one or hides its
    mistake in less than a twentieth of the samples."""
    right = render(pipe, [BASE])[0]
    outcomes = []
    for name, change in MISTAKES.items():
        if pipe.scheduler.config.prediction_type == change.get("prediction_type"):
            change = {"prediction_type": "epsilon"}
        maximum, differing, beyond = compare(render(pipe, [replace(BASE, **change)])[0], right)
        outcome = Outcome(f"{model}/sensitivity-{name}", differing=differing, beyond=beyond)
        if maximum <= VISIBLE or beyond < 0.05:
            outcome.error = f"a wrong input hardly shows: max {maximum}, {beyond:.1%} beyond the tolerance"
        outcomes.append(outcome)
    return outcomes
