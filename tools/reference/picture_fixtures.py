"""pictures*.safetensors: whole pictures of tests/fixtures/tiny-sd and tiny-ddpm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from .pictures import PictureRequest, load_pipeline, render
from .tensors import save
from .unconditional import BASE

LONG_PROMPT = "a very long prompt about " + ", ".join(f"{n} red foxes and {n} blue birds" for n in range(30))

PICTURES: tuple[PictureRequest, ...] = (
    PictureRequest(steps=20),
    PictureRequest(prompt="", seed=1, guidance_scale=1.0),
    PictureRequest(prompt="Ein rotes Haus, красный дом, 一只红苹果 🦊", seed=2**40 + 5, width=40, height=24),
    PictureRequest(prompt=LONG_PROMPT, seed=2**64 - 1, negative_prompt="blurry, text", width=24, height=48),
    PictureRequest(seed=4, scheduler="ddim", steps=13, timestep_spacing="trailing"),
    PictureRequest(seed=5, scheduler="ddim", steps=10, eta=0.6, prediction_type="v_prediction"),
    PictureRequest(seed=6, scheduler="ddpm", steps=12, prediction_type="sample", guidance_scale=3.0),
    PictureRequest(seed=7, scheduler="plms", steps=11, timestep_spacing="linspace"),
    PictureRequest(seed=8, scheduler="euler", steps=9),
    PictureRequest(seed=9, scheduler="euler", steps=9, timestep_spacing="leading", prediction_type="v_prediction"),
    PictureRequest(seed=10, scheduler="dpm++2m", steps=20, timestep_spacing="trailing"),
    PictureRequest(seed=11, scheduler="dpm++2m", steps=1),
    PictureRequest(seed=12, steps=50, negative_prompt="a dog"),
)


UNCONDITIONAL_PICTURES: tuple[PictureRequest, ...] = (
    replace(BASE, seed=13, steps=20),
    replace(BASE, seed=2**64 - 1, steps=3, width=6, height=10),
    replace(BASE, seed=14, scheduler="ddim", timestep_spacing="trailing"),
    replace(BASE, seed=15, scheduler="dpm++2m", steps=9, prediction_type="sample"),
    replace(BASE, seed=16, steps=None),
)


def write_picture_fixtures(model: Path, path: Path, requests: Sequence[PictureRequest] = PICTURES) -> None:
    """Tensors "0", "1", ...: uint8 [height, width, 3]. Metadata "requests": their requests in order, keys as in a batch
    file of sdgen."""
    pipe = load_pipeline(model)
    images = [torch.from_numpy(render(pipe, [request])[0].copy()) for request in requests]
    tensors = {str(index): image for index, image in enumerate(images)}
    save(path, tensors, {"requests": [request.given() for request in requests]})
