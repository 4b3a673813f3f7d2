"""Pictures of the training set: one or two Noto Color Emoji glyphs on a flat background, at varying size and place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .concepts import COLOURS, Concept
from .scenes import PICTURE, Scene

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
STRIKE = 109  # the only bitmap size of this font, in pixels per em


def glyph(emoji: str, font: Path = FONT) -> Image.Image:
    """The emoji as RGBA, cropped to what is visible and padded to a centred square.

    Raises:
        ValueError: the font has no glyph for it.
    """
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


class Renderer:
    """Glyphs of all concepts, ready to be put on a background."""

    def __init__(self, concepts: list[Concept], font: Path = FONT) -> None:
        self.glyphs = [glyph(concept.emoji, font) for concept in concepts]

    def layer(self, concept: int, edge: int) -> tuple[np.ndarray, np.ndarray]:
        """The glyph at `edge` pixels: premultiplied colour [edge, edge, 3] and 1 - alpha [edge, edge, 1], both in 0..1."""
        rgba = np.asarray(self.glyphs[concept].resize((edge, edge), Image.Resampling.LANCZOS), np.float32) / 255
        return rgba[..., :3] * rgba[..., 3:], 1 - rgba[..., 3:]

    def __call__(self, scene: Scene, rgb: np.ndarray | None = None, size: int = PICTURE) -> np.ndarray:
        """The picture as float32 [size, size, 3] in 0..1; `rgb` replaces the background colour.

        The scene is drawn for PICTURE; another `size` scales its places and edges.
        """
        picture = np.empty((size, size, 3), np.float32)
        picture[:] = np.asarray(COLOURS[scene.colour].rgb, np.float32) / 255 if rgb is None else rgb
        for item in scene.items:
            edge = min(round(item.edge * size / PICTURE), size)
            x, y = (int(np.clip(round(v * size / PICTURE - edge / 2), 0, size - edge)) for v in (item.x, item.y))
            colour, rest = self.layer(item.concept, edge)
            region = picture[y : y + edge, x : x + edge]
            region *= rest
            region += colour
        return picture
