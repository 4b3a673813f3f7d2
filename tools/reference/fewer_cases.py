"""Runs that spare network calls: see fewer_calls.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .flux import BASE as FLUX_BASE
from .parity_case import ParityCase
from .pictures import PictureRequest
from .prompt_cases import WEIGHTS
from .qwen_image import BASE as QWEN_IMAGE_BASE
from .sd3 import BASE as SD3_BASE

BASE = PictureRequest(seed=21, steps=8, scheduler="ddim", negative_prompt="a blue bird")
IMAGE = {"init_image": "photo-32x32", "strength": 0.7, "width": 32, "height": 32}


def fewer_cases() -> Iterator[ParityCase]:
    yield from _deep()
    yield from _first_block()
    yield from _intervals()


def _deep() -> Iterator[ParityCase]:
    for model in ("sd1", "sd15", "sdxl"):
        for cache in ("deepcache:1", "deepcache:2", "deepcache:3:2", "deepcache:20"):
            yield ParityCase(f"{cache}", model, replace(BASE, cache=cache))
        yield ParityCase("deepcache-batch", model, replace(BASE, cache="deepcache:3"), images=3, batch_size=2)
        yield ParityCase("deepcache-image", model, replace(BASE, cache="deepcache:2", **IMAGE))
        yield ParityCase("deepcache-unguided", model, replace(BASE, cache="deepcache:3", guidance_scale=1.0))
    for scheduler in ("euler", "dpm++2m", "unipc", "lcm"):
        yield ParityCase(f"deepcache-{scheduler}", "sd1", replace(BASE, scheduler=scheduler, cache="deepcache:3"))


def _first_block() -> Iterator[ParityCase]:
    """Of models whose transformers have the cache in diffusers, and can run with it (FLUX.2's cannot). Of a batch diffusers asks once for all pictures, sdgen for each. What the first layer of these small networks says is another by
    0.35 to 1.1 from step to step, so some of the shares spare none, some a few, some most calls."""
    for model, base in (("flux-dev", FLUX_BASE), ("flux-schnell", replace(FLUX_BASE, guidance_scale=0.0))):
        for threshold in (0.0, 0.45, 0.6, 0.75, 1000.0):
            yield ParityCase(f"first-block:{threshold:g}", model, replace(base, steps=9, cache=f"first-block:{threshold:g}"))
        yield ParityCase("first-block-image", model, replace(base, steps=9, cache="first-block:0.75", **IMAGE))
    unguided = replace(QWEN_IMAGE_BASE, true_cfg_scale=None, negative_prompt=None)
    for threshold in (0.25, 0.5, 1.0, 1000.0):
        yield ParityCase(f"first-block:{threshold:g}", "qwen-image", replace(unguided, steps=9, cache=f"first-block:{threshold:g}"))
    yield ParityCase("first-block-guided", "qwen-image", replace(QWEN_IMAGE_BASE, steps=9, cache="first-block:0.5"))


def _intervals() -> Iterator[ParityCase]:
    for model, base in (("sd1", BASE), ("sdxl", BASE), ("sd35-medium", replace(SD3_BASE, steps=8))):
        for interval in ((0.0, 0.5), (0.5, 1.0), (0.25, 0.7)):
            yield ParityCase(f"interval-{interval[0]}-{interval[1]}", model, replace(base, guidance_interval=interval))
        middle = replace(base, guidance_interval=(0.3, 0.8))
        yield ParityCase("interval-batch", model, middle, images=3, batch_size=2)
        yield ParityCase("interval-image", model, replace(middle, **IMAGE))
    yield ParityCase("interval-cache", "sd1", replace(BASE, guidance_interval=(0.3, 0.8), cache="deepcache:20"))
    yield ParityCase("interval-rescale", "sd1", replace(BASE, guidance_interval=(0.3, 0.8), guidance_rescale=0.7))
    yield ParityCase("interval-weighted", "sd1", replace(BASE, guidance_interval=(0.3, 0.8), prompt=WEIGHTS, prompt_syntax="weighted"))
    yield ParityCase("interval-refiner", "sdxl", replace(BASE, guidance_interval=(0.3, 0.6), refiner="refiner", refiner_start=0.5))


def fewer_mistakes(model: str) -> dict[str, tuple[PictureRequest, dict[str, Any], None]]:
    """To be noticed with the model: what is asked for, and what is asked for by mistake."""
    deep = replace(BASE, cache="deepcache:4")
    part = replace(BASE, guidance_interval=(0.25, 0.75))
    first = replace(FLUX_BASE, steps=9, cache="first-block:0.75")
    if model in ("sd1", "sd15", "sdxl"):
        return {
            "cache": (deep, {"cache": None}, None),
            "cache-every": (deep, {"cache": "deepcache:3"}, None),
            "cache-layers": (deep, {"cache": "deepcache:4:2"}, None),
            "interval": (part, {"guidance_interval": None}, None),
            "interval-begin": (part, {"guidance_interval": (0.375, 0.75)}, None),
            "interval-end": (part, {"guidance_interval": (0.25, 0.625)}, None),
            "interval-cache": (replace(deep, guidance_interval=(0.25, 0.75)), {"guidance_interval": None}, None),
        }
    if model == "flux-dev":
        return {"first-block": (first, {"cache": None}, None), "first-block-share": (first, {"cache": "first-block:0.45"}, None)}
    return {}
