"""Whole pictures by diffusers, asked for in sdgen's words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from .schedulers import SCHEDULERS, sigma_keys

@dataclass(frozen=True)
class PictureRequest:
    """One picture; field names are sdgen's long options, None is "flag not given"."""

    prompt: str = "a red fox in the snow"
    negative_prompt: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int = 0
    steps: int | None = 7
    guidance_scale: float | None = 6.5
    scheduler: str | None = None
    timestep_spacing: str | None = None
    prediction_type: str | None = None
    eta: float | None = None
    sigma_schedule: str | None = None
    rescale_betas_zero_snr: bool | None = None
    guidance_rescale: float | None = None

    def given(self) -> dict[str, Any]:
        """The fields that are set."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def arguments(self) -> list[str]:
        """The same as sdgen's command line."""
        flags = {f"--{key.replace('_', '-')}": value for key, value in self.given().items()}
        return [flag if value is True else f"{flag}={value}" for flag, value in flags.items()]


def load_pipeline(folder: Path, variant: str | None = None) -> StableDiffusionPipeline:
    """The folder as diffusers reads it, in float32 on the CPU."""
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    pipe = StableDiffusionPipeline.from_pretrained(
        folder, variant=variant, dtype=torch.float32, safety_checker=None, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def choose_scheduler(pipe: StableDiffusionPipeline, request: PictureRequest) -> Any:
    """The scheduler that the request's flags mean. With a name: that class `from_config` of the pipeline's own config,
    which has been through the pipeline's corrections; from_config leaves out keys that the folder did not state, so
    their corrections are lost. Without a name: the pipeline's own, corrections included, with the options changed."""
    options: dict[str, Any] = {}
    if request.sigma_schedule is not None:
        options |= sigma_keys(request.sigma_schedule)
    for key in ("timestep_spacing", "prediction_type", "rescale_betas_zero_snr"):
        if getattr(request, key) is not None:
            options[key] = getattr(request, key)
    if request.scheduler is None:
        effective = {key: value for key, value in pipe.scheduler.config.items() if key != "_use_default_values"}
        return type(pipe.scheduler).from_config(effective, **options) if options else pipe.scheduler
    name, fixed = SCHEDULERS[request.scheduler]
    return getattr(diffusers, name).from_config(pipe.scheduler.config, **fixed, **options)


def render(pipe: StableDiffusionPipeline, requests: list[PictureRequest]) -> list[np.ndarray]:
    """The pictures of `requests`, which share everything but prompts and seed, as uint8 [height, width, 3] in one
    batch. The pipeline is left as it was."""
    first, own = requests[0], pipe.scheduler
    pipe.scheduler = choose_scheduler(pipe, first)
    negatives = [request.negative_prompt or "" for request in requests]
    try:
        with torch.no_grad():
            images = pipe(
                prompt=[request.prompt for request in requests],
                negative_prompt=negatives,
                width=first.width,
                height=first.height,
                num_inference_steps=50 if first.steps is None else first.steps,
                guidance_scale=7.5 if first.guidance_scale is None else first.guidance_scale,
                eta=first.eta or 0.0,
                guidance_rescale=first.guidance_rescale or 0.0,
                generator=[torch.Generator("cpu").manual_seed(request.seed) for request in requests],
                output_type="pil",
            ).images
    finally:
        pipe.scheduler = own
    return [np.array(image) for image in images]
