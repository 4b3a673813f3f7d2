"""Captions of a scene in English and Chinese.

Templates are filled from: `a` and `b`, the things with article and size; `n`, the first thing's bare name; `kind`, a word for
picture; `c`, the colour; `at`, where it is; the English `xa`, "a" or "an" in front of the word `x` that follows.
The phrasings under HELD_OUT are kept for the grade.
"""

from __future__ import annotations

import re

import numpy as np

from .concepts import COLOURS, Concept
from .scenes import Item, Scene

EMPTY = 0.10  # part of the captions that is empty, for guidance
KEYWORD = 0.18  # part of the things that are called by a keyword, where they have one
ADJECTIVE = 0.10  # part of the things that are given an adjective that means nothing here

# English names that take no article, besides plurals
UNCOUNTED = frozenset(
    (
        *"popcorn sushi fire lightning bread corn broccoli coffee beer garlic bacon butter salt soap yarn thread fog bubble tea".split(),
        *("french fries", "ice cream", "soft ice cream", "shaved ice", "high voltage", "tennis", "bubble tea", "curry rice"),
        *("cooked rice", "poultry leg", "roasted sweet potato", "people with bunny ears", "people wrestling"),
    )
)
PLURALS = re.compile(r"(?<!s)s$")  # grapes, scissors; but not a dress, a compass
SINGULAR_S = frozenset("bus lotus octopus cactus walrus hibiscus canvas abacus t-rex stethoscope".split())

FILLER = 0.15  # part of the captions with words around them that mean nothing here
BEFORE_EN = (
    *("please draw", "show me", "give me", "i want to see", "can you paint", "make", "generate", "this is", "here is"),
    *("there is", "let us see", "just", "my", "you see", "could i have", "create", "paint"),
)
AFTER_EN = ("please", "for me", "now", "in detail", "high quality", "4k", "cartoon style", "very detailed", "thank you")
KINDS_EN = ("picture", "drawing", "image", "icon", "emoji", "photo", "painting")
ADJECTIVES_EN = (
    *"old nice beautiful cute lovely pretty new funny simple fine single little-known".split(),
    *("very nice", "good", "colorful", "cartoon", "happy"),
)
SIZES_EN = {"small": ("small", "small", "little", "tiny"), "big": ("big", "big", "large", "huge")}
PLACES_EN = {
    "left": ("on the left", "on the left", "at the left", "on the left side"),
    "right": ("on the right", "on the right", "at the right", "on the right side"),
    "top": ("at the top", "at the top", "on top", "in the upper part"),
    "bottom": ("at the bottom", "at the bottom", "in the lower part"),
}
GROUND_EN = (
    *(5 * ("{a} on {ca} {c} background",)),
    *(2 * ("{kinda} {kind} of {a} on {ca} {c} background",)),
    "{kinda} {kind} of {a} with {ca} {c} background",
    "{a} with {ca} {c} background",
    "{a} in front of {ca} {c} background",
    "{a}, {c} background",
    "{c} background, {a}",
    "{a}, background: {c}",
    "{n}, {c} background",
    "{n} on {ca} {c} background",
    "{n} on {c}",
)
PLAIN_EN = (*(3 * ("{a}",)), "{kinda} {kind} of {a}", "{kinda} {kind} of {n}", "{n}", "the {n}", "draw {a}")
TWO_EN = {
    False: (
        *(5 * ("{a} and {b}",)),
        "{a} next to {b}",
        "{a} beside {b}",
        "{a} to the left of {b}",
        "{b} to the right of {a}",
        "{a} on the left and {b} on the right",
    ),
    True: ("{a} above {b}", "{a} above {b}", "{b} below {a}", "{b} under {a}", "{a} at the top and {b} at the bottom", "{a} over {b}"),
}
HELD_OUT_EN = ("draw me {a} on {ca} {c} background please", "{a} against {ca} {c} background", "i want {a}, the background is {c}")

COUNTERS_ZH = ("一只", "一个", "一只", "一个", "", "", "一张", "一辆", "一朵", "一棵", "一把", "一块", "一条")
BEFORE_ZH = ("请画", "给我画", "我想看", "来", "这是", "有", "生成", "帮我画")
AFTER_ZH = ("，谢谢", "，高清", "，卡通风格", "，很好看", "吧")
KINDS_ZH = ("图片", "画", "图", "照片", "图标", "表情")
ADJECTIVES_ZH = ("可爱的", "漂亮的", "旧的", "老", "新的", "好看的", "美丽的", "有趣的")
SIZES_ZH = {"small": ("小", "小小的", "很小的", "小的"), "big": ("大", "大大的", "很大的", "巨大的", "大的")}
PLACES_ZH = {
    "left": ("左边", "左侧", "左面"),
    "right": ("右边", "右侧", "右面"),
    "top": ("上方", "上面", "顶部"),
    "bottom": ("下方", "下面", "底部"),
}
GROUND_ZH = (
    *(3 * ("{c}背景上的{a}",)),
    *(2 * ("{c}背景上的{n}",)),
    "{c}背景的{n}",
    "{a}，{c}背景",
    "{c}背景，{a}",
    "{n}在{c}背景上",
    "一张{c}背景上{a}的{kind}",
    "{c}底色上的{n}",
    "{a}，背景颜色：{c}",
    "背景{c}，{a}",
    "{a}，底色为{c}",
    "{a}，{c}的背景",
)
PLAIN_ZH = (*(3 * ("{a}",)), "{n}", "{n}", "一张{n}的{kind}", "{n}的{kind}", "画{a}")
ASIDE_ZH = ("{at}的{a}", "{a}在{at}", "在{at}的{a}")
TWO_ZH = {
    False: (
        *(4 * ("{a}和{b}",)),
        "{a}与{b}",
        "{a}旁边有{b}",
        "{a}在{b}左边",
        "{b}在{a}右边",
        "{a}在左边，{b}在右边",
    ),
    True: ("{a}在{b}上面", "{b}在{a}下面", "{a}在{b}上方", "{a}在上面，{b}在下面"),
}
HELD_OUT_ZH = ("请画{a}，背景是{c}", "我想要{c}背景上的{a}", "以{c}为背景的{a}")


def words_en() -> list[str]:
    """The words of the English captions that are not names, for the tokenizer."""
    templates = (*GROUND_EN, *PLAIN_EN, *TWO_EN[False], *TWO_EN[True], *HELD_OUT_EN)
    places = [phrase for phrases in PLACES_EN.values() for phrase in phrases]
    sizes = [word for words in SIZES_EN.values() for word in words]
    text = " ".join((*templates, *places, *sizes, *KINDS_EN, *ADJECTIVES_EN, *BEFORE_EN, *AFTER_EN, "an"))
    return sorted(set(re.sub(r"\{\w+\}|,", " ", text).split()))


def words_zh() -> list[str]:
    """The words of the Chinese captions that are not names, for the tokenizer."""
    words = [*COUNTERS_ZH, *KINDS_ZH, *ADJECTIVES_ZH, *BEFORE_ZH, *(text.strip("，") for text in AFTER_ZH)]
    words += [word for table in (SIZES_ZH, PLACES_ZH) for entry in table.values() for word in entry]
    words += "背景 底色 上的 的 上 在 画 和 与 旁边 有 请画 背景是 我想要 以 为背景的".split()
    return [word for word in dict.fromkeys(words) if word]


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def article(word: str) -> str:
    """The indefinite article in front of `word`."""
    vowel = word.startswith(("a", "e", "i", "o", "um")) and not word.startswith(("ew", "eu", "one"))
    return "an" if vowel else "a"


def countable(name: str) -> bool:
    """Whether an English name takes an article."""
    last = name.split()[-1]
    plural = PLURALS.search(last) and last not in SINGULAR_S and not last.endswith(("us", "ss"))
    return not (plural or name in UNCOUNTED or last in UNCOUNTED)


def subject_en(name: str, size: str = "", adjective: str = "") -> str:
    """The name after its article and adjectives."""
    words = " ".join(word for word in (size, adjective, name) if word)
    return f"{article(words)} {words}" if countable(name) else words


def _name(names: tuple[str, ...], keywords: tuple[str, ...], rng: np.random.Generator) -> str:
    return _pick(keywords, rng) if keywords and rng.random() < KEYWORD else _pick(names, rng)


def _item_en(item: Item, concept: Concept, rng: np.random.Generator) -> tuple[str, str]:
    """The thing with article and adjectives, and with adjectives alone."""
    name = _name(concept.en, concept.en_words, rng)
    size = _pick(SIZES_EN[item.size], rng) if item.size else ""
    adjective = _pick(ADJECTIVES_EN, rng) if rng.random() < ADJECTIVE else ""
    return subject_en(name, size, adjective), " ".join(word for word in (size, adjective, name) if word)


def english(scene: Scene, concepts: list[Concept], rng: np.random.Generator) -> str:
    """One English caption of the scene."""
    a, bare = _item_en(scene.items[0], concepts[scene.items[0].concept], rng)
    if len(scene.items) == 2:
        b, _ = _item_en(scene.items[1], concepts[scene.items[1].concept], rng)
        a = bare = _pick(TWO_EN[scene.column], rng).format(a=a, b=b)
    elif place := scene.items[0].place:
        at = _pick(PLACES_EN[place], rng)
        a, bare = f"{a} {at}", f"{bare} {at}"
    kind = _pick(KINDS_EN, rng)
    words = {"a": a, "n": bare, "kind": kind, "kinda": article(kind)}
    if not scene.says_colour:
        return _pick(PLAIN_EN, rng).format(**words)
    colour = _pick(COLOURS[scene.colour].en, rng)
    return _pick(GROUND_EN, rng).format(c=colour, ca=article(colour), **words)


def _item_zh(item: Item, concept: Concept, rng: np.random.Generator) -> tuple[str, str]:
    """The thing with measure word and adjectives, and with adjectives alone; people use many measure words."""
    name = _name(concept.zh, concept.zh_words, rng)
    size = _pick(SIZES_ZH[item.size], rng) if item.size else ""
    adjective = _pick(ADJECTIVES_ZH, rng) if rng.random() < ADJECTIVE else ""
    bare = size + adjective + name
    return _pick(COUNTERS_ZH, rng) + bare, bare


def chinese(scene: Scene, concepts: list[Concept], rng: np.random.Generator) -> str:
    """One Chinese caption of the scene."""
    a, bare = _item_zh(scene.items[0], concepts[scene.items[0].concept], rng)
    if len(scene.items) == 2:
        b, _ = _item_zh(scene.items[1], concepts[scene.items[1].concept], rng)
        a = bare = _pick(TWO_ZH[scene.column], rng).format(a=a, b=b)
    elif place := scene.items[0].place:
        a = bare = _pick(ASIDE_ZH, rng).format(a=a, at=_pick(PLACES_ZH[place], rng))
    words = {"a": a, "n": bare, "kind": _pick(KINDS_ZH, rng)}
    if not scene.says_colour:
        return _pick(PLAIN_ZH, rng).format(**words)
    return _pick(GROUND_ZH, rng).format(c=_pick(COLOURS[scene.colour].zh, rng), **words)


def caption(scene: Scene, concepts: list[Concept], rng: np.random.Generator, empty: float = EMPTY) -> str:
    """A caption in either language, or nothing in a part `empty` of the calls."""
    if rng.random() < empty:
        return ""
    in_english = rng.random() < 0.5
    text = (english if in_english else chinese)(scene, concepts, rng)
    if rng.random() < FILLER:
        text = f"{_pick(BEFORE_EN, rng)} {text}" if in_english else _pick(BEFORE_ZH, rng) + text
    if rng.random() < FILLER:
        text = f"{text}, {_pick(AFTER_EN, rng)}" if in_english else text + _pick(AFTER_ZH, rng)
    return text
