"""Pictures of the training set: Noto Color Emoji glyphs on flat backgrounds, at varying size and place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .concepts import COLOURS, Concept

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
STRIKE = 109  # the only bitmap size of this font, in pixels per em
PICTURE = 128  # edge of a training picture in pixels
SIZES = tuple(range(80, 117, 4))  # longest side of the drawn glyph in pixels
DRAWN_SIZES = (96, 100, 104)  # those that the training set has
PLACE_SIGMA = 1.0  # standard deviation of the offset from the centre in pixels


def glyph(emoji: str, font: Path = FONT) -> Image.Image:
    """The emoji as RGBA, cropped to what is visible and padded to a centred square."""
    canvas = Image.new("RGBA", (192, 192))
    ImageDraw.Draw(canvas).text((24, 24), emoji, font=ImageFont.truetype(str(font), STRIKE), embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"{font} has no glyph for {emoji!r}")
    cut = canvas.crop(box)
    edge = max(cut.size)
    square = Image.new("RGBA", (edge, edge))
    square.paste(cut, ((edge - cut.width) // 2, (edge - cut.height) // 2))
    return square


@dataclass(frozen=True)
class Draw:
    """One picture: which concept on which colour, glyph edge `SIZES[size]`, top left corner of the glyph."""

    concept: int
    colour: int
    size: int
    x: int
    y: int


class Renderer:
    """Glyphs of all concepts at all sizes, ready to be put on a background."""

    def __init__(self, concepts: list[Concept], font: Path = FONT) -> None:
        glyphs = [glyph(concept.emoji, font) for concept in concepts]
        # [concept, edge, edge, 4] per size: premultiplied colour and 1 - alpha, both in 0..1
        self.layers = [np.stack([self._layer(image, edge) for image in glyphs]) for edge in SIZES]

    @staticmethod
    def _layer(image: Image.Image, edge: int) -> np.ndarray:
        rgba = np.asarray(image.resize((edge, edge), Image.Resampling.LANCZOS), np.float32) / 255
        layer = np.concatenate([rgba[..., :3] * rgba[..., 3:], 1 - rgba[..., 3:]], -1)
        return layer.astype(np.float16)

    def draw_at_random(self, concept: int, colour: int, rng: np.random.Generator) -> Draw:
        """Draws size and place: sizes uniform, offsets Gaussian, the glyph always inside the picture."""
        size = SIZES.index(int(rng.choice(DRAWN_SIZES)))
        margin = (PICTURE - SIZES[size]) // 2
        x, y = np.clip(np.rint(rng.normal(0, PLACE_SIGMA, 2)), -margin, margin).astype(int) + margin
        return Draw(concept, colour, size, int(x), int(y))

    def __call__(self, draw: Draw, rgb: np.ndarray | None = None) -> np.ndarray:
        """The picture as float32 [PICTURE, PICTURE, 3] in 0..1; `rgb` replaces the background colour."""
        ground = np.asarray(COLOURS[draw.colour].rgb, np.float32) / 255 if rgb is None else rgb
        picture = np.empty((PICTURE, PICTURE, 3), np.float32)
        picture[:] = ground
        edge = SIZES[draw.size]
        layer = self.layers[draw.size][draw.concept].astype(np.float32)
        picture[draw.y : draw.y + edge, draw.x : draw.x + edge] = layer[..., :3] + layer[..., 3:] * ground
        return picture
