"""Cases that repaint a part of a picture, extend one, or follow a depth map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .parity_case import ParityCase
from .pictures import PictureRequest
from .schedulers import SCHEDULERS, STOCHASTIC

SMALL = PictureRequest(steps=6, init_image="photo-32x32", mask="disc-32x32", strength=0.7)
FULL = replace(SMALL, init_image="photo-64x48", mask="disc-64x48")
# The first networks take latents alone, the others what is left of the picture too.
BLENDED = ("sd1", "sd2-v", "sdxl-small")
SHOWN = ("sd1-inpaint", "sdxl-inpaint")


def inpaint_cases() -> Iterator[ParityCase]:
    yield from _schedulers()
    yield from _strengths()
    yield from _batches()
    yield from _masks()
    yield from _only_masked()
    yield from _extended()
    yield from _families()
    yield from _depth()


def _schedulers() -> Iterator[ParityCase]:
    for name in SCHEDULERS:
        yield ParityCase(f"inpaint-{name}", "sd1", replace(SMALL, scheduler=name, seed=len(name)))
        yield ParityCase(f"inpaint-{name}-1", "sd1", replace(SMALL, scheduler=name, seed=3, strength=1.0))
    for name in ("ddim", "dpm++2m", "heun", *STOCHASTIC):
        yield ParityCase(f"inpaint-{name}", "sd1-inpaint", replace(SMALL, scheduler=name, seed=5))
        yield ParityCase(f"inpaint-{name}", "sdxl-small", replace(SMALL, scheduler=name, seed=6))
    for name in ("ddpm", "euler"):
        yield ParityCase(f"inpaint-{name}", "sd2-v", replace(SMALL, scheduler=name))
        yield ParityCase(f"inpaint-{name}-1", "sd1-inpaint", replace(SMALL, scheduler=name, strength=1.0))
        yield ParityCase(f"inpaint-{name}", "sdxl-inpaint", replace(SMALL, scheduler=name, strength=0.9))
    # Runge-Kutta steps are switched off by the inpainting pipeline, not by the one of the folder.
    yield ParityCase("inpaint-own", "pndm", replace(SMALL, steps=8))
    yield ParityCase("inpaint-bare", "bare-pndm", SMALL)


def _strengths() -> Iterator[ParityCase]:
    for model in BLENDED + SHOWN:
        for strength in (None, 0.2, 1.0):
            yield ParityCase(f"inpaint-strength-{strength}", model, replace(SMALL, strength=strength))
    for model in ("sd1", "sdxl-small", "sdxl-inpaint"):
        yield ParityCase("inpaint-defaults", model, replace(SMALL, strength=None, guidance_scale=None))
    yield ParityCase("inpaint-guidance-1", "sd1", replace(SMALL, guidance_scale=1.0))
    yield ParityCase("inpaint-guidance-1", "sd1-inpaint", replace(SMALL, guidance_scale=1.0))
    yield ParityCase("inpaint-eta", "sd1", replace(SMALL, scheduler="ddim", eta=0.7))


def _batches() -> Iterator[ParityCase]:
    for model in ("sd1", "sd1-inpaint", "sdxl-inpaint"):
        yield ParityCase("inpaint-batch", model, replace(SMALL, scheduler="ddpm", seed=11), images=3, batch_size=2)
        request = replace(SMALL, scheduler="ddpm", seed=12, strength=1.0)
        yield ParityCase("inpaint-batch-1", model, request, images=2, batch_size=2)


def _masks() -> Iterator[ParityCase]:
    for mask in ("ring-32x32", "corner-32x32", "disc-57x43", "corner-16x24", "disc-200x150"):
        yield ParityCase(f"inpaint-mask-{mask}", "sd1", replace(SMALL, mask=mask))
    for kind in ("grey", "alpha", "palette", "bilevel", "rgb16", "turned-6"):
        yield ParityCase(f"inpaint-mask-{kind}", "sd1", replace(SMALL, mask=kind, init_image="photo-57x43"))
    sized = replace(SMALL, init_image="photo-57x43", mask="disc-57x43")
    yield ParityCase("inpaint-own-size", "sd1", sized)
    yield ParityCase("inpaint-sized", "sd1", replace(sized, width=24, height=40))
    yield ParityCase("inpaint-sized", "sd1-inpaint", replace(sized, width=40, height=24))
    for blur in (1, 4, 13):
        yield ParityCase(f"inpaint-blur-{blur}", "sd1", replace(SMALL, mask_blur=blur, mask="corner-32x32"))
    yield ParityCase("inpaint-blur-sized", "sd1", replace(sized, mask_blur=3, mask="disc-80x60", width=40, height=40))
    yield ParityCase("inpaint-blur", "sd1-inpaint", replace(sized, mask_blur=6))


def _only_masked() -> Iterator[ParityCase]:
    large = replace(SMALL, init_image="photo-301x187")
    for mask, padding in (("disc", 8), ("strip", 0), ("column", 3), ("corner", 32), ("ring", 5)):
        request = replace(large, mask=f"{mask}-301x187", only_masked=padding)
        yield ParityCase(f"inpaint-alone-{mask}", "sd1", request)
        yield ParityCase(f"inpaint-alone-{mask}-blur", "sd1", replace(request, mask_blur=4, width=48, height=32))
    request = replace(large, mask="column-301x187", only_masked=4, mask_blur=2)
    for model in ("sd1-inpaint", "sdxl-small"):
        yield ParityCase("inpaint-alone", model, request)
    yield ParityCase("inpaint-alone-batch", "sd1", replace(request, scheduler="ddpm"), images=2, batch_size=2)
    yield ParityCase("inpaint-alone-other-mask", "sd1", replace(request, mask="strip-100x60"))


def _extended() -> Iterator[ParityCase]:
    photo = replace(SMALL, mask=None, init_image="photo-57x43")
    for margins in ((0, 0, 32, 0), (16, 0, 0, 0), (5, 7, 11, 3), (0, 40, 0, 0)):
        name = "-".join(map(str, margins))
        yield ParityCase(f"extend-{name}", "sd1", replace(photo, extend=margins))
        yield ParityCase(f"extend-{name}", "sd1-inpaint", replace(photo, extend=margins, strength=None))
    yield ParityCase("extend-masked", "sd1", replace(photo, extend=(0, 0, 16, 0), mask="disc-57x43", mask_blur=2))
    yield ParityCase("extend-masked", "sdxl-small", replace(photo, extend=(8, 2, 23, 3), mask="corner-30x30"))
    yield ParityCase("extend-alone", "sd1", replace(photo, extend=(0, 0, 30, 0), only_masked=10))


def _families() -> Iterator[ParityCase]:
    for model in ("sd15", "sd21", "sdxl", "inpaint", "refiner"):
        yield ParityCase("inpaint-own", model, FULL)
    yield ParityCase("inpaint-own", "inpaint", FULL, form="original")
    yield ParityCase("inpaint-unet", "sd15", replace(FULL, unet="inpaint@unet-bare"))
    yield ParityCase("inpaint-vae", "sdxl", replace(FULL, vae="sdxl-v@vae-folder"))
    sized = replace(FULL, original_size=(96, 48), crop=(8, 24), target_size=(72, 40))
    yield ParityCase("inpaint-sizes", "sdxl", replace(sized, negative_prompt="a blue bird"))
    for name in ("ddim", "euler", "heun", "dpm++2m"):
        refined = replace(FULL, refiner="refiner", refiner_start=0.6, scheduler=name, strength=0.9)
        yield ParityCase(f"inpaint-refined-{name}", "sdxl", refined)
    for model in ("lcm", "lcm-sdxl"):
        for steps, strength in ((4, 0.8), (4, 1.0)):
            yield ParityCase(f"inpaint-{steps}-{strength}", model, replace(FULL, steps=steps, strength=strength))
    tiny = replace(SMALL, scheduler="ddpm", vae="taesd@taesd-both")  # draws nothing
    for model in ("sd1", "sd1-inpaint"):
        yield ParityCase("inpaint-taesd", model, tiny)
        yield ParityCase("inpaint-taesd-batch", model, tiny, images=3, batch_size=2)
    yield ParityCase("inpaint-own", "turbo", replace(SMALL, steps=4, guidance_scale=1.0))


def _depth() -> Iterator[ParityCase]:
    photo = replace(FULL, mask=None, depth="other-64x48")
    yield ParityCase("depth-own", "depth", photo)
    yield ParityCase("depth-ddim", "depth", replace(photo, scheduler="ddim"), form="original")
    yield ParityCase("depth-defaults", "depth", replace(photo, strength=None, guidance_scale=None))
    for name in ("ddim", "euler-a", "heun", "dpm++2m"):
        yield ParityCase(f"depth-{name}", "depth", replace(photo, scheduler=name, strength=1.0))
    yield ParityCase("depth-sized", "depth", replace(photo, depth="grey", width=48, height=64))
    yield ParityCase("depth-guidance-1", "depth", replace(photo, guidance_scale=1.0))
    yield ParityCase("depth-batch", "depth", replace(photo, scheduler="ddpm"), images=3, batch_size=2)
