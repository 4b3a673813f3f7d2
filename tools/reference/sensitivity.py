"""The comparison must notice mistakes: a reference made with one wrong input or part has to differ from the right one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from torch import nn
from transformers.activations import ACT2FN

from .chroma import BASE as CHROMA_BASE
from .chroma import CHROMA_FILES, CHROMA_MISTAKES
from .control_cases import BGR, FULL, NET, OTHER, XL
from .control_files import ControlUse
from .dit import BASE as DIT_BASE
from .dit import DIT_MISTAKES
from .encodings import ENCODINGS
from .faults import undrawn
from .fewer_cases import fewer_mistakes
from .flux import base_of as flux_base
from .flux import flux_mistakes
from .flux2 import FLUX2_FILES, flux2_mistakes
from .lora_files import LoraSpec, LoraUse
from .lumina2 import BASE as LUMINA2_BASE
from .lumina2 import LUMINA2_FILES, LUMINA2_MISTAKES
from .model_store import ModelStore
from .parity_run import Outcome, compare
from .pictures import PictureRequest, backbone, is_xl, render, takes_text
from .pixart import BASE as PIXART_BASE
from .pixart import PIXART_MISTAKES
from .prompt_cases import COMPOSED, TURNS, WEIGHTS
from .qwen_image import BASE as QWEN_IMAGE_BASE
from .qwen_image import QWEN_IMAGE_FILES, QWEN_IMAGE_MISTAKES
from .sd3 import BASE as SD3_BASE
from .sd3 import SD3_MISTAKES
from .transformer_control_cases import DEEP as STEERED_SD3
from .transformer_control_cases import FLUX_DEEP as STEERED_FLUX
from .transformer_control_cases import flux_control_mistakes, sd3_control_mistakes
from .transformer_lora_cases import MISTAKEN_MODELS, transformer_lora_mistakes
from .unconditional import BASE as UNCONDITIONAL_BASE
from .weighted_prompts import CHANGE, LONG, LONGER, Mistakes, mistaken
from .words import Word, WordSpec
from .z_image import BASE as Z_IMAGE_BASE
from .z_image import Z_IMAGE_FILES, Z_IMAGE_MISTAKES

VISIBLE = 8  # of 255
BASE = PictureRequest(seed=21, scheduler="ddim", timestep_spacing="leading", eta=0.5, negative_prompt="a blue bird")

Fault = Callable[[DiffusionPipeline], AbstractContextManager[None]]


@dataclass(frozen=True)
class Mistake:
    """What is asked for, what is asked for by mistake, or a part that is wrong."""

    wrong: dict[str, Any] = field(default_factory=dict)
    right: dict[str, Any] = field(default_factory=dict)
    fault: Fault = lambda _: nullcontext()


MISTAKES: dict[str, Mistake] = {
    "seed": Mistake({"seed": 22}),
    "prompt": Mistake({"prompt": "a red fox in the rain"}),
    "empty-prompt": Mistake({"prompt": ""}),
    "negative": Mistake({"negative_prompt": ""}),
    "guidance": Mistake({"guidance_scale": 5.5}),
    "no-guidance": Mistake({"guidance_scale": 1.0}),
    "steps": Mistake({"steps": 8}),
    "scheduler": Mistake({"scheduler": "ddpm", "eta": None}),
    "spacing": Mistake({"timestep_spacing": "trailing"}),
    "prediction": Mistake({"prediction_type": "v_prediction"}),
    "eta": Mistake({"eta": 0.8}),
}


@contextmanager
def _swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, own)


@contextmanager
def _values(parameter: nn.Parameter, value: torch.Tensor) -> Iterator[None]:
    exact = parameter.detach().clone()
    with torch.no_grad():
        parameter.copy_(value)
    try:
        yield
    finally:
        with torch.no_grad():
            parameter.copy_(exact)


def _wrong_projection(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """The pooled embedding of a transposed matrix, or where that is none of a shuffled one."""
    weight = pipe.text_encoder_2.text_projection.weight
    rows, columns = weight.shape
    return _values(weight, weight.T.clone() if rows == columns else weight.roll(1, 0))


def _last_encoder(pipe: DiffusionPipeline) -> Any:
    return getattr(pipe, "text_encoder_2", None) or pipe.text_encoder


def _other_activation(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """quick_gelu for gelu, or the other way round, in the last text encoder."""
    encoder = _last_encoder(pipe)
    other = {"gelu": "quick_gelu", "quick_gelu": "gelu"}[encoder.config.hidden_act]
    return _activations([module for module in encoder.modules() if hasattr(module, "activation_fn")], other)


@contextmanager
def _activations(modules: list[Any], name: str) -> Iterator[None]:
    own = [module.activation_fn for module in modules]
    for module in modules:
        module.activation_fn = ACT2FN[name]
    try:
        yield
    finally:
        for module, function in zip(modules, own, strict=True):
            module.activation_fn = function


def _other_pad(name: str) -> Fault:
    """The tokenizer pads with the token that the other one pads with."""

    def fault(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
        tokenizer = getattr(pipe, name)
        return _swapped(tokenizer, "pad_token", "!" if tokenizer.pad_token != "!" else tokenizer.eos_token)

    return fault


def _one_score(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """The refiner's negative half with the positive one's aesthetic score."""
    own = pipe._get_add_time_ids

    def ids(*args: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        positive, negative = own(*args, **options)
        return positive, torch.cat([negative[:, :-1], positive[:, -1:]], dim=1)

    return _swapped(pipe, "_get_add_time_ids", ids)


_SIZES = {"original_size": (96, 48), "crop": (24, 8), "target_size": (40, 72)}
XL_MISTAKES: dict[str, Mistake] = {
    "original-size": Mistake({"original_size": (48, 96)}, _SIZES),
    "crop": Mistake({"crop": (8, 24)}, _SIZES),
    "target-size": Mistake({"target_size": (72, 40)}, _SIZES),
    "layer": Mistake({"clip_skip": -1}),  # the last layer's states, not the penultimate's
    "projection": Mistake(fault=_wrong_projection),
    "pad-2": Mistake(fault=_other_pad("tokenizer_2")),
}
FORCED_ZEROS = {"forced-zeros": Mistake({"negative_prompt": ""}, {"negative_prompt": None})}
SD_MISTAKES: dict[str, Mistake] = {"clip-skip": Mistake({"clip_skip": 1})}
PAD_MISTAKES = {"pad": Mistake(fault=_other_pad("tokenizer"))}
# gelu and quick_gelu are 0.02 apart at most: it takes OpenCLIP's many layers to show.
DEEP_TEXT_MISTAKES = {"activation": Mistake(fault=_other_activation)}
REFINER_MISTAKES: dict[str, Mistake] = {
    "start": Mistake({"refiner_start": 0.7}),
    "missing": Mistake({"refiner": None, "refiner_start": None}),
    "crop": Mistake({"crop": (8, 24)}, _SIZES),
    "score": Mistake(fault=_one_score),
    "projection": Mistake(fault=_wrong_projection),
    "pad-2": Mistake(fault=_other_pad("tokenizer_2")),
}


def _as_stable_diffusion(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """The scheduler with the corrections of the Stable Diffusion pipelines."""
    config = {**pipe.scheduler.config, "steps_offset": 1, "clip_sample": False, "_use_default_values": []}
    return _swapped(pipe, "scheduler", type(pipe.scheduler).from_config(config))


UNCONDITIONAL_MISTAKES: dict[str, Mistake] = {
    "seed": Mistake({"seed": 22}),
    "steps": Mistake({"steps": 8}),
    "spacing": Mistake({"timestep_spacing": "trailing"}),
    "prediction": Mistake({"prediction_type": "v_prediction"}),
    "corrections": Mistake(fault=_as_stable_diffusion),
}
DDPM_MISTAKES = {"scheduler": Mistake({"scheduler": "ddim"}, {"scheduler": "ddpm"})}
DDIM_MISTAKES = {"eta": Mistake({"eta": 0.8}, {"eta": 0.5})}

_PICTURE = {"init_image": "photo-32x32", "strength": 0.7, "width": 32, "height": 32}
IMAGE_MISTAKES: dict[str, Mistake] = {
    "image": Mistake({"init_image": "other-32x32"}, _PICTURE),
    "image-begin": Mistake({"strength": 0.8}, _PICTURE),
    "image-strength-1": Mistake({"init_image": None, "strength": None}, _PICTURE | {"strength": 1.0}),
    "image-draws": Mistake(right=_PICTURE, fault=undrawn),  # after the noise, not before
}

def _inpainting(pipe: DiffusionPipeline) -> type:
    name = "StableDiffusionXLInpaintPipeline" if is_xl(pipe) else "StableDiffusionInpaintPipeline"
    return getattr(diffusers, name)


def _unmasked_latents(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """The network is shown the whole picture, not what the mask leaves of it."""
    cls, whole = _inpainting(pipe), []
    encode, prepare = cls._encode_vae_image, cls.prepare_mask_latents

    def kept(self: Any, image: torch.Tensor, generator: Any) -> torch.Tensor:
        whole.append(image)
        return encode(self, image, generator)

    def shown(self: Any, mask: Any, masked_image: Any, *rest: Any) -> Any:
        return prepare(self, mask, whole[0], *rest)

    return _both(_swapped(cls, "_encode_vae_image", kept), _swapped(cls, "prepare_mask_latents", shown))


def _undrawn_mask(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """The masked picture's posterior is drawn from a generator of its own."""
    cls = _inpainting(pipe)
    prepare = cls.prepare_mask_latents

    def drawn(self: Any, *given: Any) -> Any:
        *first, generators, guided = given
        return prepare(self, *first, [torch.Generator("cpu").manual_seed(1) for _ in generators], guided)

    return _swapped(cls, "prepare_mask_latents", drawn)


def _unblended(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """Nothing of the picture is put back between the steps: the blending's mask is white."""
    cls = _inpainting(pipe)
    prepare = cls.prepare_mask_latents

    def white(self: Any, *given: Any) -> Any:
        mask, latents = prepare(self, *given)
        return torch.ones_like(mask), latents

    return _swapped(cls, "prepare_mask_latents", white)


@contextmanager
def _both(first: AbstractContextManager[None], second: AbstractContextManager[None]) -> Iterator[None]:
    with first, second:
        yield


_MASKED = _PICTURE | {"mask": "corner-32x32"}
INPAINT_MISTAKES: dict[str, Mistake] = {
    "mask-inverted": Mistake({"mask": "ring-32x32"}, _PICTURE | {"mask": "disc-32x32"}),
    "mask-blur": Mistake({"mask_blur": None}, _MASKED | {"mask_blur": 6}),
    "mask-draws": Mistake(right=_MASKED | {"eta": 1.0}, fault=_undrawn_mask),
    "mask-strength-1": Mistake({"strength": 0.99}, _MASKED | {"strength": 1.0}),
    "only-masked": Mistake({"only_masked": 2}, _MASKED | {"only_masked": 6}),
}
BLENDED_MISTAKES = {"blending": Mistake(right=_MASKED, fault=_unblended)}
SHOWN_MISTAKES = {"masked-latents": Mistake(right=_MASKED, fault=_unmasked_latents)}
BLENDED = ("sd1", "sd2-v", "sdxl-small", "refiner-small")  # models that these are tried on
DEPTH_MISTAKES = {"depth": Mistake({"depth": "other-24x32"})}


def _steered(model: str) -> dict[str, Mistake]:
    """Of ControlNets and T2I-Adapters for the model."""
    net, xl = ControlUse(model, NET), model == "sdxl"
    adapter = ControlUse(model, XL if xl else FULL)
    right, beside = {"controls": (net,)}, {"controls": (adapter,)}
    return {
        "control-image": Mistake({"controls": (replace(net, image="other-48x32"),)}, right),
        "control-missing": Mistake({"controls": None}, right),
        "control-scale": Mistake({"controls": (replace(net, scale=0.8),)}, right),
        "control-start": Mistake({"controls": (replace(net, start=0.2),)}, right),
        "control-end": Mistake({"controls": (replace(net, end=0.6),)}, right),
        "control-guess": Mistake({"guess_mode": True}, right),
        "control-other": Mistake({"controls": (replace(net, spec=OTHER),)}, right),
        "control-bgr": Mistake({"controls": (replace(net, spec=replace(NET, name="swapped", config=BGR.config)),)}, right),
        "adapter-image": Mistake({"controls": (replace(adapter, image="other-48x32"),)}, beside),
        "adapter-scale": Mistake({"controls": (replace(adapter, scale=0.8),)}, beside),
        "adapter-missing": Mistake({"controls": None}, beside),
    }


_LORA = LoraSpec("kohya")


def lora_mistakes(model: str) -> dict[str, Mistake]:
    whole = {"lora": (LoraUse(model, _LORA),)}
    return {
        "lora": Mistake({"lora": ()}, whole),
        "lora-scale": Mistake({"lora": (LoraUse(model, _LORA, 0.8, 0.8),)}, whole),
        "lora-text": Mistake({"lora": (LoraUse(model, _LORA, 1.0, 0.0),)}, whole),
    }



def _misread(**mistakes: Any) -> Fault:
    return lambda _: mistaken(Mistakes(**mistakes))


def _weighted(prompt: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "prompt_syntax": "weighted", **more}


def _word_mistakes(model: str) -> dict[str, Mistake]:
    """A file with fewer vectors, and none."""
    layout = "sdxl" if model == "sdxl" else "a1111"
    three, two = ((Word(model, WordSpec("my-style", vectors, layout)),) for vectors in (3, 2))
    right = {"prompt": "a my-style in the snow", "textual_inversion": three}
    return {"word": Mistake({"textual_inversion": None}, right),
            "word-vectors": Mistake({"textual_inversion": two}, right)}  # fmt: skip


PROMPT_MISTAKES: dict[str, Mistake] = {
    "syntax": Mistake({"prompt_syntax": None}, _weighted(WEIGHTS)),
    "weights": Mistake(right=_weighted(WEIGHTS), fault=_misread(weights=True)),
    "mean": Mistake(right=_weighted("a (red fox in the snow:1.8)"), fault=_misread(mean=True)),
    "chunks": Mistake(right=_weighted(LONG), fault=_misread(chunks=True)),
    "comma": Mistake(right=_weighted(LONGER), fault=_misread(comma=True)),
    "editing": Mistake(right=_weighted(CHANGE, guidance_scale=12.0), fault=_misread(step=1)),
    "turns": Mistake(right=_weighted(TURNS), fault=_misread(step=1)),
    "shares": Mistake(right=_weighted(COMPOSED), fault=_misread(shares=True)),
    "weighted-negative": Mistake(
        right=_weighted("a red fox", negative_prompt=LONG), fault=_misread(chunks=True)),
}  # fmt: skip
# Attention does not mind the order of chunks, but where the prompt is summed up.
POOLED_MISTAKES = {"pooled-chunk": Mistake(right=_weighted(LONG), fault=_misread(pooled=True))}
PROMPT_MODELS = ("sd1", "sd15", "sd21", "sdxl", "sentencepiece")

# Same weights, or nearly the same networks, as one that is checked.
ALIKE = ("sd21-epsilon", "sdxl-fp16", "sdxl-sharded", "lcm-full", "sd35-medium-file", "sd35-large-file",
         *(spec.name for specs in (FLUX2_FILES, CHROMA_FILES, Z_IMAGE_FILES, LUMINA2_FILES, QWEN_IMAGE_FILES) for spec in specs), "flux-dev-file", "flux-schnell-file", "flux-fill-file", "flux-control-file", *(f"flux-{encoding.lower()}" for encoding in ENCODINGS))  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What of a model's folder decides which mistakes can show."""

    pipeline: str
    tokenizer: str
    pad: str
    forced_zeros: bool
    scored: bool  # by an aesthetic score, as a refiner is
    vae: str
    channels: int  # that its U-Net takes
    distilled: bool  # guidance is an input
    text_layers: int  # of the last text encoder
    has_t5: bool
    told_sizes: bool  # its transformer is
    told_guidance: bool  # likewise

    @classmethod
    def of(cls, folder: Path) -> Look:
        def config(name: str) -> dict[str, Any]:
            path = folder / name
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

        index, unet = config("model_index.json"), config("unet/config.json")
        tokens = config("tokenizer/special_tokens_map.json") or config("tokenizer/tokenizer_config.json")
        pad = tokens.get("pad_token", "")
        encoder = config("text_encoder_2/config.json") or config("text_encoder/config.json")
        return cls(
            index["_class_name"], (index.get("tokenizer") or [None, None])[1] or "",
            pad["content"] if isinstance(pad, dict) else pad, index.get("force_zeros_for_empty_prompt", True),
            index.get("requires_aesthetics_score", False), (index.get("vae") or [None, None])[1] or "",
            unet.get("in_channels", 4), unet.get("time_cond_proj_dim") is not None, encoder.get("num_hidden_layers", 0),
            bool((index.get("text_encoder_3") or [None])[0]), config("transformer/config.json").get("sample_size") == 128,
            config("transformer/config.json").get("guidance_embeds", False),
        )  # fmt: skip


# How the names of pipelines begin, what is asked of their models, and the mistakes.
TRANSFORMERS = (
    ("StableDiffusion3", SD3_BASE, SD3_MISTAKES), ("DiT", DIT_BASE, DIT_MISTAKES), ("PixArt", PIXART_BASE, PIXART_MISTAKES),
    ("QwenImage", QWEN_IMAGE_BASE, QWEN_IMAGE_MISTAKES), ("ZImage", Z_IMAGE_BASE, Z_IMAGE_MISTAKES), ("Lumina2", LUMINA2_BASE, LUMINA2_MISTAKES),
    ("Chroma", CHROMA_BASE, CHROMA_MISTAKES),
)  # fmt: skip

Tried = tuple[PictureRequest, Mistake]


def _tried(mistakes: Mapping[str, tuple[PictureRequest, dict[str, Any], Fault | None]]) -> dict[str, Tried]:
    return {
        name: (base, Mistake(wrong, fault=fault or (lambda _: nullcontext())))
        for name, (base, wrong, fault) in mistakes.items()
    }


def mistakes_of(model: str, folder: Path) -> dict[str, Tried]:
    """The mistakes to be noticed with a model, and what is asked of it besides. The empty name is a folder from elsewhere."""
    if model in ALIKE:
        return {}
    if model == STEERED_SD3:
        return _tried(sd3_control_mistakes())
    if model == STEERED_FLUX:
        return _tried(flux_control_mistakes())
    look, fewer = Look.of(folder), _tried(fewer_mistakes(model))
    if model in MISTAKEN_MODELS:
        return _transformer_mistakes(model, look) | _lora_mistakes_of_transformers(model, look) | fewer
    return (_transformer_mistakes(model, look) or _unet_mistakes(model, look)) | fewer


def _transformer_mistakes(model: str, look: Look) -> dict[str, Tried]:
    for begin, base, faults in TRANSFORMERS:
        if look.pipeline.startswith(begin):
            missing = (() if look.has_t5 else ("t5-",)) + (() if look.told_sizes else ("told-",))
            return {
                name: (base, Mistake(wrong, fault=fault or (lambda _: nullcontext())))
                for name, (wrong, fault) in faults.items()
                if not name.startswith(missing)
            }
    if look.pipeline.startswith("Flux2"):
        return _tried(flux2_mistakes(model))
    if look.pipeline.startswith("Flux"):
        return {
            name: (flux_base(model), Mistake(wrong, fault=fault or (lambda _: nullcontext())))
            for name, (wrong, fault) in flux_mistakes(look.pipeline, look.told_guidance).items()
        }
    return {}


def _lora_mistakes_of_transformers(model: str, look: Look) -> dict[str, Tried]:
    base = next((base for begin, base, _ in TRANSFORMERS if look.pipeline.startswith(begin)), None) or flux_base(model)
    mistakes = transformer_lora_mistakes(model)
    return {name: (base, Mistake(wrong, right)) for name, (right, wrong) in mistakes.items()}


def _unet_mistakes(model: str, look: Look) -> dict[str, Tried]:
    if look.pipeline in ("DDPMPipeline", "DDIMPipeline"):
        mistakes = UNCONDITIONAL_MISTAKES | (DDIM_MISTAKES if look.pipeline == "DDIMPipeline" else DDPM_MISTAKES)
        base = replace(UNCONDITIONAL_BASE, seed=21)
        return {name: (base, mistake) for name, mistake in mistakes.items()}
    mistakes = dict(MISTAKES)
    xl = "StableDiffusionXL" in look.pipeline
    if xl:
        mistakes |= XL_MISTAKES | (FORCED_ZEROS if look.forced_zeros else {})
    elif look.tokenizer.startswith("CLIPTokenizer"):
        mistakes |= SD_MISTAKES | (PAD_MISTAKES if look.pad == "!" else {})
    if look.text_layers > 9:
        mistakes |= DEEP_TEXT_MISTAKES
    if look.distilled:  # the negative prompt is no input
        mistakes = {name: mistake for name, mistake in mistakes.items() if name not in ("negative", "forced-zeros")}
    if model:
        mistakes |= IMAGE_MISTAKES
        if look.vae == "AutoencoderTiny":  # which draws nothing
            del mistakes["image-draws"]
        mistakes |= INPAINT_MISTAKES | BLENDED_MISTAKES if model in BLENDED else {}
    if model in PROMPT_MODELS:
        mistakes |= PROMPT_MISTAKES | _word_mistakes(model) | (POOLED_MISTAKES if xl else {})
    if model in ("sd15", "sd21", "sdxl"):
        mistakes |= lora_mistakes(model)
    base = BASE
    if look.scored:  # a refiner has only pictures to begin with, and no target size
        base = replace(BASE, **_PICTURE)
        mistakes = {name: mistake for name, mistake in mistakes.items() if name not in ("target-size", "image-strength-1")}
        mistakes["score"] = REFINER_MISTAKES["score"]
    if look.channels != 4 and model:  # they take no picture without a mask, or without a depth map
        more = {"mask": "corner-32x32"} if look.channels == 9 else {"depth": "photo-32x32"}
        base = replace(BASE, **_PICTURE, **more)
        mistakes = {name: mistake for name, mistake in mistakes.items() if name not in IMAGE_MISTAKES}
        mistakes |= INPAINT_MISTAKES | SHOWN_MISTAKES if look.channels == 9 else DEPTH_MISTAKES
    tried = {name: (base, mistake) for name, mistake in mistakes.items()}
    if model in ("sd15", "sdxl"):
        tried |= {name: (BASE, mistake) for name, mistake in _steered(model).items()}
    if model == "sdxl":
        pair = replace(BASE, refiner="refiner", refiner_start=0.4)
        tried |= {f"refiner-{name}": (pair, mistake) for name, mistake in REFINER_MISTAKES.items()}
    return tried


def check_mistake(model: str, name: str, store: ModelStore) -> Outcome:
    """The outcome carries an error where the wrong picture could pass for the right one or hides its mistake in less than a
    twentieth of the samples."""
    base, mistake = mistakes_of(model, store.locate(model))[name]
    pipe = store.pipeline(model)
    large = takes_text(pipe) and backbone(pipe).config.get("sample_size", 0) * pipe.vae_scale_factor > 32
    if base.refiner is None and large and model:
        base = replace(base, width=48, height=32)
    right = replace(base, **mistake.right)
    change = dict(mistake.wrong)
    if "prediction_type" in change and pipe.scheduler.config.prediction_type == change["prediction_type"]:
        change = {"prediction_type": "epsilon"}
    wrong = replace(right, **change)
    picture = store.pictures(model, [right])[0]
    refiner, *others = store.companions(wrong)
    pipe = store.with_files(model, wrong)
    with mistake.fault(refiner or pipe):
        other = render(pipe, [wrong], refiner, *others)[0]
    maximum, differing, beyond = compare(other, picture)
    outcome = Outcome(f"{model}/sensitivity-{name}", differing=differing, beyond=beyond)
    if maximum <= VISIBLE or beyond < 0.05:
        outcome.error = f"a wrong input hardly shows: max {maximum}, {beyond:.1%} beyond the tolerance"
    return outcome
