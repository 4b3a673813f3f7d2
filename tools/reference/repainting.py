"""Pictures and masks as sdgen's flags mean them, made with Pillow: what diffusers' inpainting pipelines are called with,
and the overlay that follows them."""

from __future__ import annotations

from typing import Any

import numpy as np
from diffusers.image_processor import VaeImageProcessor
from PIL import Image, ImageChops, ImageFilter

from .image_files import input_picture

LANCZOS = Image.Resampling.LANCZOS
OVERLAP = 16  # pixels in which a picture that grows fades into what is new


def picture_and_mask(request: Any, factor: int) -> tuple[Image.Image, Image.Image]:
    """Both in one size, unless the mask goes to the pipeline as it is; with --extend the canvas and what is new of it."""
    picture = input_picture(request.init_image)
    mask = input_picture(request.mask) if request.mask is not None else None
    if mask is not None and (request.mask_blur or request.extend or request.only_masked is not None):
        mask = mask.resize(picture.size, LANCZOS)
    if request.mask_blur:
        mask = VaeImageProcessor.blur(mask, request.mask_blur)
    if request.extend is None:
        return picture, mask
    margins = list(request.extend)
    if request.only_masked is None:
        for first, side in ((0, picture.width), (1, picture.height)):
            missing = -(margins[first] + side + margins[first + 2]) % factor
            margins[first if margins[first] and not margins[first + 2] else first + 2] += missing
    return _grown(picture, mask, margins)


def _grown(picture: Image.Image, mask: Image.Image | None, margins: list[int]) -> tuple[Image.Image, Image.Image]:
    left, top, right, bottom = margins
    wide = np.pad(np.array(picture), ((top, bottom), (left, right), (0, 0)), mode="symmetric")
    canvas = Image.fromarray(wide).filter(ImageFilter.GaussianBlur(OVERLAP))
    canvas.paste(picture, (left, top))

    def fading(side: int, before: int, after: int) -> np.ndarray:
        width = min(OVERLAP, side // 4)
        values = np.zeros(side)
        ramp = [255 * (2 * (width - i) - 1) // (2 * width) for i in range(width)]
        if before:
            values[:width] = ramp
        if after:
            values[side - width :] = np.maximum(values[side - width :], ramp[::-1])
        return np.concatenate([np.full(before, 255), values, np.full(after, 255)])

    new = np.maximum(fading(picture.height, top, bottom)[:, None], fading(picture.width, left, right)[None])
    white = Image.fromarray(new.astype(np.uint8)).convert("RGB")
    if mask is not None:
        inner = Image.new("RGB", canvas.size)
        inner.paste(mask, (left, top))
        white = ImageChops.lighter(white, inner)
    return canvas, white


def overlaid(pipe: Any, image: Image.Image, picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The unmasked pixels put back, by diffusers' own function."""
    return pipe.image_processor.apply_overlay(
        mask.resize(image.size, LANCZOS), picture.resize(image.size, LANCZOS), image
    )
