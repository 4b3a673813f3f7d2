"""The list of what the embedded model knows, for the program's warning of words that it does not: known_words.json.

models/README.md has the format. A word is known if the model draws it: the things' names, which the grade has shown; and of CLDR's
keywords and of single words of longer names those that two pictures show. What is near to other words comes from CLDR as well:
things whose keywords have the word, or are like those of an emoji that the model does not have.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .captions import ADJECTIVES_ZH, AFTER_ZH, KINDS_ZH, PLACES_ZH, SIZES_ZH, countable, subject_en, words_en, words_zh
from .concepts import COLOURS, Concept, cldr_keywords, cldr_names, plain_name
from .grade import Case, Judge
from .scenes import single

FILE = "known_words.json"
NEAREST = 3  # things that are offered for a word
ALIKE = 0.2  # cosine of two emoji's keywords from which one is offered for the other
TRIALS = ((1000, 0), (2000, 7))  # seeds and colours of the pictures that show whether a word is known
EXAMPLES = ("🍎", "🐈", "🏰")  # offered where nothing is near

# What prompts say of no picture in particular: words of grammar, numbers, praise, and requests for quality.
EMPTY_EN = """
    a an the this that these those some any each every all both another other such same own
    i me my mine we us our you your he him his she her hers it its they them their who whom whose which what
    and or but nor so if then than as because while when where how not no very too also just only really quite more most much many
    few little bit lot lots several couple of in on at to from by for with without into onto over under above below beside besides
    between among through across around along near next behind front inside outside out off up down upon against toward towards
    during before after until since about like via per is are was were be been being am do does did done has have had having
    can could will would shall should may might must let lets there here please thanks thank ok hello hi
    get gets getting make makes making made take takes taking give gives giving put puts show shows showing shown see sees seen
    look looks looking want wants need draw draws drawing drawn paint paints create creates generate generates
    wearing holding together away facing called named
    zero one two three four five six seven eight nine ten dozen first second third once twice half
    picture pictures pic image images photo photos photograph photography painting illustration illustrations illustrated artwork art
    icon icons emoji emojis render rendering shot scene style styled background backdrop wallpaper color colors colour colours colored
    coloured colorful colourful object thing things subject composition design version kind type sort view size side center centre
    middle left right top bottom upper lower part corner high low resolution res quality detail details detailed intricate intricately
    highly ultra super extremely hyper best masterpiece masterpieces professional award winning awardwinning trending artstation
    deviantart realistic photorealistic photorealism hyperrealistic realism hd uhd hdr fhd 2k 4k 8k 16k sharp crisp clear focus
    focused cinematic dramatic aesthetic stunning gorgeous amazing awesome incredible perfect great good nice fine beautiful
    beautifully pretty lovely cute adorable sweet funny happy cool fantastic wonderful elegant fancy charming friendly simple plain
    clean minimalist minimal old new young modern ancient vintage classic typical usual common ordinary normal real single lonely
    glass cup portrait portraits closeup macro group bunch pair set slice slices piece pieces whole full empty small smaller tiny little big bigger large larger huge giant gigantic enormous tall short long wide thin thick
    fat chubby light dark bright pale vivid vibrant shiny glossy fluffy furry soft fresh delicious tasty ripe cartoon famous
    favorite favourite random different various unreal engine octane lighting lit
"""
EMPTY_ZH = """
    的 了 着 过 地 得 是 在 有 和 与 跟 同 及 或 或者 以及 还有 而 但 也 都 又 很 非常 十分 特别 更 最 太 不 没 没有 这 那 这个 那个 这些 那些
    哪 什么 我 你 您 他 她 它 我们 你们 他们 请 帮 帮我 给 给我 把 被 让 对 对着 向 从 到 往 里 里面 中 中间 正中 外 外面 前 前面 后 后面 上 下 左 右 旁
    旁边 边 之间 周围 附近 背景 底色 颜色 色 风格 效果 吗 吧 呢 啊 呀 哦 好 好的 谢谢 想 想要 要 需要 看 看看 画 画一 画个 画出 绘制 生成 创建 制作 做 来 显示 展示
    一 二 两 三 四 五 六 七 八 九 十 几 多 些 一些 半 个 只 条 张 朵 棵 把 块 辆 座 栋 幢 间 头 匹 件 双 对 颗 粒 片 杯 碗 盘 瓶 本 支 枝 架 艘 台 幅 位 名 群
    束 串 根 顶 盏 部 套 枚 份 种 只只 第 一群 图像 图画 图标 绘画 插画 插图 作品 艺术 高清 超高清 高质量 高品质 质量 细节 精细 精致 精美 杰作 大师 超 真实 写实 逼真
    完美 好看 漂亮 美丽 美 可爱 有趣 新 旧 老 古老 现代 普通 简单 干净 大 小 巨大 巨型 大大 小小 高 矮 长 短 胖 瘦 明亮 鲜艳 毛茸茸 壁纸 头像 卡通 特写
    穿 穿着 戴 戴着 拿 拿着 白 黑 灰 红 橙 橘 黄 绿 蓝 紫 粉 棕 褐 青 彩色 色彩
"""
# Things beside what everyday words mean, where CLDR does not say it.
BESIDE = {
    "🏰🏠⛵": ("lighthouse", "灯塔"), "🏰🗽🏢": ("tower", "skyscraper", "塔", "高楼"), "🌲🌳🍄": ("forest", "woods", "jungle", "森林", "树林"),
    "🌊🐟🚣": ("river", "lake", "pond", "waterfall", "河", "河流", "湖", "湖泊", "瀑布"), "☁🌈☀": ("sky", "天空"), "🌙⭐🌠": ("night", "midnight", "夜晚", "夜", "晚上", "夜空", "星空"),
    "☀🌞🌊": ("sunset", "sunrise", "dawn", "dusk", "日落", "日出", "黄昏"), "🚗🚦🚏": ("road", "street", "highway", "路", "街道", "马路"), "💺🛋🍽": ("table", "desk", "桌子", "桌"),
    "🏰⚔🐎": ("knight", "骑士"), "🥷⚔🏯": ("samurai", "武士"), "🚀👽🪐": ("astronaut", "spaceship", "space", "galaxy", "spacecraft", "宇航员", "太空", "宇宙", "飞船"),
    "🤖🏙🚀": ("cyberpunk", "futuristic", "android", "赛博朋克", "未来"), "👧👸🧚": ("woman", "lady", "female", "女人", "女士", "美女"), "🕺👷🎅": ("man", "guy", "boy", "男人", "男孩", "先生"),
    "👧👶👪": ("child", "kid", "people", "person", "孩子", "小孩", "人", "人物"), "🌹🌷🌻": ("flower", "daisy", "orchid", "lily", "花", "花朵"), "🏔🌋🗻": ("mountain", "hill", "cliff", "山", "高山", "山脉"),
    "🏝🌴🌊": ("seaside", "coast", "shore", "ocean", "海", "海边", "大海", "海滩", "海洋"), "🏠🏰⛪": ("building", "village", "cottage", "mansion", "建筑", "村庄", "房屋"), "🚢⛵🏙": ("harbour", "harbor", "port", "dock", "bridge", "港口", "桥"),
    "⛄❄🎿": ("snow", "winter", "雪", "冬天"), "🌧☔🌈": ("rain", "storm", "下雨天", "雨"), "🌳🌷🐑": ("field", "meadow", "grass", "草地", "草原", "田野"),
    "🐈🐯🦁": ("kitten", "feline"), "🐕🐩🐺": ("puppy", "corgi", "bulldog", "husky", "柯基"), "🍎🍌🍓": ("fruit", "水果"),
    "🍊🍋🍑": ("orange", "橙子"), "🌳🌲🌴": ("树", "树木"), "👗👘👙": ("skirt", "gown", "裙子", "裙"), "🚉🚆🚇": ("火车站",),
    "🍽☕🍔": ("restaurant", "cafe", "餐厅", "咖啡馆"), "🍜🍲🫕": ("soup", "汤", "火锅"), "💺🛋🛏": ("chair", "sofa", "furniture", "家具"),
}  # fmt: skip


def empty_words() -> set[str]:
    """The words after which nobody looks in a picture: those of the captions that name no thing, and everyday ones of that kind."""
    signs = [*ADJECTIVES_ZH, *KINDS_ZH, *(text.strip("，") for text in AFTER_ZH)]
    signs += [word for table in (SIZES_ZH, PLACES_ZH) for entry in table.values() for word in entry]
    colours = [name for colour in COLOURS for name in (*colour.en, *colour.zh)]
    english = {part for word in (*words_en(), *EMPTY_EN.split()) for part in re.split(r"[- ]", word)}
    return (english | {*colours, *signs, *words_zh(), *EMPTY_ZH.split()}) - {""}


def _shown(words: dict[str, set[int]], judge: Judge, make: Callable[[list[Case]], list[np.ndarray]]) -> set[str]:
    """Of words and the things that they may mean, the words of which every picture shows one of these."""
    todo, owners = [], []
    for word, things in words.items():
        english = word.isascii()
        for seed, colour in TRIALS:
            names = COLOURS[colour]
            text = subject_en(word) if english else word
            if colour:
                text = f"{text} on a {names.en[0]} background" if english else f"{names.zh[0]}背景上的{text}"
            todo.append(Case("one", "en" if english else "zh", text, seed, (single(min(things), None, None),), colour))
            owners.append(word)
    judge(todo, make(todo))
    wrong = {word for word, case in zip(owners, todo, strict=True) if case.found[0] not in words[word]}
    return set(words) - wrong


def _singular(name: str) -> str:
    """Of a word in plural; what is no plural is not changed, as a rule."""
    return re.sub(r"(?<![sio])s$", "", re.sub(r"ies$", "y", re.sub(r"sses$", "ss", name)))


def _split(name: str) -> list[str]:
    return re.split(r"[- ]", name)


def near_words(concepts: list[Concept], known: set[str], empty: set[str]) -> dict[str, list[int]]:
    """Words that are not known, and the things that are near to them, the nearest first."""
    index = {concept.emoji: i for i, concept in enumerate(concepts)}
    found = {concept.emoji: [i] for i, concept in enumerate(concepts)}
    found |= {w: [index[sign] for sign in glyphs] for glyphs, own in BESIDE.items() for w in own if w not in known}
    for language, word in (("en", re.compile(r"[a-z]{3,}")), ("zh", re.compile(r"[\u4e00-\u9fff]{1,4}"))):
        names, keywords = cldr_names(language), cldr_keywords(language)
        words, parts = {}, {}
        for emoji, own in keywords.items():
            if "\u200d" in emoji:  # of several, as people at work
                continue
            name = plain_name(names.get(emoji, ""))
            parts[emoji] = set(_split(name)) if language == "en" else {name}
            words[emoji] = {w for w in (*own, name, *parts[emoji]) if w and w not in empty}
        count = Counter(w for own in words.values() for w in own)
        weight = {w: math.log(len(words) / times) ** 2 for w, times in count.items()}
        norm = {emoji: math.sqrt(sum(weight[w] for w in own)) or 1 for emoji, own in words.items()}
        owners = defaultdict(list)
        for emoji, own in words.items():
            for w in own:
                owners[w].append(emoji)
        for w, own in owners.items():
            if w in known or w in found or not word.fullmatch(w):
                continue
            score: Counter[str] = Counter()
            for emoji in own:
                for thing in index:
                    alike = sum(weight[other] for other in words[emoji] & words[thing]) / (norm[emoji] * norm[thing])
                    if alike >= ALIKE:
                        score[thing] += alike
                if emoji in index:
                    score[emoji] += 4 if w in parts[emoji] else 2
            best = sorted(score, key=lambda thing: (-score[thing], index[thing]))[:NEAREST]
            if best:
                found[w] = [index[thing] for thing in best]
    return dict(sorted(found.items()))


def known_words(concepts: list[Concept], judge: Judge, make: Callable[[list[Case]], list[np.ndarray]]) -> dict[str, object]:
    """What known_words.json says; `make` draws what prompts ask for."""
    # everyday names first: the program calls a thing by its first
    names = [[*dict.fromkeys(name for own in (concept.en, concept.zh) for name in (*own[1:], own[0]))] for concept in concepts]
    empty = empty_words() - {name for own in names for name in own}
    taken = {name for own in names for name in own} | empty
    asked: dict[str, set[int]] = defaultdict(set)
    for i, concept in enumerate(concepts):
        for word in (*concept.en_words, *concept.zh_words):
            if word not in taken and re.fullmatch(r"[a-z' -]{2,}|[\u4e00-\u9fff]{2,}", word):
                asked[word].add(i)
        for name in concept.en:
            if " " not in name and not countable(name) and (one := _singular(name)) != name and one not in taken:
                asked[one].add(i)
    keywords = set(asked)
    for i, concept in enumerate(concepts):
        for name in concept.en:
            for part in _split(name):
                if part not in taken and part not in keywords and re.fullmatch(r"[a-z]{2,}", part):
                    asked[part].add(i)
    shown = _shown(asked, judge, make)
    things = [
        own + sorted(word for word in shown & keywords if i in asked[word]) for i, own in enumerate(names)
    ]
    known = {name for own in things for name in own} | shown
    emoji = [concept.emoji for concept in concepts]
    return {
        "things": things,
        "parts": sorted(shown - keywords),
        "empty": sorted(empty),
        "near": near_words(concepts, known, empty),
        "examples": [emoji.index(sign) for sign in EXAMPLES],
    }


def write_known_words(folder: Path, words: dict[str, object]) -> None:
    """Writes the list into a model's folder, and its name into sdgen.json there."""
    lines = ",\n".join(f'"{key}": {json.dumps(value, ensure_ascii=False, separators=(",", ":"))}' for key, value in words.items())
    (folder / FILE).write_text("{\n" + lines + "\n}\n")
    settings = json.loads((folder / "sdgen.json").read_text()) | {"known_words": FILE}
    (folder / "sdgen.json").write_text(json.dumps(settings) + "\n")
