"""pictures.safetensors: whole pictures of tests/fixtures/tiny-sd."""

from __future__ import annotations

from pathlib import Path

import torch

from .pictures import PictureRequest, load_pipeline, render
from .tensors import save

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


def write_picture_fixtures(model: Path, path: Path) -> None:
    """Tensors "0", "1", ...: uint8 [height, width, 3]. Metadata "requests": their requests in order, keys as in a batch
    file of sdgen."""
    pipe = load_pipeline(model)
    images = [torch.from_numpy(render(pipe, [request])[0].copy()) for request in PICTURES]
    tensors = {str(index): image for index, image in enumerate(images)}
    save(path, tensors, {"requests": [request.given() for request in PICTURES]})
