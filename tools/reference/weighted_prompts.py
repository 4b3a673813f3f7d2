"""Weighted prompts by diffusers: what they mean is a table here, written by hand; their embeddings are computed anew
from the pipeline's tokenizers and text encoders by A1111's rules, and its pictures are made from those embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline
from diffusers.loaders import TextualInversionLoaderMixin
from torch import Tensor

if TYPE_CHECKING:
    from .pictures import PictureRequest

Part = tuple[str, float]  # text, weight
BREAK: Part = ("BREAK", 0.0)
Said = tuple[tuple[int, tuple[Part, ...]], ...]  # the last step of each text
FOREVER = 1_000_000


@dataclass(frozen=True)
class Meaning:
    prompts: tuple[tuple[float, Said], ...]  # those that AND joins, and their shares of the guidance

    def at(self, call: int) -> list[tuple[float, tuple[Part, ...]]]:
        return [(weight, next(parts for until, parts in said if call <= until)) for weight, said in self.prompts]


def always(*parts: Part) -> Said:
    return ((FOREVER, parts),)


def one(said: Said) -> Meaning:
    return Meaning(((1.0, said),))


def turns(*texts: tuple[Part, ...]) -> Said:
    return (*((step, texts[(step - 1) % len(texts)]) for step in range(1, 50)), (FOREVER, texts[0]))


_FOXES = ", ".join(f"{n} red foxes and {n} blue birds" for n in range(10))
_NO_COMMAS = "a red fox and a blue bird in the snow by the lake " * 9
CHANGE = "[a red fox in the snow:(blue birds on a wooden table, city at night:1.4):1]"
LONG = f"a small old photo of {_FOXES}, (soft light:1.4)"
LONGER = f"a small old photo of {_FOXES}, [soft light], {_NO_COMMAS}"

MEANINGS: dict[str, Meaning] = {
    "a (red) fox in the [snow]": one(always(("a ", 1), ("red", 1.1), (" fox in the ", 1), ("snow", 1 / 1.1))),
    "a (red:1.5) fox in (the (snow:0.3):1.2)": one(
        always(("a ", 1), ("red", 1.5), (" fox in ", 1), ("the ", 1.2), ("snow", 0.36))),
    "((red) fox) in the snow": one(always(("red", 1.21), (" fox", 1.1), (" in the snow", 1))),
    "a (red fox in the snow:1.8)": one(always(("a ", 1), ("red fox in the snow", 1.8))),
    r"a fox \(red\) \[snow\] (house:-0.5)": one(always(("a fox (red) [snow] ", 1), ("house", -0.5))),
    "[[[fox]": one(always(("fox", 1 / 1.1 / 1.1 / 1.1))),
    LONG: one(always((f"a small old photo of {_FOXES}, ", 1), ("soft light", 1.4))),
    LONGER: one(
        always((f"a small old photo of {_FOXES}, ", 1), ("soft light", 1 / 1.1), (f", {_NO_COMMAS}".rstrip(), 1))),
    _NO_COMMAS: one(always((_NO_COMMAS.rstrip(), 1))),
    "a red fox BREAK a blue (bird:1.3)": one(always(("a red fox", 1), BREAK, ("a blue ", 1), ("bird", 1.3))),
    "BREAK a fox BREAK BREAK snow": one(always(BREAK, ("a fox", 1), BREAK, BREAK, ("snow", 1))),
    CHANGE: one(((1, (("a red fox in the snow", 1),)),
                 (FOREVER, (("blue birds on a wooden table, city at night", 1.4),)))),
    "a red [fox:bird:3] in the snow": one(
        ((3, (("a red fox in the snow", 1),)), (FOREVER, (("a red bird in the snow", 1),)))),
    "a [red:blue:0.5] [(fox:1.4)::5]": one((
        (4, (("a red ", 1), ("fox", 1.4))), (5, (("a blue ", 1), ("fox", 1.4))), (FOREVER, (("a blue", 1),)))),
    "a [house:[fox:bird:4]:2][ and (snow:1.3):3]": one((
        (2, (("a house", 1),)), (3, (("a fox", 1),)), (4, (("a fox and ", 1), ("snow", 1.3))),
        (FOREVER, (("a bird and ", 1), ("snow", 1.3))))),
    f"a fox[, {LONG}:2]": one(
        ((2, (("a fox", 1),)), (FOREVER, ((f"a fox, a small old photo of {_FOXES}, ", 1), ("soft light", 1.4))))),
    "a [fox|blue bird|house] in the snow": one(turns(
        (("a fox in the snow", 1),), (("a blue bird in the snow", 1),), (("a house in the snow", 1),))),
    "a red fox AND a blue bird": Meaning(((1.0, always(("a red fox", 1))), (1.0, always((" a blue bird", 1))))),
    "a (red:1.4) fox :0.7 AND a [house:bird:2]:-0.4 AND snow": Meaning((
        (0.7, always(("a ", 1), ("red", 1.4), (" fox", 1))),
        (-0.4, ((2, ((" a house", 1),)), (FOREVER, ((" a bird", 1),)))), (1.0, always((" snow", 1))))),
    f"a fox AND {_NO_COMMAS}": Meaning(((1.0, always(("a fox", 1))), (1.0, always((_NO_COMMAS.rstrip(), 1))))),
    "a red fox :0.5": Meaning(((0.5, always(("a red fox", 1))),)),
}  # fmt: skip
NO_COMMAS = _NO_COMMAS


@dataclass(frozen=True)
class Mistakes:
    """What a reference that is wrong on purpose does (sensitivity.py)."""

    weights: bool = False  # forgotten
    mean: bool = False  # not restored
    pooled: bool = False  # of the last chunk, not of the first
    step: int = 0  # by which editing is late
    comma: bool = False  # no going back to it
    shares: bool = False  # AND's weights forgotten
    chunks: bool = False  # all but the first forgotten


right = Mistakes()
_mistakes = right


@contextmanager
def mistaken(mistakes: Mistakes) -> Iterator[None]:
    global _mistakes
    _mistakes = mistakes
    try:
        yield
    finally:
        _mistakes = right


def meaning(prompt: str) -> Meaning:
    """Of a prompt of the table; others have no brackets."""
    if prompt not in MEANINGS:
        assert not any(sign in prompt for sign in "()[]\\:") and "AND" not in prompt, prompt
    return MEANINGS.get(prompt) or one(always((prompt.rstrip(), 1)))


def _segments(tokenizer: Any, parts: Sequence[Part]) -> list[list[tuple[int, float]]]:
    """Ids and weights between BREAKs."""
    segments: list[list[tuple[int, float]]] = [[]]
    for part in parts:
        if part is BREAK:
            segments.append([])
        else:
            text = TextualInversionLoaderMixin._maybe_convert_prompt(None, part[0], tokenizer)
            ids = tokenizer(text, add_special_tokens=False).input_ids
            segments[-1] += [(token, part[1]) for token in ids]
    return segments


def chunks(tokenizer: Any, parts: Sequence[Part]) -> list[list[tuple[int, float]]]:
    """Cut so that each fits, after the last comma where that is at most 20 ids back."""
    begin = [] if tokenizer.bos_token_id is None else [(tokenizer.bos_token_id, 1.0)]
    room = tokenizer.model_max_length - len(begin) - 1
    comma = tokenizer("a,", add_special_tokens=False).input_ids[-1]
    pieces: list[list[tuple[int, float]]] = []
    segments = _segments(tokenizer, parts)
    for number, rest in enumerate(segments):
        while len(rest) > room:
            commas = [place for place in range(room - 20, room) if rest[place][0] == comma]
            back = commas and rest[room][0] != comma and not _mistakes.comma
            cut = commas[-1] + 1 if back else room
            pieces.append(rest[:cut])
            rest = rest[cut:]
        if rest or number + 1 < len(segments) or not pieces:
            pieces.append(rest)
    framed = []
    for piece in pieces:
        whole = begin + piece + [(tokenizer.eos_token_id, 1.0)]
        framed.append(whole + [(tokenizer.pad_token_id, 1.0)] * (tokenizer.model_max_length - len(whole)))
    return framed


def _encode(encoder: Any, chunk: list[tuple[int, float]], xl: bool, skip: int) -> tuple[Tensor, Tensor | None]:
    ids = torch.tensor([[token for token, _ in chunk]])
    answer = encoder(ids, output_hidden_states=True)
    if xl:
        state = answer.hidden_states[-2 - skip]
    else:
        state = getattr(encoder, "text_model", encoder).final_layer_norm(answer.hidden_states[-1 - skip])
    weights = torch.tensor([weight for _, weight in chunk])
    if not _mistakes.weights:
        scaled = state * weights.view(1, -1, 1)
        state = scaled if _mistakes.mean else scaled * (state.mean() / scaled.mean())
    return state, getattr(answer, "text_embeds", None)


def embed(pipe: DiffusionPipeline, parts: Sequence[Part], skip: int, count: int = 0) -> tuple[Tensor, Tensor | None]:
    """Context and pooled vector of one text, of `count` chunks at least."""
    xl = hasattr(pipe, "tokenizer_2")
    contexts, pooled = [], None
    for suffix in ("", "_2") if xl else ("",):
        tokenizer, encoder = getattr(pipe, f"tokenizer{suffix}"), getattr(pipe, f"text_encoder{suffix}")
        if encoder is None:
            continue
        pieces = chunks(tokenizer, parts)
        pieces += chunks(tokenizer, [("", 1.0)]) * (count - len(pieces))
        answers = [_encode(encoder, piece, xl, skip) for piece in pieces]
        states = [state for state, _ in answers]
        if _mistakes.chunks:
            states = states[:1] + [_encode(encoder, chunks(tokenizer, [("", 1.0)])[0], xl, skip)[0]] * (len(states) - 1)
        contexts.append(torch.cat(states, dim=1))
        pooled = answers[-1 if _mistakes.pooled else 0][1]
    return torch.cat(contexts, dim=-1), pooled


@dataclass
class Told:
    """What conditions the network at a call: without a prompt, and with each."""

    negative: tuple[Tensor, Tensor | None]
    prompts: list[tuple[float, tuple[Tensor, Tensor | None]]]


def told(pipe: DiffusionPipeline, request: PictureRequest, call: int) -> Told:
    skip = request.clip_skip or 0
    call = max(call - _mistakes.step, 0)
    texts = meaning(request.prompt or "").at(call)
    negative = meaning(request.negative_prompt or "").at(call)[0][1]
    tokenizer = pipe.tokenizer if getattr(pipe, "tokenizer", None) is not None else pipe.tokenizer_2
    count = max(len(chunks(tokenizer, parts)) for parts in [negative, *(parts for _, parts in texts)])
    without = embed(pipe, negative, 0, count)
    if request.negative_prompt is None and pipe.config.get("force_zeros_for_empty_prompt"):
        without = (torch.zeros_like(without[0]), torch.zeros_like(without[1]))
    shares = [1.0] * len(texts) if _mistakes.shares else [weight for weight, _ in texts]
    return Told(without, [(share, embed(pipe, parts, skip, count)) for share, (_, parts) in zip(shares, texts, strict=True)])


def is_weighted(request: PictureRequest) -> bool:
    return request.prompt_syntax == "weighted"


def is_composed(request: PictureRequest) -> bool:
    prompts = meaning(request.prompt or "").prompts if is_weighted(request) else ()
    return bool(prompts) and (len(prompts) > 1 or prompts[0][0] != 1)


def arguments(pipe: DiffusionPipeline, request: PictureRequest, images: int, calls_before: int) -> dict[str, Any]:
    """What the pipeline is called with instead of prompts. Composed ones are guided by `composed`."""
    xl = hasattr(pipe, "tokenizer_2")
    guided = (request.guidance_scale is None or request.guidance_scale > 1) and not is_composed(request)
    begin = told(pipe, request, calls_before)

    def many(tensor: Tensor) -> Tensor:
        return tensor.repeat(images, *[1] * (tensor.dim() - 1))

    def rows(now: Told, index: int) -> Tensor:
        prompt = many(now.prompts[0][1][index])
        return torch.cat([many(now.negative[index]), prompt]) if guided else prompt

    def change(_pipe: Any, step: int, _time: Any, _tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        now = told(pipe, request, calls_before + step + 1)
        return {"prompt_embeds": rows(now, 0), **({"add_text_embeds": rows(now, 1)} if xl else {})}

    given = {"prompt": None, "negative_prompt": None, "callback_on_step_end": change,
             "callback_on_step_end_tensor_inputs": ["prompt_embeds", *(["add_text_embeds"] if xl else [])],
             "prompt_embeds": many(begin.prompts[0][1][0]), "negative_prompt_embeds": many(begin.negative[0])}  # fmt: skip
    if xl:
        given |= {"pooled_prompt_embeds": many(begin.prompts[0][1][1]),
                  "negative_pooled_prompt_embeds": many(begin.negative[1])}  # fmt: skip
    return given | ({"guidance_scale": 1.0} if is_composed(request) else {})


@contextmanager
def composed(pipe: DiffusionPipeline, request: PictureRequest, scale: float) -> Iterator[None]:
    """The pipeline, run without guidance, with a network that guides itself: u + sum of weight * scale * (c - u)."""
    if not is_composed(request):
        yield
        return
    forward: Callable[..., Any] = pipe.unet.forward
    calls = 0

    def guide(sample: Tensor, time: Any, **options: Any) -> tuple[Tensor]:
        nonlocal calls
        now = told(pipe, request, calls)
        calls += 1

        def answer(told_now: tuple[Tensor, Tensor | None]) -> Tensor:
            context, pooled = told_now
            options["encoder_hidden_states"] = context.repeat(len(sample), 1, 1)
            if pooled is not None:
                added = {"text_embeds": pooled.repeat(len(sample), 1)}
                options["added_cond_kwargs"] = {**options["added_cond_kwargs"], **added}
            return forward(sample, time, **{**options, "return_dict": False})[0]

        without = answer(now.negative)
        return (without + sum(weight * scale * (answer(prompt) - without) for weight, prompt in now.prompts),)

    pipe.unet.forward = guide
    try:
        yield
    finally:
        del pipe.unet.forward
