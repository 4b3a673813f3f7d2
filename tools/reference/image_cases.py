"""Cases that begin with a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .image_files import KINDS
from .parity_case import ParityCase
from .pictures import PictureRequest
from .schedulers import SCHEDULERS, sigma_schedules

SMALL = PictureRequest(steps=8, init_image="photo-24x24", strength=0.6)


def image_cases() -> Iterator[ParityCase]:
    yield from _image_to_image()
    yield from _kinds()
    yield from _image_batches()
    yield from _image_families()


def _image_to_image() -> Iterator[ParityCase]:
    """Every scheduler, from one step up to all of them."""
    for name in SCHEDULERS:
        base = replace(SMALL, scheduler=name, seed=len(name))
        for strength in (0.13, 0.5, 0.8, 1.0):
            yield ParityCase(f"image-{name}-{strength}", "sd1", replace(base, strength=strength))
        yield ParityCase(f"image-{name}-20", "sd1", replace(base, steps=20, strength=0.75))
        for sigmas in sigma_schedules(name)[1:2]:
            yield ParityCase(f"image-{name}-{sigmas}", "sd1", replace(base, sigma_schedule=sigmas))
        for model in ("sd2-v", "sdxl-small"):
            yield ParityCase(f"image-{name}", model, base)
        yield ParityCase(f"image-{name}", "refiner-small", base)
    for strength in (0.29, 0.3, 0.57, 0.58, 0.999):  # products whose floating-point value is just below a whole number
        yield ParityCase(f"image-strength-{strength}", "sd1", replace(SMALL, steps=100, strength=strength, scheduler="ddim"))
    yield ParityCase("image-eta", "sd1", replace(SMALL, scheduler="ddim", eta=0.7))
    yield ParityCase("image-guidance-1", "sd1", replace(SMALL, guidance_scale=1.0))
    yield ParityCase("image-defaults", "sd1", replace(SMALL, strength=None, guidance_scale=None))


def _kinds() -> Iterator[ParityCase]:
    for kind in KINDS:
        yield ParityCase(f"image-{kind}", "sd1", replace(SMALL, init_image=kind))
    for size in ((24, 40), (64, 16), (56, 40), (57 // 8 * 8, 80)):
        request = replace(SMALL, init_image="photo-57x43", width=size[0], height=size[1])
        yield ParityCase(f"image-resized-{size[0]}x{size[1]}", "sd1", request)
    yield ParityCase("image-large", "deep", replace(SMALL, init_image="photo-301x187", width=48, height=32))
    yield ParityCase("image-own-size", "deep", replace(SMALL, init_image="photo-61x45"))


def _image_batches() -> Iterator[ParityCase]:
    for images, batch in ((3, 1), (3, 2), (2, 8)):
        request = replace(SMALL, seed=11, scheduler="ddpm")
        yield ParityCase(f"image-batch-{images}-{batch}", "sd1", request, images, batch)
        yield ParityCase(f"image-batch-{images}-{batch}", "sdxl-small", request, images, batch)


def _image_families() -> Iterator[ParityCase]:
    photo = replace(SMALL, init_image="photo-64x48", steps=6)
    for model in ("sd15", "sd21", "sdxl", "refiner"):
        yield ParityCase("image-own", model, photo)
        yield ParityCase("image-defaults", model, replace(photo, strength=None, guidance_scale=None))
    sized = replace(photo, original_size=(96, 48), crop=(8, 24), target_size=(72, 40))
    for model in ("sdxl", "refiner"):
        yield ParityCase("image-sizes", model, sized)
        yield ParityCase("image-negative", model, replace(photo, negative_prompt="a blue bird"))
    yield ParityCase("image-vae", "sdxl", replace(photo, vae="sdxl-v@vae-folder"))
    for name in ("ddim", "euler", "dpm++2m"):
        refined = replace(photo, refiner="refiner", refiner_start=0.6, scheduler=name, strength=0.8)
        yield ParityCase(f"image-refined-{name}", "sdxl", refined)
    for model in ("lcm", "lcm-sdxl"):
        for steps, strength in ((4, 0.8), (2, 0.5), (4, 1.0)):
            request = replace(photo, steps=steps, strength=strength, scheduler="lcm")
            yield ParityCase(f"image-{steps}-{strength}", model, request)
