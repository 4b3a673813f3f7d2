"""What the embedded model is graded by: prompts that training did not see, and a judge of the pictures.

The prompts are phrased by the HELD_OUT templates, and have things on colours, or pairs of things, that the training set
leaves out (scenes.py). The judge cuts each expected thing out where and as large as it should be, with its surroundings, fills
what lies outside of its half or of the picture with the background, and compares at 32x32 with all things' glyphs on that
background, each at three sizes and nine places near the expected ones, and at sizes and places that are wrong. Right is
the thing whose nearest is nearest, unless that is one of the latter (`calibrated` shows that this finds them). The background
is right when, of the twelve colours, the nearest to the median of the picture's border is the named one. How sharp pictures are is
measured by their likeness: the peak signal-to-noise ratio against the rendered scene, to which the autoencoder's is the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image

from .captions import HELD_OUT_EN, HELD_OUT_ZH, PLACES_EN, PLACES_ZH, SIZES_EN, SIZES_ZH, article, subject_en
from .concepts import COLOURS, Concept
from .render import Renderer
from .scenes import PICTURE, PLACES, SIZES, Item, Scene, held_out, held_out_pair, pair, single

CELLS = 32  # edge at which glyphs are compared
GLYPH = 96  # edge of a glyph in a cut-out of PICTURE pixels
GLYPH_EDGES = (88, 96, 104)
OFFSETS = (-1, 0, 1)  # in cells, both axes
RIGHT_VIEWS = len(GLYPH_EDGES) * len(OFFSETS) ** 2
WRONG_EDGES = (64, 76, 120)
WRONG_OFFSETS = ((5, 0), (-5, 0), (0, 5), (0, -5))
ELSEWHERE = -1  # found in place of a thing: something of the wrong size or at the wrong place
BORDER = 4  # width of the border in pixels
KINDS = ("one", "aside", "two")
JOINTS = {"en": ("{} and {}", "{} above {}"), "zh": ("{}和{}", "{}在{}上面")}  # side by side, one above the other


@dataclass
class Case:
    """One picture to make, what should be in it, and what came of it."""

    kind: str
    language: str
    prompt: str
    seed: int
    items: tuple[Item, ...]
    colour: int
    column: bool = False
    found: list[int] = field(default_factory=list)  # concepts
    found_colour: int = -1
    likeness: float = 0.0  # peak signal-to-noise ratio in dB of the picture against the rendered scene

    @property
    def things_right(self) -> bool:
        """Whether all things are what and where they should be."""
        return self.found == [item.concept for item in self.items]

    @property
    def colour_right(self) -> bool:
        """Whether the background is."""
        return self.found_colour == self.colour


def _phrase(language: str, thing: str, colour: int, index: int) -> str:
    names = COLOURS[colour]
    if language == "en":
        return HELD_OUT_EN[index % len(HELD_OUT_EN)].format(a=thing, c=names.en[0], ca=article(names.en[0]))
    return HELD_OUT_ZH[index % len(HELD_OUT_ZH)].format(a=thing, c=names.zh[0])


def _thing(language: str, item: Item, concept: Concept) -> str:
    if language == "en":
        text = subject_en(concept.en[0], SIZES_EN[item.size][0] if item.size else "")
        return f"{text} {PLACES_EN[item.place][0]}" if item.place else text
    text = (SIZES_ZH[item.size][-1] if item.size else "") + concept.zh[0]
    return f"{PLACES_ZH[item.place][0]}的{text}" if item.place else text


def cases(concepts: list[Concept], every: int = 1, kinds: tuple[str, ...] = KINDS) -> list[Case]:
    """All pictures to make, in both languages with the same seeds: each thing alone, each third with a size or a place, each
    second beside or above another; of these every n-th."""
    count = len(concepts)
    made = []

    def add(kind: str, index: int, items: tuple[Item, ...], colour: int, column: bool = False) -> None:
        if kind not in kinds or index % every:
            return
        for language in ("en", "zh"):
            things = [_thing(language, item, concepts[item.concept]) for item in items]
            joined = JOINTS[language][column].format(*things) if len(things) == 2 else things[0]
            prompt = _phrase(language, joined, colour, index)
            made.append(Case(kind, language, prompt, 1000 + index, items, colour, column))

    options = [(size, place) for size in (None, *SIZES) for place in (None, *PLACES) if size or place]
    for index in range(count):
        colour = next(c for c in range(1, len(COLOURS)) if held_out(index, c))
        add("one", index, (single(index, None, None),), colour)
        size, place = options[index % len(options)]
        if index % 3 == 0:
            add("aside", index // 3, (single(index, size, place),), colour)
        if index % 2 == 0:
            other = next(o for o in range(index * 37 % count, 2 * count) if held_out_pair(index, o % count) and o % count != index)
            column = index % 4 == 2
            items = pair((index, other % count), (None, None), column)
            add("two", index // 2, items, (index // 2) % len(COLOURS), column)
    return made


class Judge:
    """Tells which thing is seen and on what."""

    def __init__(self, renderer: Renderer) -> None:
        # [concept, size and offset, CELLS * CELLS, 4]: premultiplied colour and 1 - alpha
        self.bank = np.stack([self._views(renderer, concept) for concept in range(len(renderer.glyphs))])
        self.palette = np.asarray([colour.rgb for colour in COLOURS], np.float32) / 255
        self.renderer = renderer

    @staticmethod
    def _views(renderer: Renderer, concept: int) -> np.ndarray:
        @cache
        def small(edge: int) -> np.ndarray:
            layer = np.zeros((PICTURE, PICTURE, 4), np.float32)
            layer[..., 3] = 1
            start = (PICTURE - edge) // 2
            layer[start : start + edge, start : start + edge] = np.concatenate(renderer.layer(concept, edge), -1)
            factor = PICTURE // CELLS
            return layer.reshape(CELLS, factor, CELLS, factor, 4).mean((1, 3))

        views = [np.roll(small(edge), (y, x), (0, 1)) for edge in GLYPH_EDGES for x in OFFSETS for y in OFFSETS]
        views += [small(edge) for edge in WRONG_EDGES]
        views += [np.roll(small(GLYPH), offset, (0, 1)) for offset in WRONG_OFFSETS]
        return np.stack(views).reshape(len(views), CELLS * CELLS, 4).astype(np.float16)

    def cut_out(self, picture: np.ndarray, case: Case, index: int) -> np.ndarray:
        """Item `index` of the case with its surroundings, [CELLS * CELLS * 3]; picture [size, size, 3] in 0..1."""
        scale = picture.shape[0] / PICTURE
        item, ground = case.items[index], self.palette[case.colour]
        picture = picture.copy()
        if len(case.items) == 2:
            # the border lies amid the gap between the two
            first, second = case.items
            axis = "y" if case.column else "x"
            middle = (getattr(first, axis) + first.edge / 2 + getattr(second, axis) - second.edge / 2) / 2
            cut = round(middle * scale)
            part = slice(cut, None) if index == 0 else slice(None, cut)
            picture[(part, slice(None)) if case.column else (slice(None), part)] = ground
        pad = picture.shape[0] // 2
        canvas = np.empty((picture.shape[0] + 2 * pad, picture.shape[1] + 2 * pad, 3), np.float32)
        canvas[:] = ground
        canvas[pad:-pad, pad:-pad] = picture
        half = item.edge * PICTURE / GLYPH / 2 * scale
        x, y = item.x * scale + pad, item.y * scale + pad
        image = Image.fromarray((canvas * 255).round().astype(np.uint8))
        small = image.resize((CELLS, CELLS), Image.Resampling.BOX, box=(x - half, y - half, x + half, y + half))
        return (np.asarray(small, np.float32) / 255).reshape(-1)

    def __call__(self, todo: list[Case], pictures: list[np.ndarray]) -> None:
        """Fills in what was found; pictures [size, size, 3] in 0..1."""
        for colour in {case.colour for case in todo}:
            group = [index for index, case in enumerate(todo) if case.colour == colour]
            seen, owners = [], []
            for index in group:
                case = todo[index]
                case.found = [ELSEWHERE] * len(case.items)
                for item in range(len(case.items)):
                    seen.append(self.cut_out(pictures[index], case, item))
                    owners.append((case, item))
            small = np.stack(seen)
            best = np.empty((len(small), len(self.bank)), np.float32)
            view = np.empty(best.shape, np.int64)
            for concept, views in enumerate(self.bank):
                layer = views.astype(np.float32)
                shown = (layer[..., :3] + layer[..., 3:] * self.palette[colour]).reshape(len(views), -1)
                distances = (shown**2).sum(1) - 2 * small @ shown.T
                best[:, concept], view[:, concept] = distances.min(1), distances.argmin(1)
            for index, (case, item) in enumerate(owners):
                nearest = int(best[index].argmin())
                case.found[item] = nearest if view[index, nearest] < RIGHT_VIEWS else ELSEWHERE
            for index in group:
                picture = pictures[index]
                inside = np.zeros(picture.shape[:2], bool)
                inside[BORDER:-BORDER, BORDER:-BORDER] = True
                border = np.median(picture[~inside], axis=0)
                case = todo[index]
                case.found_colour = int(((self.palette - border) ** 2).sum(1).argmin())
                scene = self.renderer(Scene(case.items, case.colour), size=len(picture))
                case.likeness = float(-10 * np.log10(max(((picture - scene) ** 2).mean(), 1e-10)))


def calibrated(judge: Judge, concepts: list[Concept], every: int) -> dict[str, float]:
    """Parts of rendered scenes that are judged right: of ones as they should be, and of ones with a wrong size, place or thing."""
    rng = np.random.default_rng(0)

    def other_size(item: Item) -> Item:
        return single(item.concept, {None: "small", "small": None, "big": None}[item.size], item.place, rng)

    def other_place(item: Item) -> Item:
        return single(item.concept, item.size, {"left": "right", "right": None, "top": "bottom", "bottom": None, None: "left"}[item.place], rng)

    changes: dict[str, tuple[tuple[str, ...], Callable[[Case, int], tuple[Item, ...]]]] = {
        "right": (KINDS, lambda case, _: case.items),
        "another size": (("one", "aside"), lambda case, _: (other_size(case.items[0]),)),
        "another place": (("one", "aside"), lambda case, _: (other_place(case.items[0]),)),
        "another thing": (("one", "aside"), lambda case, _: (single((case.items[0].concept + 7) % len(concepts), case.items[0].size, case.items[0].place, rng),)),
        "exchanged": (("two",), lambda case, _: pair((case.items[1].concept, case.items[0].concept), (None, None), case.column, rng)),
    }
    todo = {name: cases(concepts, every, kinds) for name, (kinds, _) in changes.items()}
    scenes = [Scene(changes[name][1](case, index), case.colour) for name, own in todo.items() for index, case in enumerate(own)]
    judge([case for own in todo.values() for case in own], [judge.renderer(scene) for scene in scenes])
    return {name: sum(case.things_right for case in own) / len(own) for name, own in todo.items()}


def summary(todo: list[Case]) -> dict[str, dict[str, float]]:
    """By kind and language ("one en", "one", ...): number of pictures, parts with the right things and the right background, and
    how like the rendered scenes they are, in dB."""
    result = {}
    for kind in KINDS:
        for language in ("en", "zh", ""):
            part = [case for case in todo if case.kind == kind and language in (case.language, "")]
            if part:
                result[f"{kind} {language}".strip()] = {
                    "pictures": len(part),
                    "things": sum(case.things_right for case in part) / len(part),
                    "colour": sum(case.colour_right for case in part) / len(part),
                    "likeness": sum(case.likeness for case in part) / len(part),
                }
    return result


def grade_small(
    concepts: list[Concept], judge: Judge, make: Callable[[list[str], list[int]], np.ndarray], every: int
) -> dict[str, float]:
    """A quick grade for the training's log: parts of right things by kind, of the English and Chinese ones, of colours."""
    todo = cases(concepts, every)
    judge(todo, list(make([case.prompt for case in todo], [case.seed for case in todo])))
    found = summary(todo)
    figures = {name: found[name]["things"] for name in ("one", "one en", "one zh", "aside", "two")}
    return figures | {"colour": sum(case.colour_right for case in todo) / len(todo)}
