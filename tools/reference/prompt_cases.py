"""Weighted and long prompts, prompts that change, composed ones, and words of textual inversions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .parity_case import ParityCase
from .pictures import PictureRequest
from .weighted_prompts import LONG, LONGER, MEANINGS, NO_COMMAS
from .words import WORDS, Word

SHORT = PictureRequest(steps=5, seed=9, prompt_syntax="weighted")
WEIGHTS = "a (red:1.5) fox in (the (snow:0.3):1.2)"
EDITING = "a [house:[fox:bird:4]:2][ and (snow:1.3):3]"
TURNS = "a [fox|blue bird|house] in the snow"
COMPOSED = "a (red:1.4) fox :0.7 AND a [house:bird:2]:-0.4 AND snow"
SHARE = "a [red:blue:0.5] [(fox:1.4)::5]"  # of eight steps


def prompt_cases() -> Iterator[ParityCase]:
    for index, prompt in enumerate(MEANINGS):
        steps = 8 if prompt == SHARE else 6
        yield ParityCase(f"weighted-{index:02}", "sd1", replace(SHORT, prompt=prompt, steps=steps))
    for model in ("sd15", "sd21", "sdxl", "sentencepiece"):
        size = {} if model == "sentencepiece" else {"width": 48, "height": 32}
        base = replace(SHORT, **size)
        prompts = {"weights": WEIGHTS, "long": LONG, "editing": EDITING, "composed": COMPOSED}
        for name, prompt in prompts.items():
            yield ParityCase(f"weighted-{name}", model, replace(base, prompt=prompt))
        yield ParityCase("weighted-both", model, replace(base, prompt=LONGER, negative_prompt=WEIGHTS))
    yield from _ways()
    yield from _words()


def _ways() -> Iterator[ParityCase]:
    """The count of calls: two a step, begun late, by two models; batches; half the memory of the layers."""
    for name in ("heun", "dpm2", "ddim", "unipc"):
        yield ParityCase(f"weighted-{name}", "sd1", replace(SHORT, prompt=EDITING, scheduler=name))
    yield ParityCase("weighted-heun-turns", "sd1", replace(SHORT, prompt=TURNS, scheduler="heun"))
    yield ParityCase("weighted-heun-composed", "sd1", replace(SHORT, prompt=COMPOSED, scheduler="heun"))
    picture = replace(SHORT, prompt=EDITING, init_image="photo-32x32", strength=0.7, steps=10, width=32, height=32)
    yield ParityCase("weighted-image", "sd1", picture)
    yield ParityCase("weighted-image-composed", "sd1", replace(picture, prompt=COMPOSED))
    yield ParityCase("weighted-image", "refiner-small", picture)
    small = replace(SHORT, width=48, height=32)
    refined = replace(small, prompt=EDITING, refiner="refiner", refiner_start=0.4, steps=8)
    yield ParityCase("weighted-refined", "sdxl", refined)
    yield ParityCase("weighted-empty-negative", "sdxl", replace(small, prompt=LONG, negative_prompt=""))
    yield ParityCase("weighted-batch", "sd1", replace(SHORT, prompt=EDITING), images=3, batch_size=2)
    yield ParityCase("weighted-batch-composed", "sdxl", replace(small, prompt=COMPOSED), images=3, batch_size=2)
    yield ParityCase("weighted-skip", "sd15", replace(small, prompt=LONG, clip_skip=2))
    yield ParityCase("weighted-skip", "sdxl", replace(small, prompt=LONG, clip_skip=1))
    for prompt in (WEIGHTS, EDITING, NO_COMMAS):
        request = replace(SHORT, prompt=prompt, guidance_scale=1.0)
        yield ParityCase(f"weighted-unguided-{len(prompt)}", "sd1", request)
    yield ParityCase("weighted-rescale", "sd1", replace(SHORT, prompt=WEIGHTS, guidance_rescale=0.6))


def _words() -> Iterator[ParityCase]:
    """Textual inversions by each layout of file, of one and more vectors, in both syntaxes."""
    plain = replace(SHORT, prompt_syntax=None, steps=3)
    for model, names in (("sd1", ("one", "three", "flat", "diffusers")), ("sd21", ("three",)), ("sentencepiece", ("diffusers",))):
        for name in names:
            word = WORDS[name]
            request = replace(plain, prompt=f"a {word.word} in the snow", textual_inversion=(Word(model, word),))
            yield ParityCase(f"word-{name}", model, request)
    small = replace(plain, width=48, height=32)
    for name in ("xl-one", "xl-three"):
        word = WORDS[name]
        request = replace(small, prompt=f"a red {word.word}, snow", negative_prompt=word.word,
                          textual_inversion=(Word("sdxl", word),))  # fmt: skip
        yield ParityCase(f"word-{name}", "sdxl", request)
        yield ParityCase(f"word-{name}-refined", "sdxl", replace(request, refiner="refiner", refiner_start=0.4))
    two = (Word("sd15", WORDS["one"]), Word("sd15", WORDS["three"]))
    request = replace(small, textual_inversion=two)
    yield ParityCase("word-two", "sd15", replace(request, prompt="a my-style fox and EasyThing, my-style"))
    yield ParityCase("word-negative", "sd15", replace(request, prompt="a fox", negative_prompt="my-style, EasyThing"))
    yield ParityCase("word-weighted", "sd15", replace(request, prompt="a my-style fox", prompt_syntax="weighted"))
    inside = "my-style".join(("a ", "fox ")) * 40
    yield ParityCase("word-cut", "sd15", replace(request, prompt=inside))
