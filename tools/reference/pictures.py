"""Whole pictures by diffusers, asked for in sdgen's words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, DiffusionPipeline, T2IAdapter, UNet2DModel
from PIL import Image

from .control_files import ControlUse, Network
from .control_files import arguments as control_arguments
from .control_pictures import controlled
from .fewer_calls import fewer_calls
from .image_files import input_file, input_picture
from .lora_files import LoraUse
from .repainting import overlaid, picture_and_mask
from .schedulers import FLOW_SIDE, class_has, distilled, on_flow, row, sigma_keys
from .transformer_controls import controlled_transformer
from .weighted_prompts import arguments as weighted_arguments
from .weighted_prompts import composed, is_weighted
from .words import Word

REFINER_START = 0.8  # sdgen's default
BINNED = (32, 64, 128, 256)  # sample sizes of which PixArt's pipelines have a table of sizes


@dataclass(frozen=True)
class PictureRequest:
    """One picture; field names are sdgen's long options, None is "flag not given". Without a negative prompt SDXL takes
    zeros where the model says so; an empty one is encoded."""

    prompt: str | None = "a red fox in the snow"
    negative_prompt: str | None = None
    prompt_2: str | None = None
    prompt_3: str | None = None
    negative_prompt_2: str | None = None
    negative_prompt_3: str | None = None
    max_sequence_length: int | None = None
    width: int | None = None
    height: int | None = None
    seed: int = 0
    steps: int | None = 7
    guidance_scale: float | None = 6.5
    true_cfg_scale: float | None = None
    scheduler: str | None = None
    timestep_spacing: str | None = None
    prediction_type: str | None = None
    eta: float | None = None
    flow_shift: float | None = None
    sigma_schedule: str | None = None
    rescale_betas_zero_snr: bool | None = None
    guidance_rescale: float | None = None
    guidance_interval: tuple[float, float] | None = None
    cache: str | None = None
    clip_skip: int | None = None
    skip_layers: tuple[int, ...] | None = None
    skip_layer_scale: float | None = None
    skip_layer_start: float | None = None
    skip_layer_stop: float | None = None
    original_size: tuple[int, int] | None = None  # width, height
    crop: tuple[int, int] | None = None  # left, top
    target_size: tuple[int, int] | None = None  # width, height
    refiner: str | None = None  # MODEL or MODEL@FORM, see ModelStore
    refiner_start: float | None = None
    unet: str | None = None  # MODEL@unet-folder or MODEL@FORM
    vae: str | None = None  # MODEL@vae-folder or MODEL@FORM
    text_encoder: tuple[str, ...] | None = None  # MODEL@PART-folder or MODEL@FORM, in any order
    init_image: str | None = None  # a name of image_files.py
    strength: float | None = None
    mask: str | None = None  # likewise
    mask_blur: int | None = None
    only_masked: int | None = None
    extend: tuple[int, int, int, int] | None = None  # left, top, right, bottom
    depth: str | None = None  # likewise
    control_image: str | None = None  # likewise, of models that take it into their channels
    reference_image: tuple[str, ...] | None = None  # likewise, of what is shown
    lora: tuple[LoraUse, ...] | None = None
    prompt_syntax: str | None = None
    textual_inversion: tuple[Word, ...] | None = None
    controls: tuple[ControlUse, ...] | None = None  # ControlNets, then T2I-Adapters
    guess_mode: bool | None = None
    quantize: str | None = None

    def given(self) -> dict[str, Any]:
        """The fields that are set."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: value for key, value in values.items() if value is not None}

    def arguments(self, locate: Callable[[Any], Path] = Path) -> list[str]:
        """The same as sdgen's command line; `locate` knows where models and LoRAs are."""
        given = self.given()
        more = [f"--lora={use.argument(locate(use))}" for use in given.pop("lora", ())]
        words = given.pop("textual_inversion", ())
        more += [f"--textual-inversion={locate(word)}" for word in words]
        more += [f"--text-encoder={locate(place)}" for place in given.pop("text_encoder", ())]
        more += [f"--reference-image={input_file(name)}" for name in given.pop("reference_image", ())]
        uses = given.pop("controls", ())
        more += control_arguments(uses, [locate(use) for use in uses], [input_file(use.image) for use in uses])
        for key in ("refiner", "unet", "vae"):
            if key in given:
                given[key] = locate(given[key])
        for key in ("init_image", "mask", "depth", "control_image"):
            if key in given:
                given[key] = input_file(given[key])
        for key, separator in (("original_size", "x"), ("crop", ","), ("target_size", "x"), ("extend", ","), ("skip_layers", ","),
                               ("guidance_interval", ",")):
            if key in given:
                given[key] = separator.join(map(str, given[key]))
        flags = {f"--{key.replace('_', '-')}": value for key, value in given.items()}
        return more + [flag if value is True else f"{flag}={value}" for flag, value in flags.items()]


def load_pipeline(folder: Path, variant: str | None = None) -> DiffusionPipeline:
    """The folder as diffusers reads it, in float32 on the CPU."""
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    class_name = index["_class_name"]
    checked = class_name.startswith("StableDiffusion") and not class_name.startswith(("StableDiffusionXL", "StableDiffusion3"))
    unwanted = {"safety_checker": None, "feature_extractor": None} if checked else {}
    if class_name == "StableDiffusionDepth2ImgPipeline":
        unwanted = {"depth_estimator": None, "feature_extractor": None}
    if class_name == "StableDiffusion3Pipeline":  # which wants to hear that they are not there
        unwanted = {name: None for name in ("text_encoder_3", "tokenizer_3") if index[name][0] is None}
    pipe = getattr(diffusers, class_name).from_pretrained(
        folder, variant=variant, dtype=torch.float32, local_files_only=True, **unwanted
    )
    pipe.set_progress_bar_config(disable=True)
    if class_name == "ChromaPipeline":  # whose inpainting asks for a key that its transformer has not, and has no use for it
        pipe.transformer.register_to_config(guidance_embeds=False)
    # diffusers' clip_skip asks for text_encoder.text_model, which transformers 5 did away with: it is the encoder itself.
    # Put into __dict__, past Module's own __setattr__, because it is not a child.
    if getattr(pipe, "text_encoder", None) is not None and not hasattr(pipe.text_encoder, "text_model"):
        object.__setattr__(pipe.text_encoder, "text_model", pipe.text_encoder)
    return pipe


def is_xl(pipe: DiffusionPipeline) -> bool:
    return "StableDiffusionXL" in type(pipe).__name__


def _family(pipe: DiffusionPipeline) -> str:
    """How the names of its pipelines begin."""
    return next(name for name in ("StableDiffusionXL", "StableDiffusion3", "StableDiffusion", "LatentConsistency", "Flux", "ZImage", "Chroma", "QwenImage")
                if type(pipe).__name__.startswith(name)).replace("LatentConsistency", "StableDiffusion")  # fmt: skip


def backbone(pipe: DiffusionPipeline) -> Any:
    """The network that denoises."""
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


def takes_text(pipe: DiffusionPipeline) -> bool:
    return type(pipe).__name__ not in ("DDPMPipeline", "DDIMPipeline", "DiTPipeline")


def choose_scheduler(pipe: DiffusionPipeline, request: PictureRequest) -> Any:
    """The scheduler that the request's flags mean. With a name: that class `from_config` of the pipeline's own config,
    which has been through the pipeline's corrections; from_config leaves out keys that the folder did not state, so
    their corrections are lost. Without a name: the pipeline's own, corrections included, with the options changed."""
    options: dict[str, Any] = {}
    if request.sigma_schedule is not None:
        options |= sigma_keys(request.sigma_schedule)
    for key in ("timestep_spacing", "prediction_type", "rescale_betas_zero_snr"):
        if getattr(request, key) is not None:
            options[key] = getattr(request, key)
    if request.flow_shift is not None:
        name = type(pipe.scheduler).__name__ if request.scheduler is None else row(on_flow(request.scheduler))[0]
        options |= {"shift" if class_has(name, "shift") else "flow_shift": request.flow_shift}
        options |= {"use_dynamic_shifting": False} if class_has(name, "use_dynamic_shifting") else {}
    if request.prediction_type == FLOW_SIDE["prediction_type"]:
        options |= FLOW_SIDE
    if request.scheduler is None:
        effective = {key: value for key, value in pipe.scheduler.config.items() if key != "_use_default_values"}
        return type(pipe.scheduler).from_config(effective, **options) if options else pipe.scheduler
    flow = type(pipe.scheduler).__name__.startswith("FlowMatch")
    name, fixed = row(on_flow(request.scheduler) if flow else request.scheduler)
    if flow and class_has(name, "use_flow_sigmas"):
        options = FLOW_SIDE | options
    return getattr(diffusers, name).from_config(pipe.scheduler.config, **fixed, **options)


@contextmanager
def _as_asked(pipe: DiffusionPipeline, request: PictureRequest, vae: AutoencoderKL | None = None) -> Iterator[None]:
    """The pipeline with the request's scheduler and VAE; afterwards it is as it was."""
    own, own_vae = pipe.scheduler, getattr(pipe, "vae", None)
    pipe.scheduler = choose_scheduler(pipe, request)
    if vae is not None:
        pipe.vae = vae
    try:
        calls = fewer_calls(pipe, request.cache, request.guidance_interval)
        with torch.no_grad(), composed(pipe, request, _guidance(pipe, request)), calls:
            yield
    finally:
        pipe.scheduler = own
        if vae is not None:
            pipe.vae = own_vae


def render(
    pipe: DiffusionPipeline, requests: list[PictureRequest], refiner: DiffusionPipeline | None = None,
    vae: AutoencoderKL | None = None, controls: list[Network] | None = None,
) -> list[np.ndarray]:  # fmt: skip
    """The pictures of `requests`, which share everything but prompts and seed, as uint8 [height, width, 3] in one
    batch. The pipelines are left as they were. The refiner has the same flags, a scheduler made of its own config, its
    own VAE unless `vae` replaces both, and generators that start again."""
    first = requests[0]
    size = {"width": first.width, "height": first.height}
    if type(pipe).__name__ == "DiTPipeline":
        with _as_asked(pipe, first, vae):
            images = pipe(**_classes_call(pipe, requests)).images
    elif not takes_text(pipe):
        with _as_asked(pipe, first), _resized(pipe.unet, first):
            images = pipe(**_unconditional_call(pipe, requests), output_type="pil").images
    elif controls:
        with _as_asked(pipe, first, vae):
            images = _controlled(pipe, requests, controls)
    elif first.mask is not None or first.extend is not None:
        images = _repainted(pipe, requests, refiner, vae)
    elif first.init_image is not None:
        images = _of_pictures(pipe, requests, refiner, vae)
    elif refiner is None:
        with _as_asked(pipe, first, vae):
            images = pipe(**_known(pipe, _call(pipe, requests)), **size, output_type="pil").images
    else:
        start = REFINER_START if first.refiner_start is None else first.refiner_start
        with _as_asked(pipe, first, vae):
            latents = pipe(**_call(pipe, requests), **size, denoising_end=start, output_type="latent").images
        with _as_asked(refiner, first, vae):
            images = refiner(**_call(refiner, requests, pipe.num_timesteps), image=latents, denoising_start=start).images
    return [np.array(image.convert("RGB")) for image in images]


def _controlled(pipe: DiffusionPipeline, requests: list[PictureRequest], controls: list[Network]) -> list[Any]:
    """What pictures steer; `controls` are the request's networks."""
    first = requests[0]
    call = _call(pipe, requests) | {"width": first.width, "height": first.height}
    init = mask = None
    if first.init_image is not None:
        init, call["strength"] = input_picture(first.init_image), first.strength
    if first.mask is not None:
        init, mask = picture_and_mask(first, pipe.vae_scale_factor)
    if isinstance(controls[0], ControlNetModel | T2IAdapter):
        steering = {"guess": bool(first.guess_mode), "xl": is_xl(pipe), "init": init, "mask": mask}
        images = controlled(pipe, first.controls, controls, call, **steering)
    else:
        images = controlled_transformer(pipe, first.controls, controls, call, init, mask)
    return images if mask is None else [overlaid(pipe, image, init, mask) for image in images]


def _of_pictures(
    pipe: DiffusionPipeline, requests: list[PictureRequest], refiner: DiffusionPipeline | None,
    vae: AutoencoderKL | None,
) -> list[Any]:  # fmt: skip
    """Image to image by the pipeline class of the model's family, each picture from its own generator."""
    first = requests[0]
    picture = input_picture(first.init_image)
    if first.width is not None or first.height is not None:
        factor = pipe.vae_scale_factor
        own = [side // factor * factor for side in picture.size]
        picture = picture.resize((first.width or own[0], first.height or own[1]), Image.Resampling.LANCZOS)
    start = REFINER_START if first.refiner_start is None else first.refiner_start
    with _as_asked(pipe, first, vae):
        name = f"{_family(pipe)}Img2ImgPipeline"
        if first.depth is not None:
            name = "StableDiffusionDepth2ImgPipeline"
        if type(pipe).__name__ == "LatentConsistencyModelPipeline" and (first.scheduler is None or distilled(first.scheduler)):
            name = "LatentConsistencyModelImg2ImgPipeline"
        maker = pipe if type(pipe).__name__ == name else getattr(diffusers, name).from_pipe(pipe, vae=pipe.vae)
        maker.set_progress_bar_config(disable=True)
        asked = {**_call(pipe, requests), "image": [picture] * len(requests)}
        if name in ("StableDiffusion3Img2ImgPipeline", "FluxImg2ImgPipeline", "ChromaImg2ImgPipeline", "QwenImageImg2ImgPipeline"):  # which take their model's own size for it
            asked |= {"width": picture.width, "height": picture.height}
        if first.strength is not None:
            asked["strength"] = first.strength
        if first.depth is not None:
            grey = np.array(input_picture(first.depth).convert("L")).astype(np.float32) / 255
            asked["depth_map"] = torch.from_numpy(grey)[None]
        if refiner is not None:
            asked |= {"denoising_end": start, "output_type": "latent"}
        known = signature(type(maker).__call__).parameters
        images = maker(**{key: value for key, value in asked.items() if key in known}).images
    if refiner is not None:
        with _as_asked(refiner, first, vae):
            images = refiner(**_call(refiner, requests, maker.num_timesteps), image=images, denoising_start=start).images
    return images


def _repainted(
    pipe: DiffusionPipeline, requests: list[PictureRequest], refiner: DiffusionPipeline | None,
    vae: AutoencoderKL | None,
) -> list[Any]:  # fmt: skip
    """Inpainting by the pipeline class of the model's family. Work on the masked part alone is one picture a call: the
    pipelines then take no list of pictures, and draw all posteriors from the first generator. Else the unmasked pixels
    are put back, which the pipelines leave to their caller."""
    first = requests[0]
    if first.only_masked is not None and len(requests) > 1:
        return [_repainted(pipe, [request], refiner, vae)[0] for request in requests]
    picture, mask = picture_and_mask(first, pipe.vae_scale_factor)
    alone = first.only_masked is not None
    size = {}
    if not alone:
        own = [side // pipe.vae_scale_factor * pipe.vae_scale_factor for side in picture.size]
        size = {"width": first.width or own[0], "height": first.height or own[1]}
    elif first.width is not None:
        size = {"width": first.width, "height": first.height}
    asked = {
        **size, "guidance_scale": 7.5,
        **({"padding_mask_crop": first.only_masked} if alone else {}),
        **({"strength": first.strength} if first.strength is not None else {}),
    }  # fmt: skip
    pictures = {"image": picture, "mask_image": mask}
    if not alone:
        pictures = {key: [value] * len(requests) for key, value in pictures.items()}
    start = REFINER_START if first.refiner_start is None else first.refiner_start
    if refiner is not None:
        asked |= {"denoising_end": start, "output_type": "latent"}
    images = _repaint(pipe, requests, {**asked, **pictures}, vae)
    if refiner is not None:
        asked = {**size, "guidance_scale": 7.5, "denoising_start": start, "image": images, "mask_image": pictures["mask_image"]}
        images = _repaint(refiner, requests, asked, vae)
    return images if alone else [overlaid(pipe, image, picture, mask) for image in images]


def _repaint(pipe: DiffusionPipeline, requests: list[PictureRequest], asked: dict[str, Any], vae: Any) -> Any:
    """The scheduler is assigned to the inpainting pipeline, whose constructor corrects its config."""
    name = "FluxFillPipeline" if type(pipe).__name__ == "FluxFillPipeline" else f"{_family(pipe)}InpaintPipeline"
    maker = pipe if type(pipe).__name__ == name else getattr(diffusers, name).from_pipe(pipe)
    maker.set_progress_bar_config(disable=True)
    with _as_asked(maker, requests[0], vae):
        call = _call(pipe, requests)
        if requests[0].guidance_scale is not None:
            asked = {**asked, "guidance_scale": call["guidance_scale"]}
        elif _family(pipe) in ("Flux", "ZImage", "Chroma", "QwenImage"):  # whose default is its own
            del asked["guidance_scale"]
        known = signature(type(maker).__call__).parameters
        return maker(**{key: value for key, value in {**call, **asked}.items() if key in known}).images


@contextmanager
def _resized(unet: UNet2DModel, request: PictureRequest) -> Iterator[None]:
    """The network says that the request's size is its own: its pipelines know no other way."""
    own = unet.config.sample_size
    height, width = (own, own) if isinstance(own, int) else own
    unet.register_to_config(sample_size=(request.height or height, request.width or width))
    try:
        yield
    finally:
        unet.register_to_config(sample_size=own)


def _known(pipe: DiffusionPipeline, call: dict[str, Any]) -> dict[str, Any]:
    """What the pipeline has a parameter for."""
    known = signature(type(pipe).__call__).parameters
    return {key: value for key, value in call.items() if key in known or "kwargs" in known}


def _unconditional_call(pipe: DiffusionPipeline, requests: list[PictureRequest]) -> dict[str, Any]:
    first, ddim = requests[0], type(pipe).__name__ == "DDIMPipeline"
    return {
        "batch_size": len(requests),
        "num_inference_steps": (50 if ddim else 1000) if first.steps is None else first.steps,
        "generator": [torch.Generator("cpu").manual_seed(request.seed) for request in requests],
        **({"eta": first.eta or 0.0} if ddim else {}),
    }


def _classes_call(pipe: DiffusionPipeline, requests: list[PictureRequest]) -> dict[str, Any]:
    """Its names are compared as they are written, sdgen's without case, with any white space, and several together."""
    first, names = requests[0], {name.lower(): number for name, number in pipe.labels.items()}
    prompts = [" ".join(request.prompt.partition(",")[0].lower().split()) for request in requests]
    own = {"num_inference_steps": first.steps, "guidance_scale": first.guidance_scale}
    return {
        "class_labels": [int(prompt) if prompt.isdigit() else names[prompt] for prompt in prompts],
        "generator": [torch.Generator("cpu").manual_seed(request.seed) for request in requests],
        **{key: value for key, value in own.items() if value is not None},
    }


def _guidance(pipe: DiffusionPipeline, request: PictureRequest) -> float:
    scales = {"StableDiffusionXL": 5.0, "PixArt": 4.5, "ZImage": 5.0, "Lumina2": 4.0}
    own = next((scale for name, scale in scales.items() if name in type(pipe).__name__), 7.5)
    return own if request.guidance_scale is None else request.guidance_scale


def _call(pipe: DiffusionPipeline, requests: list[PictureRequest], calls_before: int = 0) -> dict[str, Any]:
    """What base and refiner are both called with. diffusers says sizes as (height, width) and corners as (top, left)."""
    first = requests[0]
    negatives = [request.negative_prompt for request in requests]
    named = [negative or "" for negative in negatives] if any(n is not None for n in negatives) else None
    keys = ("clip_skip", "max_sequence_length", "true_cfg_scale")
    given = {key: value for key in keys if (value := getattr(first, key)) is not None}
    for key in ("prompt_2", "prompt_3", "negative_prompt_2", "negative_prompt_3"):
        if any(getattr(request, key) is not None for request in requests):
            given[key] = [getattr(request, key) or getattr(request, key[:-2]) or "" for request in requests]
    names = {"original_size": "original_size", "crop": "crops_coords_top_left", "target_size": "target_size"}
    given |= {name: getattr(first, key)[::-1] for key, name in names.items() if getattr(first, key) is not None}
    if first.skip_layers is not None:
        names = {"scale": "skip_layer_guidance_scale", "start": "skip_layer_guidance_start", "stop": "skip_layer_guidance_stop"}
        given |= {name: value for key, name in names.items() if (value := getattr(first, f"skip_layer_{key}")) is not None}
        given["skip_guidance_layers"] = list(first.skip_layers)
    call = {
        "prompt": [request.prompt for request in requests],
        "negative_prompt": named,
        "num_inference_steps": 50 if first.steps is None else first.steps,
        "guidance_scale": _guidance(pipe, first),
        "eta": first.eta or 0.0,
        "guidance_rescale": first.guidance_rescale or 0.0,
        "generator": [torch.Generator("cpu").manual_seed(request.seed) for request in requests],
        **given,
        **(weighted_arguments(pipe, first, len(requests), calls_before) if is_weighted(first) else {}),
    }
    if type(pipe).__name__ == "LatentConsistencyModelPipeline":  # takes less, and has defaults of its own
        own = {"num_inference_steps": first.steps, "guidance_scale": first.guidance_scale}
        unsaid = {key for key, value in own.items() if value is None} | {"negative_prompt", "eta", "guidance_rescale"}
        call = {key: value for key, value in call.items() if key not in unsaid}
    if type(pipe).__name__.startswith(("Flux", "Chroma")):
        own = {"num_inference_steps": first.steps, "guidance_scale": first.guidance_scale}
        call = {key: value for key, value in call.items() if own.get(key, 0) is not None}
        if first.control_image is not None:
            call["control_image"] = [input_picture(first.control_image)] * len(requests)
        if type(pipe).__name__ == "FluxKontextPipeline":
            call["max_area"] = first.width * first.height
        if first.reference_image is not None:
            shown = [input_picture(name) for name in first.reference_image]
            call["image"] = shown if type(pipe).__name__ == "Flux2KleinPipeline" else shown * len(requests)
        if type(pipe).__name__ == "Flux2KleinPipeline" and named is not None:  # whose own is always empty
            lengths = {"max_sequence_length": first.max_sequence_length} if first.max_sequence_length else {}
            call["negative_prompt_embeds"] = pipe.encode_prompt(named, **lengths)[0]
    if type(pipe).__name__.startswith("PixArt"):  # sdgen cleans no captions, and draws sizes that diffusers has no table for
        call |= {"negative_prompt": named or [""] * len(requests), "clean_caption": False,
                 "use_resolution_binning": pipe.transformer.config.sample_size in BINNED}  # fmt: skip
    if type(pipe).__name__.startswith("QwenImage"):  # guidance_scale is of networks that were distilled on it
        del call["guidance_scale"]
    if type(pipe).__name__.startswith(("PixArt", "Lumina2", "QwenImage")) and first.steps is None:
        del call["num_inference_steps"]
    return call
