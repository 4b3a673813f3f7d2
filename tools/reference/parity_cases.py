"""What the parity run asks of both programs."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from itertools import product

from .chroma import chroma_cases
from .control_cases import control_cases
from .dit import dit_cases
from .family_cases import family_cases
from .fewer_cases import fewer_cases
from .flux import flux_cases
from .flux2 import flux2_cases
from .image_cases import image_cases
from .inpaint_cases import inpaint_cases
from .lora_cases import lora_cases
from .lumina2 import lumina2_cases
from .parity_case import ParityCase
from .parity_models import MODELS, SCHEDULER_MODELS
from .pictures import PictureRequest
from .pixart import pixart_cases
from .prompt_cases import prompt_cases
from .quantized import quantized_cases
from .qwen_image import qwen_image_cases
from .schedulers import SCHEDULERS, TAKE_ETA, has, predictions, sigma_schedules, spacings
from .sd3 import sd3_cases
from .transformer_control_cases import flux_control_cases, sd3_control_cases
from .transformer_lora_cases import transformer_lora_cases
from .unconditional import unconditional_cases
from .z_image import z_image_cases

SPACINGS = ("leading", "linspace", "trailing")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
FIRST = ("ddpm", "ddim", "plms", "euler", "dpm++2m")  # in every combination; the others in fewer

LONG_PROMPT = "a very long prompt about " + ", ".join(f"{n} red foxes and {n} blue birds" for n in range(30))
PROMPTS = {
    "empty": "",
    "spaces": "  \t ",
    "one-letter": "x",
    "long": LONG_PROMPT,
    "exactly-cut": "fox " * 75,
    "one-too-many": "fox " * 76,
    "unicode": "Ein rotes Haus, красный дом, 一只红苹果 🦊 ΟΔΟΣ İstanbul",
    "right-to-left": "قطة حمراء על הגג",
    "combining": "e\u0301te\u0301 n\u0303 \u1100\u1161\u11a8 a\u200db",
    "specials": "a fox<|endoftext|> in the <|startoftext|>snow",
    "brackets": "[a, b] (fox:1.3), {x|y} --seed 5",
    "apostrophes": "it's the fox's 123rd day, they'll say \"don't\"!",
    "newline": "a fox\nin the\r\nsnow",
}
SEEDS = (1, 2**31, 2**32 - 1, 2**32, 2**32 + 7, 2**40 + 5, 2**63, 2**64 - 1)


def parity_cases() -> Iterator[ParityCase]:
    yield from _scheduler_grid()
    yield from _all_schedulers()
    yield from _guidance_rescale()
    yield from _steps()
    yield from _noise()
    yield from _prompts()
    yield from _numbers()
    yield from _batches()
    yield from _neighbours()
    yield from _scheduler_configs()
    yield from _folders()
    yield from family_cases()
    yield from lora_cases()
    yield from transformer_lora_cases()
    yield from control_cases()
    yield from unconditional_cases()
    yield from sd3_cases()
    yield from sd3_control_cases()
    yield from flux_cases()
    yield from flux_control_cases()
    yield from flux2_cases()
    yield from chroma_cases()
    yield from pixart_cases()
    yield from dit_cases()
    yield from z_image_cases()
    yield from qwen_image_cases()
    yield from lumina2_cases()
    yield from quantized_cases()
    yield from fewer_cases()
    yield from image_cases()
    yield from prompt_cases()
    yield from inpaint_cases()


_PIPELINES = {spec.name: spec.pipeline for spec in MODELS}


def traits(case: ParityCase) -> Iterator[Hashable]:
    """What a sample must have a case of: every model and form of file, every option in every pipeline, every value of an
    option, every adapter in every form, and every way of a batch."""
    if case.always:
        yield case.label
    yield case.place
    yield case.images, case.batch_size
    yield case.request.width, case.request.height
    for key, value in case.request.given().items():
        if key in ("width", "height") or (key == "seed" and value < 100):
            continue
        yield key, _PIPELINES[case.model]
        for use in value if key in ("lora", "textual_inversion", "controls") else (value,):
            yield key, getattr(use, "spec", use), getattr(use, "form", "")


def model_cases(width: int, height: int, xl: bool) -> Iterator[ParityCase]:
    """What is asked of any folder (--model) whose own size is width x height."""
    short = PictureRequest(prompt="a red apple on a blue background", negative_prompt="", steps=4, guidance_scale=3.0)
    yield ParityCase("own", "", short)
    for name in SCHEDULERS:
        yield ParityCase(f"scheduler-{name}", "", replace(short, scheduler=name))
    for name, prompt in PROMPTS.items():
        yield ParityCase(f"prompt-{name}", "", replace(short, prompt=prompt, steps=2))
    yield ParityCase("guidance-1", "", replace(short, guidance_scale=1.0))
    yield ParityCase("negative", "", replace(short, negative_prompt="a green tree"))
    yield ParityCase("wide", "", replace(short, width=width * 3 // 2 // 8 * 8, height=height // 2 // 8 * 8))
    yield ParityCase("batch", "", short, images=3, batch_size=2)
    yield ParityCase("long-run", "", replace(short, steps=20))
    if xl:
        yield ParityCase("no-negative", "", replace(short, negative_prompt=None))
        sizes = {"original_size": (2 * width, height), "crop": (24, 8), "target_size": (width, 2 * height)}
        yield ParityCase("sizes", "", replace(short, **sizes))


def _scheduler_grid() -> Iterator[ParityCase]:
    """The first schedulers x spacing x prediction type that the class has."""
    for name, spacing in product(FIRST, SPACINGS):
        for prediction in predictions(name):
            for steps in (1, 7) if prediction == "epsilon" else (7,):
                request = PictureRequest(
                    seed=len(name) + steps, steps=steps, scheduler=name, timestep_spacing=spacing,
                    prediction_type=prediction,
                )  # fmt: skip
                yield ParityCase(f"grid-{name}-{spacing}-{prediction}-{steps}", "sd1", request)
    for name, prediction in product(FIRST, PREDICTIONS[1:]):
        if prediction in predictions(name):
            request = PictureRequest(steps=1, scheduler=name, prediction_type=prediction)
            yield ParityCase(f"grid-{name}-{prediction}-1", "sd1", request)


def _all_schedulers() -> Iterator[ParityCase]:
    """Every scheduler in its own ways: sigma schedules, spacings, prediction types, step counts, zero-SNR, eta."""
    small = PictureRequest(steps=7, width=24, height=24)
    for name in SCHEDULERS:
        base = replace(small, scheduler=name, seed=len(name))
        for spacing in spacings(name):
            yield ParityCase(f"all-{name}-{spacing}", "sd1", replace(base, timestep_spacing=spacing))
        for sigmas in sigma_schedules(name)[1:]:
            yield ParityCase(f"all-{name}-{sigmas}", "sd1", replace(base, sigma_schedule=sigmas))
        for prediction in predictions(name)[1:]:
            yield ParityCase(f"all-{name}-{prediction}", "sd1", replace(base, prediction_type=prediction))
        for steps in (4, 20):
            yield ParityCase(f"all-{name}-{steps}", "sd1", replace(base, steps=steps))
        if has(name, "use_flow_sigmas"):
            yield ParityCase(f"all-{name}-flow", "sd1", replace(base, prediction_type="flow_prediction"))
            request = replace(base, prediction_type="flow_prediction", steps=1, guidance_scale=1.0)
            yield ParityCase(f"all-{name}-flow-1", "sd1", request)
        if has(name, "rescale_betas_zero_snr"):
            request = replace(base, rescale_betas_zero_snr=True, prediction_type="v_prediction")
            yield ParityCase(f"all-{name}-zero-snr", "sd1", request)
        yield ParityCase(f"all-{name}", "sentencepiece", base)
        yield ParityCase(f"all-{name}-batch", "sd1", base, images=3, batch_size=2)
    for name, eta in product(TAKE_ETA, (0.3, 1.0)):
        yield ParityCase(f"all-eta-{name}-{eta}", "sd1", replace(small, scheduler=name, eta=eta))
    for model in [each for each in SCHEDULER_MODELS if each != "pndm"]:
        yield ParityCase("own", model, small)
        yield ParityCase("own-20", model, replace(small, steps=20))
        yield ParityCase("own-sigmas", model, replace(small, sigma_schedule="karras"))
    yield ParityCase("own", "pndm", small)


def _guidance_rescale() -> Iterator[ParityCase]:
    for rescale, scale in product((0.0, 0.4, 1.0), (1.0, 9.0)):
        request = PictureRequest(guidance_scale=scale, guidance_rescale=rescale, steps=6)
        yield ParityCase(f"rescale-{rescale}-{scale}", "sd1", request)
        yield ParityCase(f"rescale-{rescale}-{scale}", "sd2-v", request, images=2, batch_size=2)


def _steps() -> Iterator[ParityCase]:
    for steps in (1, 2, 3, 4, 13, 30, 50):
        yield ParityCase(f"steps-own-{steps}", "sd1", PictureRequest(steps=steps, guidance_scale=3.0))
    for name, spacing in product(FIRST, SPACINGS):
        request = PictureRequest(steps=50, scheduler=name, timestep_spacing=spacing, width=24, height=24)
        yield ParityCase(f"steps-{name}-{spacing}-50", "sd1", request)
    for name in FIRST:  # np.arange then gives 62 times, the last of them -1
        request = PictureRequest(steps=61, scheduler=name, timestep_spacing="trailing", width=16, height=16)
        yield ParityCase(f"steps-{name}-trailing-61", "sd1", request)
    yield ParityCase("spacing-own", "sd1", PictureRequest(timestep_spacing="trailing"))
    yield ParityCase("prediction-own", "sd1", PictureRequest(prediction_type="v_prediction"))
    yield ParityCase("defaults", "sd1", PictureRequest(steps=None, guidance_scale=None, seed=5))


def _noise() -> Iterator[ParityCase]:
    for spacing, eta in product(SPACINGS, (0.3, 1.0)):
        request = PictureRequest(scheduler="ddim", timestep_spacing=spacing, eta=eta, seed=3)
        yield ParityCase(f"eta-{spacing}-{eta}", "sd1", request)
    for prediction in PREDICTIONS[1:]:
        request = PictureRequest(scheduler="ddim", prediction_type=prediction, eta=0.7, steps=13)
        yield ParityCase(f"eta-{prediction}", "sd1", request)
    yield ParityCase("eta-own", "sd2-v", PictureRequest(eta=0.5, steps=9))
    yield ParityCase("eta-one-step", "sd1", PictureRequest(scheduler="ddim", eta=1.0, steps=1))
    yield ParityCase("eta-long", "sd1", PictureRequest(scheduler="ddim", eta=1.0, steps=50, width=24, height=40))
    yield ParityCase("eta-guidance-1", "sd1", PictureRequest(scheduler="ddim", eta=1.0, guidance_scale=1.0))


def _prompts() -> Iterator[ParityCase]:
    for name, prompt in PROMPTS.items():
        yield ParityCase(f"prompt-{name}", "sd1", PictureRequest(prompt=prompt, steps=4))
        yield ParityCase(f"prompt-{name}", "tokenizer-json", PictureRequest(prompt=prompt, steps=2))
        if name != "specials":
            yield ParityCase(f"prompt-{name}", "sentencepiece", PictureRequest(prompt=prompt, steps=3))
    for name in ("empty", "long", "unicode", "one-letter"):
        request = PictureRequest(negative_prompt=PROMPTS[name], steps=4)
        yield ParityCase(f"negative-{name}", "sd1", request)
        yield ParityCase(f"negative-{name}", "sentencepiece", request)


def _numbers() -> Iterator[ParityCase]:
    for seed in SEEDS:
        yield ParityCase(f"seed-{seed}", "sd1", PictureRequest(seed=seed, steps=3))
    yield ParityCase("seed-noise-draws", "sd1", PictureRequest(seed=2**64 - 1, scheduler="ddpm", steps=5))
    for scale in (0.0, 0.5, 1.0, 1.01, 2.0, 20.0):
        yield ParityCase(f"guidance-{scale}", "sd1", PictureRequest(guidance_scale=scale))
    for name in FIRST:
        yield ParityCase(f"guidance-1-{name}", "sd1", PictureRequest(guidance_scale=1.0, scheduler=name))
    for width, height in ((8, 8), (16, 8), (24, 48), (40, 24), (72, 16), (64, 64)):
        yield ParityCase(f"size-{width}x{height}", "sd1", PictureRequest(width=width, height=height))
    for width, height in ((40, 56), (56, 40), (24, 72), (8, 24), (88, 8)):
        yield ParityCase(f"size-{width}x{height}", "deep", PictureRequest(width=width, height=height, steps=5))


def _batches() -> Iterator[ParityCase]:
    for images, batch in ((3, 1), (3, 2), (3, 3), (5, 4), (2, 8)):
        request = PictureRequest(seed=11, steps=5, width=40, height=24)
        yield ParityCase(f"batch-{images}-{batch}", "sd1", request, images, batch)
    for name, eta in (("ddpm", None), ("ddim", 0.8), ("euler", None)):
        request = PictureRequest(seed=12, steps=6, scheduler=name, eta=eta)
        yield ParityCase(f"batch-noise-{name}", "sd1", request, images=3, batch_size=2)
    yield ParityCase("batch-guidance-1", "sd1", PictureRequest(guidance_scale=1.0), images=3, batch_size=2)
    # Latents of 5x5x4 = 100 values: no multiple of 16, where torch's generator takes another path at the end.
    request = PictureRequest(scheduler="ddpm", width=40, height=40, steps=4)
    yield ParityCase("batch-odd", "deep", request, images=3, batch_size=3)


def _neighbours() -> Iterator[ParityCase]:
    """Lines that differ from the next one in a single option: a batch must not take them for alike."""
    text = PictureRequest(steps=4, width=24, height=24, scheduler="ddim", timestep_spacing="leading", eta=0.5,
                          negative_prompt="rain", prompt_syntax="weighted")  # fmt: skip
    image = replace(text, init_image="photo-24x24", strength=0.7)
    masked = replace(image, mask="corner-32x32", mask_blur=2)
    xl = replace(text, eta=None, original_size=(96, 48), crop=(24, 8), target_size=(40, 72))
    changes = {
        "sd1": ((text, {"prompt": "a blue bird"}), (text, {"negative_prompt": "a red fox"}), (text, {"width": 40}),
                (text, {"height": 40}), (text, {"steps": 5}), (text, {"guidance_scale": 3.0}),
                (replace(text, timestep_spacing=None), {"scheduler": TAKE_ETA[-1]}),
                (text, {"timestep_spacing": "trailing"}), (text, {"prediction_type": "v_prediction"}), (text, {"eta": 1.0}),
                (text, {"rescale_betas_zero_snr": True}), (text, {"guidance_rescale": 0.7}), (text, {"clip_skip": 1}),
                (text, {"prompt": "a red fox AND a blue bird"}), (image, {"init_image": "other-32x32"}),
                (image, {"strength": 0.9}), (masked, {"mask": "ring-32x32"}), (masked, {"mask_blur": 4}),
                (masked, {"only_masked": 4}), (masked, {"mask": None, "mask_blur": None}),
                (replace(text, scheduler="euler", eta=None), {"sigma_schedule": "karras"})),
        "sdxl-small": ((xl, {"original_size": (48, 96)}), (xl, {"crop": (8, 24)}), (xl, {"target_size": (72, 40)}),
                       (xl, {"clip_skip": 1}), (xl, {"negative_prompt": None})),
    }  # fmt: skip
    for model, pairs in changes.items():
        for number, (request, change) in enumerate(pairs):
            for place, each in enumerate((request, replace(request, **change))):
                name = f"neighbour-{'-'.join(change)}-{number:02}-{place}"
                yield ParityCase(name, model, replace(each, seed=number), batch_size=2, always=True)


def _scheduler_configs() -> Iterator[ParityCase]:
    networks = ("sd2-v", "sample")
    configs = ("outdated-config", "bare-config", "bare-pndm", "thresholding", "clip-range", "zero-snr", "cosine")
    for model in networks + configs:
        yield ParityCase("own", model, PictureRequest(seed=2))
        for name in FIRST:
            if name == "plms" and model in ("sample", "zero-snr"):
                continue
            yield ParityCase(f"scheduler-{name}", model, PictureRequest(seed=2, scheduler=name))
        yield ParityCase("spacing", model, PictureRequest(seed=2, timestep_spacing="linspace"))
    # Not ddim: thresholding x0 but not epsilon makes its long runs unstable, the reference's own rounding shows.
    for name in ("ddpm", "dpm++2m"):
        request = PictureRequest(scheduler=name, guidance_scale=2.0, steps=20)
        yield ParityCase(f"long-{name}", "thresholding", request)


def _folders() -> Iterator[ParityCase]:
    for model in ("deep", "sentencepiece", "tokenizer-json", "fp16", "sharded", "sharded-fp16"):
        yield ParityCase("own", model, PictureRequest(seed=6))
        yield ParityCase("own-20", model, PictureRequest(seed=7, steps=20, negative_prompt="blurry"))
