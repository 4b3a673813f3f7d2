"""Tiny random Stable Diffusion models, saved as diffusers folders in every file form that sdgen reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from .random_weights import randomise, scale_output
from .vocabulary import MAX_LENGTH, write_clip_tokenizer, write_json, write_sentencepiece_tokenizer

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

# An old folder's scheduler: no steps_offset, clip_sample on. The pipelines force both (cli.md, "Schedulers").
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
    tokenizer: Literal["clip", "clip-json", "sentencepiece"] = "clip"
    text: Mapping[str, Any] = field(default_factory=dict)  # CLIPTextConfig keys that differ
    unet: Mapping[str, Any] = field(default_factory=dict)  # UNet2DConditionModel keys that differ
    vae: Mapping[str, Any] = field(default_factory=dict)  # AutoencoderKL keys that differ
    text_prefix: bool = True  # keys "text_model.…", as all folders before transformers 5 have them
    variant: str | None = None  # "fp16": float16 weights under the variant's file names
    shard_size: str | None = None  # "200KB": sharded UNet with an index


TEXT_CONFIG: Mapping[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "hidden_act": "quick_gelu", "max_position_embeddings": MAX_LENGTH, "projection_dim": 32,
}  # fmt: skip

UNET_CONFIG: Mapping[str, Any] = {
    "sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "cross_attention_dim": 32,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2, "norm_num_groups": 4,
}  # fmt: skip

VAE_CONFIG: Mapping[str, Any] = {
    "block_out_channels": (8, 8, 12), "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3, "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4,
    "sample_size": 32,
}  # fmt: skip


def build_model(folder: Path, spec: ModelSpec) -> None:
    """Writes the model of `spec` as a StableDiffusionPipeline folder. The same spec gives the same bytes."""
    half = spec.variant is not None
    vocabulary_size, begin, end, tokenizer_class = _write_tokenizer(folder / "tokenizer", spec)

    text = _text_encoder({**TEXT_CONFIG, "vocab_size": vocabulary_size, "eos_token_id": end, **spec.text}, begin, spec)
    unet = UNet2DConditionModel(**{**UNET_CONFIG, **spec.unet})
    randomise(unet, spec.seed + 1, half_precise=half)
    scale_output(unet.conv_out, _typical_unet_output(unet, text, spec.seed), 1.0, half_precise=half)
    vae = AutoencoderKL(**{**VAE_CONFIG, **spec.vae})
    randomise(vae, spec.seed + 2, half_precise=half)
    _unscale_input(vae, half)
    decoded = vae.decode(_typical_latents(vae, spec.seed)).sample
    scale_output(vae.decoder.conv_out, decoded, 0.5, half_precise=half)

    _save_text_encoder(folder / "text_encoder", text, spec)
    options = {"variant": spec.variant, "max_shard_size": spec.shard_size or "5GB"}
    (unet.half() if half else unet).save_pretrained(folder / "unet", **options)
    (vae.half() if half else vae).save_pretrained(folder / "vae", variant=spec.variant)
    (folder / "scheduler").mkdir(exist_ok=True)
    write_json(folder / "scheduler" / "scheduler_config.json", spec.scheduler)
    write_json(folder / "model_index.json", _model_index(spec, tokenizer_class))


def _write_tokenizer(folder: Path, spec: ModelSpec) -> tuple[int, int, int, str]:
    """Vocabulary size, begin id, end id and tokenizer class."""
    if spec.tokenizer == "sentencepiece":
        return write_sentencepiece_tokenizer(folder, spec.text["max_position_embeddings"]), 0, 1, "T5Tokenizer"
    size = write_clip_tokenizer(folder, json_only=spec.tokenizer == "clip-json")
    return size, size - 2, size - 1, "CLIPTokenizer"


def _text_encoder(config: Mapping[str, Any], begin: int, spec: ModelSpec) -> CLIPTextModel:
    model = CLIPTextModel(CLIPTextConfig(**config, bos_token_id=begin, pad_token_id=1))
    randomise(model, spec.seed, half_precise=spec.variant is not None)
    return model


def _typical_unet_output(unet: UNet2DConditionModel, text: CLIPTextModel, seed: int) -> Tensor:
    """What the UNet says to unit Gaussian input and random tokens at four times from noise to picture."""
    generator = torch.Generator("cpu").manual_seed(seed + 100)
    ids = torch.randint(0, text.config.vocab_size, (4, text.config.max_position_embeddings), generator=generator)
    x = torch.randn(4, unet.config.in_channels, 12, 12, generator=generator)
    return unet(x, torch.tensor([981.0, 641.0, 301.0, 21.0]), text(ids).last_hidden_state).sample


def _typical_latents(vae: AutoencoderKL, seed: int) -> Tensor:
    """Latents as the samplers leave them, divided by the scaling factor: a random network does not pull them together
    as a trained one does, so their deviation is some 6 before that division."""
    generator = torch.Generator("cpu").manual_seed(seed + 200)
    return 6 / vae.config.scaling_factor * torch.randn(4, vae.config.latent_channels, 8, 8, generator=generator)


def _unscale_input(vae: AutoencoderKL, half: bool) -> None:
    """Makes typical latents as large as what follows them in the decoder, else its norms would hide a wrong scale."""
    with torch.no_grad():
        weight = vae.decoder.conv_in.weight
        weight.mul_(vae.config.scaling_factor / 3)
        if half:
            weight.copy_(weight.half().float())


def _save_text_encoder(folder: Path, model: CLIPTextModel, spec: ModelSpec) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.half() if spec.variant else value for name, value in model.state_dict().items()}
    weights = {name: value.contiguous() for name, value in weights.items() if not name.endswith("position_ids")}
    if spec.text_prefix:
        weights = {"text_model." + name: value for name, value in weights.items()}
    save_file(weights, folder / f"model{'.' + spec.variant if spec.variant else ''}.safetensors", {"format": "pt"})
    keys = [*TEXT_CONFIG, "vocab_size", "layer_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id"]
    config = {key: getattr(model.config, key) for key in keys}
    write_json(folder / "config.json", {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", **config})


def _model_index(spec: ModelSpec, tokenizer_class: str) -> dict[str, Any]:
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", spec.scheduler["_class_name"]],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", tokenizer_class],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
