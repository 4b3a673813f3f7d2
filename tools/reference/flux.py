"""Tiny random Flux folders, what the parity run asks of them, and the mistakes that it has to notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from .encodings import BITSANDBYTES, ENCODINGS, round_folder
from .families import FULL_VAE
from .faults import Fault, asked_of_transformer, patched, rescheduled, rolled
from .parity_case import ParityCase
from .pictures import PictureRequest
from .pixart import vae_of_levels
from .random_weights import randomise
from .schedulers import FLOW_SCHEDULERS, class_has, has, row, with_keys
from .taesd import FILES as TAESD_FILES
from .tiny import ModelSpec
from .tiny_text import FIRST_PAD, TEXT_CONFIG, save_text_encoder, write_tokenizer
from .tiny_transformers import FILE_CLIP_L, FILE_T5, SMALL_T5, scale_last, write_flow_vae, write_t5
from .vocabulary import write_json

# scheduler_config.json of FLUX.1-schnell, and of FLUX.1-dev.
FIXED_SCHEDULER: Mapping[str, Any] = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": "0.30.0.dev0",
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "use_dynamic_shifting": False,
}
DYNAMIC_SCHEDULER: Mapping[str, Any] = {**FIXED_SCHEDULER, "shift": 3.0, "use_dynamic_shifting": True}

_TRANSFORMER = {
    "patch_size": 1, "in_channels": 64, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16,
    "num_attention_heads": 2, "joint_attention_dim": 40, "pooled_projection_dim": 32, "axes_dims_rope": (4, 4, 8),
}  # fmt: skip
_VAE = {"scaling_factor": 0.3611, "shift_factor": 0.1159}
# Single files do not tell how the channels of a head are shared among the axes: as in all that were released.
_FILE_TRANSFORMER = {"attention_head_dim": 32, "axes_dims_rope": (4, 14, 14), "pooled_projection_dim": 64}


@dataclass(frozen=True)
class FluxSpec:
    name: str
    seed: int
    transformer: Mapping[str, Any] = field(default_factory=dict)  # keys that differ
    scheduler: Mapping[str, Any] = field(default_factory=lambda: dict(DYNAMIC_SCHEDULER))
    vae: Mapping[str, Any] = field(default_factory=dict)
    tiny_vae: bool = False  # TAEF1
    file: bool = False  # for single files: see transformer_files.py
    encoding: str | None = None  # of its transformer and T5: see encodings.py
    variant: str | None = None
    pipeline: str = "FluxPipeline"

    def build(self, folder: Path) -> None:
        """Writes a diffusers folder. The same spec gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            index = self._text(folder)
            self._transformer(folder)
            if self.encoding:
                round_folder(folder, ("transformer", "text_encoder_2"), self.encoding)
            write_flow_vae(folder / "vae", {**(FULL_VAE if self.file else {}), **_VAE, **self.vae}, self.seed, self.tiny_vae)
        (folder / "scheduler").mkdir()
        write_json(folder / "scheduler" / "scheduler_config.json", self.scheduler)
        write_json(folder / "model_index.json", {
            "_class_name": self.pipeline,
            "_diffusers_version": "0.42.1",
            "scheduler": ["diffusers", self.scheduler["_class_name"]],
            **index,
            "transformer": ["diffusers", "FluxTransformer2DModel"],
            "vae": ["diffusers", "AutoencoderTiny" if self.tiny_vae else "AutoencoderKL"],
        })  # fmt: skip

    def _text(self, folder: Path) -> dict[str, Any]:
        spec = ModelSpec(self.name, self.seed, tokenizer="clip-full" if self.file else "clip")
        words = write_tokenizer(folder / "tokenizer", spec, FIRST_PAD)
        own = FILE_CLIP_L if self.file else {}
        config = {**TEXT_CONFIG, "vocab_size": words.size, "eos_token_id": words.end, **own}
        clip = CLIPTextModel(CLIPTextConfig(**config, bos_token_id=words.begin, pad_token_id=1))
        randomise(clip, self.seed)
        save_text_encoder(folder / "text_encoder", clip, spec)
        return {"tokenizer": ["transformers", words.tokenizer_class], "text_encoder": ["transformers", "CLIPTextModel"],
                **write_t5(folder, "_2", {**SMALL_T5, **(FILE_T5 if self.file else {}), **({"d_model": 64} if self.encoding else {})}, self.seed)}  # fmt: skip

    def _transformer(self, folder: Path) -> None:
        network = FluxTransformer2DModel(**{**_TRANSFORMER, **(_FILE_TRANSFORMER if self.file else {}), **self.transformer})
        randomise(network, self.seed + 1)
        config, generator = network.config, torch.Generator("cpu").manual_seed(self.seed + 100)
        places = torch.stack([torch.zeros(24), torch.arange(24) // 6, torch.arange(24) % 6], -1)
        output = network(
            torch.randn(4, 24, config.in_channels, generator=generator),
            torch.randn(4, 40, config.joint_attention_dim, generator=generator),
            torch.randn(4, config.pooled_projection_dim, generator=generator),
            torch.tensor([1.0, 0.9, 0.5, 0.1]), places, torch.zeros(40, 3),
            torch.full((4,), 3.5) if config.guidance_embeds else None,
        ).sample  # fmt: skip
        # Its output is a difference of noise and picture.
        scale_last(network.proj_out, float(output.std()))
        network.save_pretrained(folder / "transformer")


FLUX: tuple[FluxSpec, ...] = (
    # The latents, the masked picture's, and of the mask all pixels of four latents.
    FluxSpec("flux-fill", 730, {"guidance_embeds": True, "in_channels": 64 + 64 + 64, "out_channels": 64},
             pipeline="FluxFillPipeline"),
    FluxSpec("flux-control", 740, {"guidance_embeds": True, "in_channels": 128, "out_channels": 64},
             pipeline="FluxControlPipeline"),
    FluxSpec("flux-kontext", 750, {"guidance_embeds": True}, vae=vae_of_levels(4), pipeline="FluxKontextPipeline"),
    FluxSpec("flux-dev", 700, {"guidance_embeds": True}),
    FluxSpec("flux-schnell", 710, scheduler=FIXED_SCHEDULER),
    FluxSpec("flux-taef1", 720, {"guidance_embeds": True}, tiny_vae=True),
)
FLUX_FILES: tuple[FluxSpec, ...] = (
    FluxSpec("flux-dev-file", 760, {"guidance_embeds": True, "num_layers": 1, "num_single_layers": 3}, file=True),
    FluxSpec("flux-schnell-file", 770, scheduler=FIXED_SCHEDULER, file=True),
    FluxSpec("flux-fill-file", 780, {"guidance_embeds": True, "in_channels": 64 + 64 + 256, "out_channels": 64},
             pipeline="FluxFillPipeline", file=True),
    FluxSpec("flux-control-file", 790, {"guidance_embeds": True, "in_channels": 128, "out_channels": 64},
             pipeline="FluxControlPipeline", file=True),
    *(FluxSpec(f"flux-{encoding.lower()}", 7900 + number, {"guidance_embeds": True, "joint_attention_dim": 64}, file=True,
               encoding=encoding) for number, encoding in enumerate(ENCODINGS)),
)  # fmt: skip

# Of as many layers as a ControlNet has places behind, with latents as large as XLabs' fold.
FLUX_STEERED: tuple[FluxSpec, ...] = (
    FluxSpec("flux-deep", 760, {"guidance_embeds": True, "num_layers": 5, "num_single_layers": 4}, vae=vae_of_levels(4)),
)

BASE = PictureRequest(seed=3, steps=4, guidance_scale=3.5, width=48, height=32)
LONG = "a very long prompt about " + ", ".join(f"{n} red foxes and {n} blue birds" for n in range(60))
PROMPTS = {"empty": "", "unicode": "Ein rotes Haus, красный дом, 一只红苹果 🦊", "space": "  a  fox\n in snow ", "long": LONG}
PHOTO = {"init_image": "photo-32x32", "width": 32, "height": 32}
PAINTED = {"init_image": "photo-64x48", "mask": "disc-64x48", "width": 64, "height": 48}


def base_of(model: str) -> PictureRequest:
    own: dict[str, dict[str, Any]] = {
        "flux-schnell": {"guidance_scale": 0.0},
        "flux-fill": {"guidance_scale": 30.0, **PAINTED},
        "flux-control": {"control_image": "photo-48x32"},
        "flux-kontext": {"reference_image": ("photo-40x64",), "steps": 2},
    }
    return replace(BASE, **own.get(model.removesuffix("-file"), {}))


def flux_cases() -> Iterator[ParityCase]:
    for model in ("flux-dev", "flux-schnell"):
        base = base_of(model)
        for steps in (1, 4, 9):
            yield ParityCase(f"steps-{steps}", model, replace(base, steps=steps))
        for width, height in ((40, 24), (8, 64), (72, 48), (128, 96)):
            yield ParityCase(f"size-{width}x{height}", model, replace(base, width=width, height=height))
        for name, prompt in PROMPTS.items():
            yield ParityCase(name, model, replace(base, prompt=prompt))
        yield ParityCase("batch", model, base, images=3, batch_size=2)
        yield from _guided(model, base)
        yield from _of_pictures(model, base)
    for scale in (0.0, 1.0, 30.0):
        yield ParityCase(f"guidance-{scale}", "flux-dev", replace(BASE, guidance_scale=scale))
    yield ParityCase("defaults", "flux-dev", replace(BASE, steps=None, guidance_scale=None))
    yield ParityCase("image-defaults", "flux-dev", replace(BASE, steps=5, guidance_scale=None, **PHOTO))
    for name, keys in (("prompt-2", {"prompt_2": "a blue bird"}), ("empty-2", {"prompt_2": ""})):
        yield ParityCase(f"told-{name}", "flux-dev", replace(BASE, **keys))
    for length in (1, 16, 256):
        yield ParityCase(f"length-{length}", "flux-dev", replace(BASE, prompt=LONG, max_sequence_length=length))
    yield from _schedulers()
    yield from _tiny_autoencoders()
    yield from _variants()
    yield from _single_files()


def _guided(model: str, base: PictureRequest) -> Iterator[ParityCase]:
    """A second pass, and what asks for one and gets none."""
    true = replace(base, negative_prompt="a blue bird", true_cfg_scale=4.0)
    for name, keys in (("", {}), ("-empty", {"negative_prompt": ""}), ("-2", {"negative_prompt_2": "rain"}),
                       ("-off", {"true_cfg_scale": 1.0}), ("-unsaid", {"true_cfg_scale": None}),
                       ("-alone", {"negative_prompt": None}), ("-length", {"max_sequence_length": 77})):  # fmt: skip
        yield ParityCase(f"true-cfg{name}", model, replace(true, **keys))
    yield ParityCase("true-cfg-batch", model, true, images=3, batch_size=2)


def _of_pictures(model: str, base: PictureRequest) -> Iterator[ParityCase]:
    image = replace(base, steps=5, **PHOTO)
    true = {"true_cfg_scale": 3.0, "negative_prompt": "rain"}
    for name, keys in (("", {"strength": 0.6}), ("-most", {"strength": 0.95}), ("-all", {"strength": 1.0}), ("-true-cfg", true)):
        yield ParityCase(f"image{name}", model, replace(image, **keys))
    yield ParityCase("image-batch", model, image, images=3, batch_size=2)
    painted = replace(base, steps=5, **PAINTED)
    for name, keys in (("", {}), ("-strength", {"strength": 0.5}), ("-all", {"strength": 1.0}), ("-true-cfg", true),
                       ("-blur", {"mask_blur": 3}), ("-part", {"only_masked": 4, "width": 32, "height": 32})):  # fmt: skip
        yield ParityCase(f"inpaint{name}", model, replace(painted, **keys))
    grown = {"mask": None, "extend": (0, 0, 16, 8), "width": None, "height": None}
    yield ParityCase("extend", model, replace(painted, **grown, strength=1.0))


def _schedulers() -> Iterator[ParityCase]:
    """Those that take the pipeline's noise levels, or make their own of its mu, which wants a shift that grows."""
    for name in FLOW_SCHEDULERS:
        if not class_has(row(name)[0], "use_dynamic_shifting"):  # diffusers' pipelines refuse it
            continue
        for model in ("flux-dev", "flux-schnell"):
            # Random weights and new noise at every step make a picture that rounding alone decides.
            for steps in (1,) if has(name, "scale_factors") else (1, 5):
                yield ParityCase(f"{name}-{steps}", model, replace(base_of(model), scheduler=name, steps=steps))
            yield ParityCase(f"shift-{name}", model, replace(base_of(model), scheduler=name, flow_shift=2.2, steps=1))
    for name in with_keys("use_flow_sigmas"):
        if class_has(row(name)[0], "use_dynamic_shifting"):
            for steps in (1, 5):
                yield ParityCase(f"{name}-{steps}", "flux-dev", replace(BASE, scheduler=name, steps=steps))


def _tiny_autoencoders() -> Iterator[ParityCase]:
    yield ParityCase("own", "flux-taef1", BASE)  # diffusers' other pipelines do not take over a tiny one
    for form in ("vae-folder", *TAESD_FILES):
        yield ParityCase(f"vae-{form}", "flux-dev", replace(BASE, vae=f"flux-taef1@{form}"))
    photo = replace(BASE, steps=5, strength=0.6, **PHOTO)
    yield ParityCase("vae-taesd-image", "flux-schnell", replace(photo, guidance_scale=0.0, vae="flux-taef1@taesd-both"))


def _variants() -> Iterator[ParityCase]:
    grown = {"mask": None, "extend": (0, 0, 16, 8), "width": None, "height": None}
    cases: dict[str, dict[str, dict[str, Any]]] = {
        "flux-fill": {
            "strength": {"strength": 0.6}, "all": {"strength": 1.0}, "extend": grown, "blur": {"mask_blur": 3},
            "masked": {"init_image": "photo-32x32", "mask": "corner-32x32", "width": 32, "height": 32},
            "defaults": {"steps": None, "guidance_scale": None, "seed": 9}, "size": {"width": 32, "height": 64},
        },
        "flux-control": {"size": {"width": 32, "height": 56}, "other": {"control_image": "other-24x32"}},
        "flux-kontext": {
            "wide": {"reference_image": ("photo-64x48",)}, "square": {"reference_image": ("photo-32x32",), "width": 32},
            "alone": {"reference_image": None}, "true-cfg": {"negative_prompt": "rain", "true_cfg_scale": 3.0},
        },
    }  # fmt: skip
    for model, own in cases.items():
        for name, keys in own.items():
            yield ParityCase(name, model, replace(base_of(model), **keys))
        yield ParityCase("own", model, base_of(model))
        yield ParityCase("batch", model, base_of(model), images=3, batch_size=2)
        yield ParityCase("steps", model, replace(base_of(model), steps=1 if model == "flux-kontext" else 9))
        yield ParityCase("guidance", model, replace(base_of(model), guidance_scale=2.0))


def _single_files() -> Iterator[ParityCase]:
    """Each in every form; what the form lacks, in another order each time."""
    for spec in FLUX_FILES:
        if spec.encoding:
            yield from _stored(spec)
            continue
        base, places = base_of(spec.name), (f"{spec.name}@clip_l", f"{spec.name}@t5xxl")
        yield ParityCase("own", spec.name, base)
        yield ParityCase("whole", spec.name, base, form="incl-flux")
        yield ParityCase("whole", spec.name, base, form="incl-flux-sdcpp")
        for form, order in (("original", places), ("prefixed-diffusers", places[::-1])):
            yield ParityCase("with-encoders", spec.name, replace(base, text_encoder=order), form=form)
        alone = replace(base, text_encoder=places[::-1], vae=f"{spec.name}@ae")
        for form in ("bare", "newer-norms", "diffusers"):
            yield ParityCase("alone", spec.name, alone, form=form)
    # Of other weights than the model's own.
    for form in ("folder", "incl-flux"):
        for name in ("clip_l", "t5xxl", "text_encoder-folder", "text_encoder_2-folder"):
            other = replace(base_of("flux-dev"), text_encoder=(f"flux-schnell-file@{name}",))
            yield ParityCase(f"other-{name}", "flux-dev-file", other, form=form)


def _stored(spec: FluxSpec) -> Iterator[ParityCase]:
    """In the encodings that people download."""
    others = {"text_encoder": (f"{spec.name}@clip_l", f"{spec.name}@t5xxl-stored"), "vae": f"{spec.name}@ae"}
    if spec.encoding in BITSANDBYTES:
        yield ParityCase("folder", spec.name, BASE, form="folder-stored")
    if spec.encoding == "nf4-nested":  # of what is rounded, scales that are codes come out as others
        return
    for form in ("stored", "stored-diffusers"):
        yield ParityCase("alone", spec.name, replace(BASE, **others), form=form)


# --- Mistakes


def _packed_by_place(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """Of a token the numbers of its four places, one place after the other."""

    def pack(latents: Tensor, batch: int, channels: int, height: int, width: int) -> Tensor:
        return latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    return patched(pipe, "_pack_latents", pack)


def _pads_alike(context: Tensor) -> Tensor:
    """Zeros behind the prompt's first tokens, as a mask would leave."""
    return torch.cat([context[:, :16], torch.zeros_like(context[:, 16:])], 1)


# By name: what is changed of the request, or of the pipeline.
FLUX_MISTAKES: Mapping[str, tuple[dict[str, Any], Fault | None]] = {
    "seed": ({"seed": 22}, None),
    "prompt": ({"prompt": "a red fox in the rain"}, None),
    "prompt-2": ({"prompt_2": "a blue bird"}, None),
    "length": ({"max_sequence_length": 256}, None),
    "steps": ({"steps": 5}, None),
    "true-cfg": ({"true_cfg_scale": 1.5, "negative_prompt": "rain"}, None),
    "levels": ({}, rescheduled(shift=1.3, max_shift=1.4, base_shift=0.7)),
    "axes": ({}, asked_of_transformer(img_ids=lambda ids: ids[:, [0, 2, 1]])),
    "places": ({}, asked_of_transformer(img_ids=torch.zeros_like)),
    "words-placed": ({}, asked_of_transformer(txt_ids=lambda ids: torch.arange(len(ids)).unsqueeze(1).expand(-1, 3))),
    "t5-pads": ({}, asked_of_transformer(encoder_hidden_states=_pads_alike)),
    "pooled": ({}, asked_of_transformer(pooled_projections=lambda pooled: pooled.roll(1, -1))),
    "time": ({}, asked_of_transformer(timestep=lambda t: t * 0.9)),
    "packing": ({}, _packed_by_place),
    "last-halves": ({}, rolled("norm_out.linear.bias", 32)),
    "gates": ({}, rolled("transformer_blocks.0.norm1.linear.bias", 32)),
    "single-gates": ({}, rolled("single_transformer_blocks.0.norm.linear.bias", 32)),
    "single-parts": ({}, rolled("single_transformer_blocks.0.proj_out.weight", 32, 1)),
    # Of those that are told it.
    "guidance": ({"guidance_scale": 5.0}, None),
    "guidance-unit": ({}, asked_of_transformer(guidance=lambda scale: scale - 1)),
}

_KONTEXT = {"reference": ({"reference_image": ("other-40x64",)}, None),
            "reference-place": ({}, asked_of_transformer(img_ids=lambda ids: ids * torch.tensor([0, 1, 1]))),
            "reference-size": ({"reference_image": ("photo-64x48",)}, None)}  # fmt: skip
VARIANT_MISTAKES: Mapping[str, Mapping[str, tuple[dict[str, Any], Fault | None]]] = {
    "FluxFillPipeline": {
        "mask": ({"mask": "ring-64x48"}, None),
        "channels": ({}, asked_of_transformer(hidden_states=lambda x: x[..., [*range(64), *range(128, 192), *range(64, 128)]])),
        "mask-pixels": ({}, asked_of_transformer(hidden_states=lambda x: torch.cat([x[..., :128], x[..., 128:].roll(3, -1)], -1))),
        "masked-picture": ({}, asked_of_transformer(hidden_states=lambda x: torch.cat([x[..., :64], 0 * x[..., 64:128], x[..., 128:]], -1))),
    },
    "FluxControlPipeline": {
        "control": ({"control_image": "other-48x32"}, None),
        "channels": ({}, asked_of_transformer(hidden_states=lambda x: x.roll(64, -1))),
    },
    "FluxKontextPipeline": _KONTEXT,
}  # fmt: skip


def flux_mistakes(pipeline: str, guided: bool) -> Mapping[str, tuple[dict[str, Any], Fault | None]]:
    """Those that can show; variants have the same network, and their own."""
    if pipeline in VARIANT_MISTAKES:
        return VARIANT_MISTAKES[pipeline]
    return {name: mistake for name, mistake in FLUX_MISTAKES.items() if guided or not name.startswith("guidance")}
