"""Pictures that pictures steer, by diffusers' ControlNet and T2I-Adapter pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import ControlNetModel, DiffusionPipeline, MultiAdapter, T2IAdapter
from PIL import Image

from .control_files import ControlUse, Network
from .image_files import input_picture


def controlled(
    pipe: DiffusionPipeline, uses: tuple[ControlUse, ...], networks: list[Network], call: dict[str, Any],
    *, guess: bool, xl: bool, init: Image.Image | None, mask: Image.Image | None = None,
) -> list[Image.Image]:  # fmt: skip
    """The pictures of `call`, the arguments of the family's ordinary pipeline, as `uses` steer them. diffusers has no
    pipeline for ControlNets and adapters at once: there the adapters' features are given to the U-Net as its own adapter
    pipeline does."""
    count, family = len(call["prompt"]), "StableDiffusionXL" if xl else "StableDiffusion"
    nets = [(use, net) for use, net in zip(uses, networks, strict=True) if isinstance(net, ControlNetModel)]
    adapters = [(use, net) for use, net in zip(uses, networks, strict=True) if isinstance(net, T2IAdapter)]
    if not nets:
        return _run(pipe, f"{family}AdapterPipeline", call | _adapter_call(adapters, count), adapter=_one(adapters))
    call = call | {
        "controlnet_conditioning_scale": _few([use.scale for use, _ in nets]),
        "control_guidance_start": _few([use.start for use, _ in nets]),
        "control_guidance_end": _few([use.end for use, _ in nets]),
        "guess_mode": guess,
    }
    pictures = _few([input_picture(use.image) for use, _ in nets])
    modules = _few([net for _, net in nets])
    with _adapted(pipe.unet, adapters, call) if adapters else _as_it_is():
        if init is None:
            return _run(pipe, f"{family}ControlNetPipeline", call | {"image": pictures}, controlnet=modules)
        given = {"image": [init] * count, "control_image": pictures}
        if mask is None:
            return _run(pipe, f"{family}ControlNetImg2ImgPipeline", call | given, controlnet=modules)
        given["mask_image"] = [mask] * count
        return _run(pipe, f"{family}ControlNetInpaintPipeline", call | given, controlnet=modules)


def _few(values: list[Any]) -> Any:
    return values if len(values) > 1 else values[0]


def _one(adapters: list[tuple[ControlUse, T2IAdapter]]) -> T2IAdapter | MultiAdapter:
    modules = [module for _, module in adapters]
    return MultiAdapter(modules) if len(modules) > 1 else modules[0]


def _picture(use: ControlUse, adapter: T2IAdapter) -> Image.Image:
    picture = input_picture(use.image)
    return picture.convert("L") if adapter.config.in_channels == 1 else picture


def _adapter_call(adapters: list[tuple[ControlUse, T2IAdapter]], count: int) -> dict[str, Any]:
    return {
        "image": _few([[_picture(use, adapter)] * count for use, adapter in adapters]),
        "adapter_conditioning_scale": _few([use.scale for use, _ in adapters]),
        "adapter_conditioning_factor": adapters[0][0].end,
    }


def _run(pipe: DiffusionPipeline, name: str, call: dict[str, Any], **modules: Any) -> list[Image.Image]:
    maker = getattr(diffusers, name).from_pipe(pipe, **modules)
    maker.set_progress_bar_config(disable=True)
    known = signature(type(maker).__call__).parameters
    return maker(**{key: value for key, value in call.items() if key in known}).images


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def _adapted(unet: Any, adapters: list[tuple[ControlUse, T2IAdapter]], call: dict[str, Any]) -> Iterator[None]:
    """The U-Net gets the adapters' features with every call."""
    own, size = unet.forward, (call.get("width"), call.get("height"))
    features: list[torch.Tensor] = []
    for use, adapter in adapters:
        picture = _picture(use, adapter).resize(size, Image.Resampling.LANCZOS)
        values = np.array(picture).astype(np.float32) / 255
        more = adapter(torch.from_numpy(values.reshape(*values.shape[:2], -1)).permute(2, 0, 1)[None])
        features = [sum(pair) for pair in zip(features, more, strict=True)] if features else [use.scale * each for each in more]

    def forward(sample: torch.Tensor, *args: Any, **options: Any) -> Any:
        given = [feature.repeat(len(sample), 1, 1, 1) for feature in features]
        return own(sample, *args, down_intrablock_additional_residuals=given, **options)

    unet.forward = forward
    try:
        yield
    finally:
        del unet.forward
