"""What the embedded model can draw: emoji that picture one thing, twelve background colours, and their names.

The emoji are those of Unicode's groups without flags, symbols and clock faces that are one code point, that Debian's Noto
Color Emoji and CLDR know, without the ones that mean a thing rather than picture it; of what was left, the more dispensable of
the two nearest glyphs was dropped again and again, until no two are nearer than 0.19 (root mean square of the samples at 32x32
on white, grey and black). Names come from the Unicode CLDR annotations (the short "tts" names, and the keywords) in English
and Chinese; everyday names are added by hand where CLDR's is one that nobody would type.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

CLDR = Path("/usr/share/unicode/cldr/common/annotations")

FACES = (
    "😀😁🤣😂😇🥰😍😋😜🤪🤑🤗🫣🤔🙄🤕🤢🤮🤧🥵🥶🤯🤠🥳🥸😎🤓🧐😳🥺😰😥😢😭😱😓😤😡🤬👿💀☠💩🤡👹👺👻👽👾🤖"
    "😹😻🙀😿😾🙉🙊💌💘💝💓💞💕💟❣❤💛💚💙💜🖤🤍💋💯💥💫💦💨"
)
PEOPLE = (
    "👋🤚🖐✋🫲🫳🫴👌🤌🤏✌🤞🫰🤟🤘🤙👈👉👆👇🫵👍👎✊👊🤛🤜👏🙌🫶👐🤲🙏✍💅🤳💪🦵🦶🦻👃🦷🦴👀👅👄🫦👶👧🙍"
    "🙎🙆🙋🧏🙇🤷👮🕵💂🥷👷👸👳👲🧕🤵👰🤰🫃🫄🤱👼🎅🤶🦸🦹🧙🧚🧛🧜🧝🧞🧟🧌💆💇🧍🏃💃🕺👯🧖🧗🤺🏇⛷🏂🏌🏄🚣"
    "🏊⛹🏋🚴🚵🤸🤼🤽🤾🤹🧘🛀👭💏💑👪"
)
NATURE = (
    "🐒🦍🦧🐶🐕🦮🐩🐺🦊🦝🐈🦁🐯🐅🐴🐎🦄🦓🦌🦬🐮🐂🐄🐷🐖🐗🐽🐏🐑🐐🐫🦙🦒🐘🦏🐁🐀🐹🐰🐇🐿🦫🦔🦇🐻🐨🐼🦥🦦🦨"
    "🦘🦡🐾🦃🐔🐓🐣🐤🐥🐦🐧🕊🦅🦆🦢🦉🦤🪶🦩🦚🦜🐸🐊🐢🦎🐍🐲🐉🦕🦖🐳🐬🦭🐟🐠🐡🦈🐙🐚🪸🐌🦋🐛🐜🐝🪲🐞🪳🕷"
    "🕸🦂🪰🪱🦠💐🌸🪷🏵🌹🥀🌺🌻🌼🌷🌱🪴🌲🌳🌴🌵🌾🌿🍀🍁🍂🍃🪺🍄"
)
FOOD = (
    "🍇🍈🍉🍊🍋🍌🍍🥭🍎🍏🍑🍒🍓🫐🥝🍅🫒🥥🥑🍆🥔🥕🌽🌶🥒🥬🥦🧄🥜🫘🌰🍞🥐🥖🥨🥯🥞🧀🍖🍗🥩🥓🍔🍟🍕🌭🥪🌮🌯🫔"
    "🥙🧆🥚🍳🥘🍲🫕🥣🥗🍿🧈🥫🍱🍘🍙🍚🍛🍜🍝🍠🍢🍣🍤🍡🥟🥠🥡🦀🦞🦐🦑🦪🍦🍧🍩🍪🎂🍰🧁🥧🍫🍬🍭🍮🍯🍼🥛☕🫖"
    "🍶🍾🍷🍸🍹🍺🍻🥂🥃🫗🥤🧋🧃🧉🧊🥢🍽🍴🥄🔪🫙🏺"
)
TRAVEL = (
    "🌍🌏🗺🧭🏔🌋🗻🏕🏖🏜🏝🏞🏟🏛🛖🏠🏡🏢🏣🏤🏥🏩🏪🏫🏬🏭🏯🏰🗽⛪🕌🏙🛝🎡🎢🚂🚃🚄🚅🚆🚇🚈🚉🚊🚝🚞🚋🚌🚍🚎"
    "🚐🚑🚒🚓🚔🚕🚖🚗🚘🚙🛻🚚🚛🚜🏎🏍🛵🦽🦼🛺🚲🛴🛹🛼🚏🛢⛽🛞🚨🚥🚦🚧⚓🛟⛵🚤🛳⛴🛥🚢✈🛩🛫🛬🪂💺🚁🚟🚠🚡"
    "🛰🚀🛸🛎🧳⌛⌚⏰🌑🌒🌓🌔🌖🌗🌘🌙🌚🌛🌜🌡☀🌞🪐⭐🌠☁🌤🌥🌦🌧🌩🌪🌫🌬🌀🌈🌂☂☔⛱⚡❄⛄🔥💧🌊"
)
ACTIVITIES = (
    "🎃🎄🎆🎇🧨✨🎈🎉🎊🎀🎁🎗🎖🏆🏅🥈⚽⚾🥎🏀🏈🏉🎾🥏🎳🏏🏑🏒🥍🏓🏸🥊🥋🥅⛳⛸🎣🤿🎽🎿🛷🥌🎯🪀🪁🔫🎱🔮🪄🎮"
    "🕹🎰🎲🧩🧸🪅🪆♣🎭🖼🎨🧵🪡🧶🪢"
)
OBJECTS = (
    "👓🕶🥽🥼🦺👔👕👖🧣🧤🧥🧦👗👘🥻🩱🩳👙👛👜👝🛍🎒👟🥾🥿👠👡🩰👢👑👒🎩🎓🧢🪖⛑💄💍💎📢📣📯🔔🔕🎼🎵🎶🎙🎚"
    "🎛🎤🎧📻🎷🪗🎸🎹🎺🎻🪕🥁🪘📱📲☎📞📟📠🔋🔌💻🖥🖨⌨🖱🖲💽💾💿📀🧮🎥🎞📽🎬📺📷📸📹📼🔍🔎🕯💡🔦🏮🪔📕📖"
    "📗📘📚📓📒📃📜📄📰💰💴💵💶💷💸💳✉📮✏✒🖌📝💼📁📂📅📆🗓📌📍📎📐✂🗑🔒🔏🔐🔑🗝🪓⚒🛠🗡⚔💣🪃🏹🪚🪛🔩"
    "⚙🗜⚖🔗⛓🪝🧰🧲🪜⚗🧪🧫🧬🔬🔭📡💉🩸💊🩺🛗🪞🪟🛏🛋🚽🚿🪤🪒🧷🧺🧻🪣🧼🪥🧽🧯🛒🚬⚰🪦🗿"
)
EMOJI = tuple(FACES + PEOPLE + NATURE + FOOD + TRAVEL + ACTIVITIES + OBJECTS)

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
        "☕": ("咖啡",), "🎃": ("南瓜",), "⚡": ("闪电",), "⛄": ("雪人",), "😀": ("笑脸",), "❤": ("心",), "🐳": ("鲸鱼",),
        "🦖": ("恐龙",), "🎁": ("礼物",), "🔒": ("锁",), "🌙": ("月亮",), "🎂": ("蛋糕",), "🍦": ("冰淇淋",),
    },
}


@dataclass(frozen=True)
class Concept:
    """One emoji and its names; the first name of each language is CLDR's.

    `en_words` and `zh_words` are CLDR's keywords that point to this concept alone.
    """

    emoji: str
    en: tuple[str, ...]
    zh: tuple[str, ...]
    en_words: tuple[str, ...] = ()
    zh_words: tuple[str, ...] = ()


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


# Words of the captions' own language, and keywords that say nothing of what is seen.
RESERVED = frozenset(
    (
        *"a an and with of on in at the left right top bottom above below beside next small big large little tiny huge".split(),
        *"picture drawing image icon emoji photo background up down come won one two three first second third turn like".split(),
        *"大 小 左 右 上 下 左边 右边 上面 下面 左侧 右侧 背景 和 图片 图标 表情 照片".split(),
    )
)

def cldr_names(language: str, folder: Path = CLDR) -> dict[str, str]:
    """Short name of every annotated character sequence, from CLDR's `<language>.xml`."""
    root = ElementTree.parse(folder / f"{language}.xml").getroot()
    nodes = (node for node in root.iter("annotation") if node.get("type") == "tts")
    return {node.get("cp", ""): (node.text or "").strip() for node in nodes}


def cldr_keywords(language: str, folder: Path = CLDR) -> dict[str, list[str]]:
    """Keywords of every annotated character sequence, in lower case."""
    root = ElementTree.parse(folder / f"{language}.xml").getroot()
    nodes = (node for node in root.iter("annotation") if node.get("type") != "tts")
    return {node.get("cp", ""): [word.strip().lower() for word in (node.text or "").split("|")] for node in nodes}


def plain_name(name: str) -> str:
    """A CLDR name as people type it: lower case, ASCII punctuation, no brackets."""
    return re.sub(r"[():“”]", "", name.lower().replace("’", "'").replace("：", "")).strip()


def own_keywords(keywords: dict[str, list[str]], names: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The keywords of each emoji that belong to no other emoji, and are not part of another's name or a colour's."""
    owners = Counter(word for emoji in names for word in set(keywords[emoji]))
    text = {emoji: " | ".join(names[emoji]) for emoji in names}
    colours = {name for colour in COLOURS for name in (*colour.en, *colour.zh, *(zh[:-1] for zh in colour.zh))}
    reserved = colours | RESERVED

    def own(emoji: str, word: str) -> bool:
        if owners[word] > 1 or word in reserved or word in names[emoji] or any(sign in word for sign in "():“”’"):
            return False
        if word.isascii():
            whole = re.compile(rf"\b{re.escape(word)}\b")
            return not any(whole.search(other) for key, other in text.items() if key != emoji)
        return len(word) > 1 and not any(word in other for key, other in text.items() if key != emoji)

    return {emoji: tuple(word for word in keywords[emoji] if own(emoji, word)) for emoji in names}


def load_concepts(folder: Path = CLDR) -> list[Concept]:
    """All concepts with their names.

    Raises:
        KeyError: CLDR has no name for an emoji.
        ValueError: an emoji is listed twice, or two concepts share a name.
    """
    if len(set(EMOJI)) != len(EMOJI):
        raise ValueError("an emoji is listed twice")
    names: dict[str, dict[str, tuple[str, ...]]] = {}
    words: dict[str, dict[str, tuple[str, ...]]] = {}
    for language in ("en", "zh"):
        short = cldr_names(language, folder)
        names[language] = {
            emoji: tuple(dict.fromkeys((plain_name(short[emoji]), *ALIASES[language].get(emoji, ())))) for emoji in EMOJI
        }
        every = Counter(name for own in names[language].values() for name in own)
        if twice := [name for name, count in every.items() if count > 1]:
            raise ValueError(f"concepts share the {language} names {sorted(twice)}")
        words[language] = own_keywords(cldr_keywords(language, folder), names[language])
    return [Concept(e, names["en"][e], names["zh"][e], words["en"][e], words["zh"][e]) for e in EMOJI]
