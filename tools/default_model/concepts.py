"""What the embedded model can draw: emoji that picture one thing, twelve background colours, and their names.

Names come from the Unicode CLDR annotations (the short "tts" names) in English and Chinese; a few everyday names are
added by hand where CLDR's is one that nobody would type.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

CLDR = Path("/usr/share/unicode/cldr/common/annotations")

ANIMALS = "🐒🦍🐕🐺🦊🦝🐈🦁🐅🐎🦄🦓🦌🐄🐖🐑🐫🦒🐘🦏🐁🐹🐇🦔🦇🐻🐨🐼🐓🐤🐧🕊🦅🦆🦢🦉🦩🦜🐸🐊🐢🐍🐉🦖🐳🐬🐟🐠🦈🐙🐌🦋🐜🐝🐞🕷🦂🦀"
PLANTS = "🌸🌹🌻🌷🌱🌲🌳🌴🌵🍀🍁🍄"
FOOD = "🍇🍉🍊🍋🍌🍍🍎🍏🍑🍒🍓🥝🍅🥥🥑🍆🥕🌽🌶🥦🍞🥐🥨🧀🍔🍟🍕🌭🥚🍿🍣🍦🍩🍪🎂🧁🍭☕🍷🍺"
VEHICLES = "🚂🚌🚑🚒🚓🚕🚗🚜🏍🚲⛵🚢✈🚁🚀🛸"
OBJECTS = "🏠🏰⏰🌙⭐☁🌈☂⚡❄⛄🔥💧🎃🎄🎈🎁🏆⚽🏀🎾🎲🧸👓👕👖👗👜👑🎩💎🔔🎸🎺🥁💻📷💡📖✏✂🔑🔒⚓"
FACES = "😀😎😢😡🤡👻👽🤖💀❤"
EMOJI = tuple(ANIMALS + PLANTS + FOOD + VEHICLES + OBJECTS + FACES)

# Everyday names beside CLDR's.
ALIASES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "🍎": ("apple",), "🌽": ("corn",), "🐫": ("camel",), "🦖": ("dinosaur",), "🐳": ("whale",), "🐤": ("chick",),
        "🐝": ("bee",), "🐞": ("ladybug",), "🌲": ("pine tree",), "🌳": ("tree",), "🍦": ("ice cream",), "🚗": ("car",),
        "☕": ("cup of coffee", "coffee"), "🍩": ("donut",), "☂": ("umbrella",), "⚡": ("lightning",), "⛄": ("snowman",),
        "🎃": ("pumpkin",), "🎁": ("gift",), "⚽": ("football",), "🎾": ("tennis ball",), "🎲": ("dice",), "💎": ("diamond",),
        "📖": ("book",), "🔒": ("lock",), "😀": ("smiley",), "❤": ("heart",), "👕": ("shirt",), "🍺": ("beer",),
        "🛸": ("ufo",),
        "🍷": ("glass of wine",), "🚂": ("steam train",), "🐑": ("sheep",), "🥝": ("kiwi",),
        "🌙": ("moon",),
        "🌶": ("chili pepper",), "🚒": ("fire truck",), "🎂": ("cake",), "💧": ("drop of water",),
        "🐉": ("chinese dragon",),
    },
    "zh": {
        "🍎": ("苹果",), "🐫": ("骆驼",), "🐕": ("小狗",), "🐈": ("小猫", "猫咪"), "🌲": ("松树",), "🌳": ("大树",), "🚗": ("小汽车",),
        "☕": ("咖啡",), "🎃": ("南瓜",), "⚡": ("闪电",), "⛄": ("雪人",), "☂": ("雨伞",), "😀": ("笑脸",), "❤": ("心",), "🐳": ("鲸鱼",),
        "🦖": ("恐龙",), "🎁": ("礼物",), "📖": ("书",), "🔒": ("锁",), "🌙": ("月亮",), "🎂": ("蛋糕",), "🍦": ("冰淇淋",),
    },
}


@dataclass(frozen=True)
class Concept:
    """One emoji and its names; the first name of each language is CLDR's."""

    emoji: str
    en: tuple[str, ...]
    zh: tuple[str, ...]


@dataclass(frozen=True)
class Colour:
    """A background colour: sRGB and its names."""

    rgb: tuple[int, int, int]
    en: tuple[str, ...]
    zh: tuple[str, ...]


COLOURS = (
    Colour((255, 255, 255), ("white",), ("白色",)),
    Colour((22, 22, 26), ("black",), ("黑色",)),
    Colour((134, 138, 142), ("gray", "grey"), ("灰色",)),
    Colour((208, 44, 46), ("red",), ("红色",)),
    Colour((244, 138, 36), ("orange",), ("橙色", "橘色")),
    Colour((250, 218, 70), ("yellow",), ("黄色",)),
    Colour((58, 156, 76), ("green",), ("绿色",)),
    Colour((44, 98, 208), ("blue",), ("蓝色",)),
    Colour((128, 66, 172), ("purple",), ("紫色",)),
    Colour((248, 168, 200), ("pink",), ("粉色", "粉红色")),
    Colour((118, 76, 46), ("brown",), ("棕色", "褐色")),
    Colour((84, 204, 216), ("cyan",), ("青色",)),
)
WHITE = 0  # the background of a caption that names no colour


def cldr_names(language: str, folder: Path = CLDR) -> dict[str, str]:
    """Short name of every annotated character sequence, from CLDR's `<language>.xml`."""
    root = ElementTree.parse(folder / f"{language}.xml").getroot()
    nodes = (node for node in root.iter("annotation") if node.get("type") == "tts")
    return {node.get("cp", ""): (node.text or "").strip() for node in nodes}


def load_concepts(folder: Path = CLDR) -> list[Concept]:
    """All concepts with their names.

    Raises:
        KeyError: CLDR has no name for an emoji.
        ValueError: an emoji is listed twice, or two concepts share a name.
    """
    names = {language: cldr_names(language, folder) for language in ("en", "zh")}
    concepts = [
        Concept(
            emoji,
            *(
                tuple(dict.fromkeys((names[lang][emoji].lower(), *ALIASES[lang].get(emoji, ()))))
                for lang in ("en", "zh")
            ),
        )
        for emoji in EMOJI
    ]
    for lang in ("en", "zh"):
        every = [name for concept in concepts for name in getattr(concept, lang)]
        twice = {name for name in every if every.count(name) > 1}
        if twice:
            raise ValueError(f"concepts share the {lang} names {sorted(twice)}")
    return concepts
