"""Texts on which tokenizers are compared: prompts of our own, PartiPrompts, random strings of Unicode 15."""

from __future__ import annotations

import random
import sys
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import cache
from pathlib import Path

PROMPTS = [
    "",
    " ",
    "a red apple on a blue background",
    "A photo of an ASTRONAUT riding a horse, 4k, trending on ArtStation",
    "it's a dog's life, they're here, we've won, I'm sure she'll say he'd go, don't",
    "IT'S 'S ''s '' 't!'t 'RE ’s",
    "naïve café, Ångström, Żółć, São Paulo, Dvořák, İstanbul, Straße, ŒUVRE, ĳs, ﬁne",
    "cafe\u0301 A\u030angstro\u0308m q\u0307\u0323 q\u0323\u0307 \u1e9b\u0323 e\u0301\u0302\u0303",
    "ΟΔΥΣΣΕΥΣ ΣΟΦΟΣ Σ ς",
    "一只红苹果在蓝色背景上，日本の龍、한국어 텍스트",
    "\u1112\u1161\u11ab\u1100\u116e\u11a8 \uac00\u11a8",
    "ぱ は\u309a ﾊﾟ Ｆｕｌｌ　ｗｉｄｔｈ １２３",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪 ❤️ 🏴‍☠️ 1️⃣ 😀😀😀",
    "مرحبا بالعالم שָׁלוֹם עולם \u202bright to left\u202c",
    "हिन्दी में क्ष ज़ \u0958 வணக்கம் ไทย",
    "1234567890 3.14159 1,000,000 ½ Ⅷ ² ٣ 十",
    "!!! ... ?!?! --- ((([weight:1.3]))) {a|b} <lora:x:0.5> #tag @name $5 50% a_b a-b C++ x*y ~^`",
    "<html><b>bold</b>&nbsp;&amp; &lt;p&gt;</html>",
    "tabs\tand\nnewlines\r\nand\u00a0no-break\u2003em\u3000ideographic\u0085next\u2028line\u180emongolian\u200bzero",
    "   leading and trailing    and    inner   ",
    "\x00nul \x01\x02\x1f\x7f controls \u00ad \ufeff \ufffd \ufffe",
    "<|startoftext|>a cat<|endoftext|>a dog <|ENDOFTEXT|> <|endoftext|>!! < |endoftext| >",
    "</s> a </s>b<unk><pad> <s> <extra_id_0> ＜unk＞ <0x41> <0x0A>",
    "a▁b ▁ ▁▁ ▁a▁",
    "hmmmmmmm nnn aaaa zzzzz ....... !!!!! =====",
    "pneumonoultramicroscopicsilicovolcanoconiosis" * 3,
    "very long prompt, " * 30 + "the end",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒎𝒂𝒕𝒉 ℌ ㎏ ™ ① 𐐀𐐁 Ꭰ ꭰ Ა \U0001e900",
    "\u0301starts with a mark",
    "a\u200db \u200d zwj zwnj a\u200cb",
]

# Assigned in Unicode 15.0; Python 3.11 knows 14.
UNICODE_15 = """
CF3 ECE 10EFD-10EFF 1123F-11241 11B00-11B09 11F00-11F10 11F12-11F3A 11F3E-11F59 1342F 13439-13455 1B132 1B155
1D2C0-1D2D3 1DF25-1DF2A 1E030-1E06D 1E08F 1E4D0-1E4F9 1F6DC 1F774-1F776 1F77B-1F77F 1F7D9 1FA75-1FA77 1FA87-1FA88
1FAAD-1FAAF 1FABB-1FABD 1FABF 1FACE-1FACF 1FADA-1FADB 1FAE8 1FAF7-1FAF8 2B739
31350-323AF
"""

WORDS = """a red apple on the blue background oil painting of an old house by lake, highly detailed portrait 4k
photorealistic Cat DOG it's don't we're running UPPER MixedCase 3d 1920x1080 f/1.8 (masterpiece:1.2) hmmm nnnn ......
straße naïve Éclair красный дом 红苹果 背景 りんご 사과 <|endoftext|> <|startoftext|> </s> <unk> <pad> <s> <extra_id_7>
<|im_start|>user <|im_end|> <think> </think> <bos> <start_of_turn> 'S 'Ll 'ſ
<EXTRA> <cat-toy> ▁ ▁x ! !! 's 'll &amp; <0x41>""".split()


def assigned() -> list[int]:
    """All assigned code points of Unicode 15 without surrogates and private use."""
    points = {c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")}
    for item in UNICODE_15.split():
        first, _, last = item.partition("-")
        points.update(range(int(first, 16), int(last or first, 16) + 1))
    return sorted(points)


@cache
def pools() -> list[list[str]]:
    """Groups of characters from which random strings are drawn."""
    points = [chr(c) for c in assigned()]

    def group(accept: Callable[[str], bool]) -> list[str]:
        return [c for c in points if accept(c)]

    def span(*ranges: tuple[int, int]) -> list[str]:
        return group(lambda c: any(first <= ord(c) <= last for first, last in ranges))

    return [
        points,
        group(lambda c: unicodedata.category(c).startswith("M")),
        group(lambda c: unicodedata.category(c) in ("Cc", "Cf")),
        group(str.isspace) + ["\u200b", "\u180e", "\ufeff"],
        group(lambda c: unicodedata.decomposition(c) != ""),
        group(lambda c: c.lower() != c),
        group(lambda c: unicodedata.category(c).startswith("N")),
        span((0x20, 0x7E)),
        span((0xA0, 0x24F)),
        span((0x300, 0x36F)),
        span((0x4E00, 0x9FFF), (0x20000, 0x323AF)),
        span((0x1100, 0x11FF), (0xAC00, 0xD7A3), (0x3040, 0x30FF), (0xFF00, 0xFFEF)),
        span((0x1F300, 0x1FAFF), (0x2600, 0x27BF)) + ["\u200d", "\ufe0f", "\U0001f3fd", "\U0001f1e9", "\U0001f1ea"],
        span((0x590, 0x8FF)),
        span((0x900, 0xDFF)),
    ]


def random_text(draw: random.Random) -> str:
    """A few words and runs of characters, with and without blanks between them."""
    parts = []
    for _ in range(draw.randint(1, 8)):
        kind = draw.random()
        if kind < 0.4:
            parts.append(draw.choice(WORDS))
        elif kind < 0.5:
            parts.append(draw.choice("abcdelmnoprst.!?-= ") * draw.randint(1, 9))
        elif kind < 0.6:
            parts.append(draw.choice("aeiouAEOnszIΣİ") + "".join(draw.choices(pools()[9], k=draw.randint(1, 3))))
        else:
            parts.append("".join(draw.choices(draw.choice(pools()), k=draw.randint(1, 6))))
        if draw.random() < 0.6:
            parts.append(" ")
    return "".join(parts)


def random_texts(count: int, seed: int | str) -> list[str]:
    draw = random.Random(seed)
    return [random_text(draw) for _ in range(count)]


def parti_prompts(path: Path) -> list[str]:
    """The first column of PartiPrompts.tsv, without its head line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines[1:] if line]


CLDR = Path("/usr/share/unicode/cldr/common/annotations")  # of Debian's unicode-cldr-core
SCRIPTS = ("en", "de", "fr", "es", "pl", "vi", "tr", "ru", "uk", "el", "hy", "ka", "he", "ar", "fa", "hi", "bn", "ta", "th", "km",
           "my", "am", "zh", "ja", "ko", "si", "te", "ml", "gu", "pa")  # fmt: skip


@cache
def cldr_names() -> dict[str, list[str]]:
    """The names of characters and their keywords by language: Unicode's, in 140 languages."""
    names: dict[str, dict[str, None]] = {}
    for path in sorted(CLDR.glob("*.xml")):
        for entry in ElementTree.parse(path).iter("annotation"):
            for name in (entry.text or "").split("|"):
                if name.strip() not in ("", "↑↑↑"):
                    names.setdefault(path.stem, {})[name.strip()] = None
    return {language: list(found) for language, found in names.items()}


def sentences(count: int, seed: int | str) -> list[str]:
    """Ordinary text in the languages of SCRIPTS, made of CLDR's names, with the punctuation and the spaces that people type."""
    draw = random.Random(seed)
    lines = []
    for i in range(count):
        names = cldr_names()[SCRIPTS[i % len(SCRIPTS)]]
        words = draw.sample(names, draw.randint(2, 9))
        between = draw.choices((" ", ", ", "  ", "\n", " - ", "\t", "\u3000"), (20, 8, 1, 1, 1, 1, 1), k=len(words))
        between[-1] = draw.choice(("", ".", "!", " ", "...", "!!!!!!", "\n", "。", "?"))
        text = "".join(a + b for a, b in zip(words, between, strict=True))
        lines.append(text.capitalize() if draw.random() < 0.3 else text)
    return lines


def has_loose_marks(text: str) -> bool:
    """Characters of several code points: accents that stand apart from their letters, tags, conjoining jamo, half-width voice marks."""
    return any(unicodedata.category(c)[0] == "M" or unicodedata.category(c) in ("Cf", "Cn") or "\u1100" <= c <= "\u11ff" or c in "ﾞﾟำຳ"
               for c in text)
