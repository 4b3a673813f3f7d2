"""What is in a picture of the training set: one or two things, how big and where, and on which colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .concepts import COLOURS, WHITE

PICTURE = 128  # edge of a training picture in pixels
SIZES = ("small", "big")
PLACES = ("left", "right", "top", "bottom")

# Longest side of a glyph in pixels, from and to, by what the caption says of its size
ALONE = {None: (88, 104), "small": (46, 58), "big": (112, 122)}
PLACED = {None: (58, 70), "small": (44, 52), "big": (82, 92)}
PAIRED = {None: (54, 60), "small": (38, 44), "big": (72, 80)}
JITTER = 1.5  # standard deviation of the offset from the nominal centre in pixels

# Part of the scenes that have sizes and places at the middle of these ranges, not anywhere in them. Latents are 16 pixels wide, so
# that a glyph one pixel further has others altogether: what prompts do not say should vary little where a small UNet is to draw
# sharply. The autoencoder also has to do with users' pictures.
EXACT = {"autoencoder": 0.5, "unet": 0.85}

KINDS = {"one": 0.5, "aside": 0.2, "two": 0.3}  # and their parts of the training set
UNCOLOURED = 0.12  # part of the pictures whose background is white and whose caption does not say so


@dataclass(frozen=True)
class Item:
    """A glyph: its longest side and the centre in pixels of a PICTURE, and what of it a caption says."""

    concept: int
    edge: int
    x: float
    y: float
    size: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class Scene:
    """A picture. Of two items the first is at the left, or above where `column`."""

    items: tuple[Item, ...]
    colour: int
    says_colour: bool = True
    column: bool = False


def held_out(concept: int, colour: int) -> bool:
    """Whether this thing on this colour, one of each thing's twelve, is kept out of the training set for the grade."""
    return colour != WHITE and (5 * concept + concept // 12) % (len(COLOURS) - 1) == colour - 1


def held_out_pair(first: int, second: int) -> bool:
    """Whether these two things together, an eighth of all pairs, are kept out of the training set for the grade."""
    return (first + second) % 8 == 0


def _between(bounds: tuple[int, int], rng: np.random.Generator | None) -> int:
    """A random edge; the middle one without `rng`."""
    return int(rng.integers(bounds[0], bounds[1] + 1)) if rng else sum(bounds) // 2


def _jitter(rng: np.random.Generator | None) -> float:
    return float(np.clip(rng.normal(0, JITTER), -2 * JITTER, 2 * JITTER)) if rng else 0.0


def single(concept: int, size: str | None, place: str | None, rng: np.random.Generator | None = None) -> Item:
    """One thing alone, in the middle or at a side; where it is in the mean without `rng`."""
    edge = _between((PLACED if place else ALONE)[size], rng)
    middle, near = PICTURE / 2, edge / 2 + 3 + abs(_jitter(rng))
    x, y = middle + _jitter(rng), middle + _jitter(rng)
    x = {"left": near, "right": PICTURE - near}.get(place, x)
    y = {"top": near, "bottom": PICTURE - near}.get(place, y)
    return Item(concept, edge, x, y, size, place)


def pair(
    concepts: tuple[int, int],
    sizes: tuple[str | None, str | None],
    column: bool,
    rng: np.random.Generator | None = None,
) -> tuple[Item, Item]:
    """Two things, side by side or one above the other, that together fill the picture."""
    edges = [_between(PAIRED[size], rng) for size in sizes]
    gap = (PICTURE - sum(edges)) / 3
    along = (gap + edges[0] / 2 + _jitter(rng) / 2, PICTURE - gap - edges[1] / 2 + _jitter(rng) / 2)
    across = [PICTURE / 2 + _jitter(rng) for _ in edges]
    made = []
    for concept, edge, size, a, b in zip(concepts, edges, sizes, along, across, strict=True):
        x, y = (b, a) if column else (a, b)
        made.append(Item(concept, edge, x, y, size))
    return made[0], made[1]


def random_sizes(rng: np.random.Generator) -> tuple[str | None, str | None]:
    """Sizes of a pair: mostly not said; never two big things, which would not fit."""
    choices = ((None, None),) * 6 + (("small", "big"), ("big", "small"), ("small", "small"))
    return choices[int(rng.integers(len(choices)))]


def random_scene(concept: int, concepts: int, rng: np.random.Generator, exact: float = EXACT["unet"]) -> Scene:
    """A picture of the training set with `concept` in it; the other of two is any. A part `exact` is not varied beyond what captions
    say."""
    vary = None if rng.random() < exact else rng
    says_colour = bool(rng.random() >= UNCOLOURED)
    free = [colour for colour in range(len(COLOURS)) if not held_out(concept, colour)]
    colour = int(rng.choice(free)) if says_colour else WHITE
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    if kind == "two":
        other = concept
        while other == concept or held_out_pair(concept, other) or held_out(other, colour):
            other = int(rng.integers(concepts))
        both = (concept, other) if rng.random() < 0.5 else (other, concept)
        column = bool(rng.random() < 0.4)
        return Scene(pair(both, random_sizes(rng), column, vary), colour, says_colour, column)
    size = place = None
    if kind == "aside":
        options = [(s, p) for s in (None, *SIZES) for p in (None, *PLACES) if s or p]
        options += 4 * [(s, None) for s in SIZES]
        size, place = options[int(rng.integers(len(options)))]
    return Scene((single(concept, size, place, vary),), colour, says_colour)
