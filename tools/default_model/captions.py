"""Captions in English and Chinese for a picture of one concept on a background of a named colour."""

from __future__ import annotations

import re

import numpy as np

from .concepts import COLOURS, WHITE, Colour, Concept

EMPTY = 0.10  # part of the captions that is empty, for guidance

# English names that take no article.
UNCOUNTED = frozenset(
    (
        *"grapes cherries scissors glasses jeans popcorn sushi fire lightning bread corn broccoli".split(),
        *"dice coffee beer".split(),
        *("french fries", "ice cream", "soft ice cream", "high voltage", "tennis"),
    )
)

KINDS_EN = ("picture", "drawing", "image", "icon", "emoji", "photo")
PLAIN_EN = ("{s}", "{s}", "{s}", "{k_article} {kind} of {s}", "{n}", "the {n}")
COLOURED_EN = (
    "{s} on {c_article} {c} background",
    "{s} on {c_article} {c} background",
    "{s} on {c_article} {c} background",
    "{k_article} {kind} of {s} on {c_article} {c} background",
    "{s} with {c_article} {c} background",
    "{s} in front of {c_article} {c} background",
    "{s}, {c} background",
    "{c} background, {s}",
    "{n}, {c} background",
    "{n} on {c}",
)

COUNTERS_ZH = ("一只", "一个", "一只", "一个", "", "一张", "一辆", "一朵", "一棵", "一把", "一块", "一条")
KINDS_ZH = ("图片", "画", "图", "照片", "图标", "表情")
PLAIN_ZH = ("{s}", "{s}", "{s}", "{n}", "一张{n}的{kind}", "{n}的{kind}", "画{s}")
COLOURED_ZH = (
    "{c}背景上的{s}",
    "{c}背景上的{s}",
    "{c}背景上的{n}",
    "{c}背景的{n}",
    "{s}，{c}背景",
    "{c}背景，{s}",
    "{n}在{c}背景上",
    "一张{c}背景上{n}的{kind}",
    "{c}底色上的{n}",
)


def words_en() -> list[str]:
    """The words of the English templates, for the tokenizer."""
    text = " ".join((*PLAIN_EN, *COLOURED_EN, *KINDS_EN, "an"))
    return sorted(set(re.sub(r"\{\w+\}|,", " ", text).split()))


def words_zh() -> list[str]:
    """The words of the Chinese templates, for the tokenizer."""
    return [*(word for word in COUNTERS_ZH if word), *KINDS_ZH, "背景", "底色", "上的", "的", "上", "在", "画"]


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def article(word: str) -> str:
    vowel = word.startswith(("a", "e", "i", "o", "um")) and not word.startswith("ew")
    return "an" if vowel else "a"


def english(concept: Concept, colour: Colour | None, rng: np.random.Generator) -> str:
    """One English caption; every name of the concept is as likely."""
    name = _pick(concept.en, rng)
    subject = name if name in UNCOUNTED else f"{article(name)} {name}"
    kind = _pick(KINDS_EN, rng)
    words = {"n": name, "s": subject, "kind": kind, "k_article": article(kind)}
    if colour is None:
        return _pick(PLAIN_EN, rng).format(**words)
    ground = _pick(colour.en, rng)
    return _pick(COLOURED_EN, rng).format(c=ground, c_article=article(ground), **words)


def chinese(concept: Concept, colour: Colour | None, rng: np.random.Generator) -> str:
    """One Chinese caption; the measure words are drawn at random, since people use many."""
    name = _pick(concept.zh, rng)
    words = {"n": name, "s": _pick(COUNTERS_ZH, rng) + name, "kind": _pick(KINDS_ZH, rng)}
    if colour is None:
        return _pick(PLAIN_ZH, rng).format(**words)
    return _pick(COLOURED_ZH, rng).format(c=_pick(colour.zh, rng), **words)


def caption(concept: Concept, colour: int, plain: bool, rng: np.random.Generator) -> str:
    """A caption in either language, or nothing.

    Args:
        colour: index of the background colour.
        plain: leave the colour out; only where it is white.
    """
    if rng.random() < EMPTY:
        return ""
    if plain and colour != WHITE:
        raise ValueError("a caption may leave out white only")
    write = english if rng.random() < 0.5 else chinese
    return write(concept, None if plain else COLOURS[colour], rng)
