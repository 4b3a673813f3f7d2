"""Tiny random Stable Diffusion models, saved as diffusers folders in every file form that sdgen reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from .key_names import old_attention_names
from .random_weights import Rounding, as_drawn, randomise, scale_output, to_any_16_bits
from .taesd import tiny_vae
from .tiny_text import typical_conditioning, write_text_encoders
from .vocabulary import write_json

# scheduler_config.json of Stable Diffusion 1.5, key by key.
SD15_SCHEDULER: Mapping[str, Any] = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}

# An old folder's scheduler: no steps_offset, clip_sample on. The pipelines force both (src/cli/README.md, "Schedulers").
OLD_SCHEDULER: Mapping[str, Any] = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.2.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 0,
}


@dataclass(frozen=True)
class ModelSpec:
    """One tiny model: what it is and how its files look."""

    name: str
    seed: int = 0
    scheduler: Mapping[str, Any] = field(default_factory=lambda: dict(SD15_SCHEDULER))
    tokenizer: Literal["clip", "clip-json", "clip-full", "sentencepiece"] = "clip"  # clip-full: CLIP's own 49408 tokens
    text: Mapping[str, Any] | None = field(default_factory=dict)  # CLIPTextConfig keys that differ; None: no encoder
    unet: Mapping[str, Any] = field(default_factory=dict)  # UNet2DConditionModel keys that differ
    vae: Mapping[str, Any] = field(default_factory=dict)  # AutoencoderKL keys that differ; all of an AutoencoderTiny
    text_prefix: bool = True  # keys "text_model.…", as all folders before transformers 5 have them
    variant: str | None = None  # "fp16": float16 weights under the variant's file names
    shard_size: str | None = None  # "200KB": sharded UNet (and SDXL text encoders) with an index
    pipeline: str = "StableDiffusionPipeline"
    text_2: Mapping[str, Any] | None = None  # of SDXL's second encoder, CLIPTextModelWithProjection
    pad: str | None = None  # pad token of the first tokenizer, if not its end token
    index: Mapping[str, Any] = field(default_factory=dict)  # model_index.json keys that differ
    exact: bool = False  # weights are values of float16 and of bfloat16, so that every single file holds these very ones
    scaled: Mapping[str, float] = field(default_factory=dict)  # UNet parameters and what they are multiplied by
    old_vae_names: bool = False
    safety_checker: bool = False  # the folder has one, which diffusers and sdgen are to leave alone

    @property
    def rounding(self) -> Rounding:
        return to_any_16_bits if self.variant or self.exact else as_drawn

    @property
    def vae_class(self) -> str:
        return self.vae.get("_class_name", "AutoencoderKL")

    @property
    def xl(self) -> bool:
        return self.pipeline.startswith("StableDiffusionXL")

    def build(self, folder: Path) -> None:
        build_model(folder, self)


UNET_CONFIG: Mapping[str, Any] = {
    "sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2, "norm_num_groups": 4,
}  # fmt: skip

VAE_CONFIG: Mapping[str, Any] = {
    "block_out_channels": (8, 8, 12), "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3, "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4,
    "sample_size": 32,
}  # fmt: skip


def build_model(folder: Path, spec: ModelSpec) -> None:
    """Writes the model of `spec` as a diffusers folder. The same spec gives the same bytes."""
    with torch.no_grad():
        texts, text_index = write_text_encoders(folder, spec)
        unet, vae = _unet(texts, spec), _vae(spec)

    options = {"variant": spec.variant, "max_shard_size": spec.shard_size or "5GB"}
    (unet.half() if spec.variant else unet).save_pretrained(folder / "unet", **options)
    (vae.half() if spec.variant else vae).save_pretrained(folder / "vae", variant=spec.variant)
    if spec.old_vae_names:
        for path in (folder / "vae").glob("*.safetensors"):
            save_file(old_attention_names(load_file(path)), path, {"format": "pt"})
    (folder / "scheduler").mkdir(exist_ok=True)
    write_json(folder / "scheduler" / "scheduler_config.json", spec.scheduler)
    if spec.safety_checker:
        _write_safety_checker(folder)
    index = model_index(spec) | text_index | dict(spec.index)
    write_json(folder / "model_index.json", dict(sorted(index.items())))


def _unet(texts: list[Any], spec: ModelSpec) -> UNet2DConditionModel:
    config = {**UNET_CONFIG, "cross_attention_dim": sum(text.config.hidden_size for text in texts), **spec.unet}
    ids = _typical_time_ids(spec)
    if spec.xl:
        width = texts[-1].config.projection_dim + ids.shape[1] * config["addition_time_embed_dim"]
        config |= {"addition_embed_type": "text_time", "projection_class_embeddings_input_dim": width}
    unet = UNet2DConditionModel(**config)
    randomise(unet, spec.seed + 1, rounding=spec.rounding)
    for name, factor in spec.scaled.items():
        parameter = unet.get_parameter(name)
        parameter.copy_(spec.rounding(parameter * factor))

    generator = torch.Generator("cpu").manual_seed(spec.seed + 100)
    context, pooled = typical_conditioning(texts, spec.xl, generator)
    x = torch.randn(4, unet.config.in_channels, 12, 12, generator=generator)
    condition_width = unet.config.time_cond_proj_dim
    output = unet(
        x,
        torch.tensor([981.0, 641.0, 301.0, 21.0]),
        context,
        timestep_cond=torch.randn(4, condition_width, generator=generator) if condition_width else None,
        added_cond_kwargs={"text_embeds": pooled, "time_ids": ids} if spec.xl else None,
    ).sample
    scale_output(unet.conv_out, output, 1.0, rounding=spec.rounding)
    return unet


def _typical_time_ids(spec: ModelSpec) -> Tensor:
    """Original size, crop corner and either target size or aesthetic score (refiner)."""
    last = [6.0] if spec.index.get("requires_aesthetics_score") else [64.0, 64.0]
    return torch.tensor([[64.0, 64.0, 0.0, 0.0, *last]]).repeat(4, 1)


def _vae(spec: ModelSpec) -> AutoencoderKL | AutoencoderTiny:
    if spec.vae_class == "AutoencoderTiny":
        return tiny_vae(spec.vae, spec.seed + 2, spec.rounding)
    vae = AutoencoderKL(**{**VAE_CONFIG, **spec.vae})
    randomise(vae, spec.seed + 2, rounding=spec.rounding)
    # Makes typical latents as large as what follows them in the decoder, else its norms would hide a wrong scale.
    weight = vae.decoder.conv_in.weight
    weight.copy_(spec.rounding(weight * (vae.config.scaling_factor / 3)))
    decoded = vae.decode(_typical_latents(vae, spec.seed)).sample
    scale_output(vae.decoder.conv_out, decoded, 0.5, rounding=spec.rounding)
    return vae


def _typical_latents(vae: AutoencoderKL, seed: int) -> Tensor:
    """Latents as the samplers leave them, divided by the scaling factor: a random network does not pull them together
    as a trained one does, so their deviation is some 6 before that division."""
    generator = torch.Generator("cpu").manual_seed(seed + 200)
    return 6 / vae.config.scaling_factor * torch.randn(4, vae.config.latent_channels, 8, 8, generator=generator)


def _write_safety_checker(folder: Path) -> None:
    """A few of its tensors: enough to be there."""
    checker = folder / "safety_checker"
    checker.mkdir(exist_ok=True)
    config = {"architectures": ["StableDiffusionSafetyChecker"], "model_type": "clip", "projection_dim": 8}
    write_json(checker / "config.json", config)
    generator = torch.Generator("cpu").manual_seed(1)
    names = {"concept_embeds": (17, 8), "special_care_embeds": (3, 8), "visual_projection.weight": (8, 16)}
    save_file({name: torch.randn(shape, generator=generator) for name, shape in names.items()},
              checker / "model.safetensors", {"format": "pt"})  # fmt: skip
    (folder / "feature_extractor").mkdir(exist_ok=True)
    extractor = {"crop_size": 224, "do_resize": True, "feature_extractor_type": "CLIPFeatureExtractor", "size": 224}
    write_json(folder / "feature_extractor" / "preprocessor_config.json", extractor)


def model_index(spec: ModelSpec) -> dict[str, Any]:
    """Without the text encoders' part. The refiner's folder says null for those that it lacks."""
    index = {
        "_class_name": spec.pipeline,
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", spec.scheduler["_class_name"]],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", spec.vae_class],
    }
    if spec.xl:
        lacking = {f"{part}{suffix}": [None, None] for part in ("text_encoder", "tokenizer") for suffix in ("", "_2")}
        return index | lacking | {"force_zeros_for_empty_prompt": True}
    if spec.safety_checker:
        return index | {
            "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        }
    return index | {"requires_safety_checker": False, "safety_checker": [None, None]}
