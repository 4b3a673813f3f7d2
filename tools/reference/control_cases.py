"""ControlNets and T2I-Adapters: every family, alone and together, in every form of file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .control_files import ControlSpec, ControlUse
from .parity_case import ParityCase
from .pictures import PictureRequest

NET = ControlSpec("net")
OTHER = ControlSpec("other", seed=1)
NINE = ControlSpec("nine", config={"in_channels": 4}, seed=10)  # of a U-Net that sees the mask too, which the net does not
BGR = ControlSpec("bgr", config={"controlnet_conditioning_channel_order": "bgr"}, seed=2)
POOLED = ControlSpec("pooled", config={"global_pool_conditions": True}, seed=3)
FULL = ControlSpec("full", "full_adapter", seed=4)
GREY = ControlSpec("grey", "full_adapter", {"in_channels": 1, "num_res_blocks": 1}, seed=5)
LIGHT = ControlSpec("light", "light_adapter", {"num_res_blocks": 4}, seed=6)
XL = ControlSpec("xl", "full_adapter_xl", seed=7)
XL_GREY = ControlSpec("xl-grey", "full_adapter_xl", {"in_channels": 1}, seed=8)
# As diffusers/controlnet-canny-sdxl-1.0-small: no attention anywhere.
SMALL = ControlSpec("small", config={"down_block_types": ("DownBlock2D",) * 3, "mid_block_type": "UNetMidBlock2D"}, seed=9)

SHORT = PictureRequest(steps=4, width=48, height=32, seed=5)


def control_cases() -> Iterator[ParityCase]:
    yield from _controlnets()
    yield from _steps()
    yield from _several()
    yield from _adapters()


def _case(model: str, name: str, *uses: tuple[ControlSpec, dict], **change: object) -> ParityCase:
    controls = tuple(ControlUse(model, spec, **options) for spec, options in uses)
    return ParityCase(f"control-{name}", model, replace(SHORT, controls=controls, **change))


def _controlnets() -> Iterator[ParityCase]:
    for model in ("sd1", "sd15", "sd21", "sdxl"):
        yield _case(model, "net", (NET, {}))
    for model in ("sd15", "sd21", "sdxl"):
        yield _case(model, "net-original", (NET, {"form": "original"}))
        if model != "sd21":
            yield _case(model, "net-file", (NET, {"form": "file"}))
            yield _case(model, "guess", (NET, {}), guess_mode=True)
            yield _case(model, "image", (NET, {}), init_image="photo-48x32", strength=0.6)
            yield replace(_case(model, "batch", (NET, {}), scheduler="ddpm"), images=3, batch_size=2)
    masked = {"init_image": "photo-48x32", "mask": "corner-48x32", "strength": 0.7}
    for model in ("sd1", "sd15", "sdxl"):
        yield _case(model, "inpaint", (NET, {}), scheduler="euler-a", **masked)
    yield _case("inpaint", "inpaint", (NINE, {}), scheduler="ddim", **masked)
    yield replace(_case("sd15", "whole-original", (NET, {"form": "original"})), form="original")
    for form in ("folder", "file"):
        yield _case("sdxl", f"small-{form}", (SMALL, {"form": form}))
    yield _case("lcm", "net", (NET, {}), scheduler="lcm")
    yield _case("sd15", "resized", (NET, {"image": "photo-57x43"}))
    yield _case("sd15", "own-size", (NET, {"image": "photo-61x45"}), width=None, height=None)
    yield _case("sd15", "odd-size", (NET, {}), width=56, height=40)
    yield _case("sd15", "grey-file", (NET, {"image": "grey"}))
    yield _case("sd15", "bgr", (BGR, {}))
    yield _case("sd15", "pooled", (POOLED, {}))
    yield _case("sd15", "no-guidance", (NET, {}), guidance_scale=1.0)
    yield _case("sd15", "guess-no-guidance", (NET, {}), guess_mode=True, guidance_scale=1.0)
    for scale in (0.0, 0.35, -0.5):
        yield _case("sd15", f"scale-{scale}", (NET, {"scale": scale}))


def _steps() -> Iterator[ParityCase]:
    """Which steps are steered: diffusers counts timesteps, of which some schedulers have two a step."""
    for name in ("ddim", "heun", "plms", "dpm++2m"):
        yield _case("sd15", f"range-{name}", (NET, {"start": 0.2, "end": 0.7}), scheduler=name, steps=6)
    yield _case("sdxl", "range", (NET, {"start": 0.3, "end": 0.9}), steps=7)
    yield _case("sd15", "end-0.1", (NET, {"end": 0.1}), steps=10, scheduler="ddim")
    yield _case("sd15", "range-image", (NET, {"start": 0.3, "end": 0.8}), steps=8, init_image="photo-48x32", strength=0.7)


def _several() -> Iterator[ParityCase]:
    two = (NET, {"scale": 0.5}), (OTHER, {"image": "other-48x32", "scale": 0.8, "end": 0.6})
    for model in ("sd15", "sdxl"):
        yield _case(model, "two", *two)
        yield _case(model, "two-guess", *two, guess_mode=True)
    yield _case("sd15", "two-image", *two, init_image="photo-48x32", strength=0.8)
    yield _case("sd15", "two-pooled", (POOLED, {}), (NET, {"image": "other-48x32"}))
    yield _case("sd15", "with-adapter", (NET, {}), (FULL, {"image": "other-48x32", "scale": 0.7}))
    yield _case("sdxl", "with-adapter", (NET, {}), (XL, {"image": "other-48x32"}))


def _adapters() -> Iterator[ParityCase]:
    for spec in (FULL, GREY, LIGHT):
        for form in ("folder", "original"):
            yield _case("sd15", f"adapter-{spec.name}-{form}", (spec, {"form": form}))
    yield _case("sd21", "adapter", (FULL, {}))
    yield _case("sd15", "adapter-scale", (FULL, {"scale": 0.4, "image": "photo-57x43"}))
    yield _case("sd15", "adapter-file", (FULL, {"form": "file"}))
    yield _case("sd15", "adapter-own-size", (FULL, {"image": "photo-61x45"}), width=None, height=None)
    yield replace(_case("sd15", "adapter-batch", (FULL, {})), images=3, batch_size=2)
    yield _case("sd15", "adapter-two", (FULL, {"scale": 0.6}), (FULL, {"image": "other-48x32", "scale": 0.3}))
    for form in ("folder", "original"):
        yield _case("sdxl", f"adapter-{form}", (XL, {"form": form}))
        yield _case("sdxl", f"adapter-grey-{form}", (XL_GREY, {"form": form}))
    yield _case("sdxl", "adapter-large", (XL, {"image": "photo-57x43"}), width=64, height=80)
    for name in ("ddim", "heun"):
        yield _case("sdxl", f"adapter-end-{name}", (XL, {"end": 0.5}), scheduler=name, steps=5)
