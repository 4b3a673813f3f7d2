"""Random models of the released sizes, written without ever building them: a component at a time, in its file's type."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from .families import SD21_SCHEDULER, SDXL_SCHEDULER
from .key_names import text_encoder_names
from .original_layout import (
    UNET_PREFIX,
    Tensors,
    original_open_clip,
    original_unet,
    original_vae,
    text_prefix,
    unused_open_clip,
)
from .random_weights import GAINS, draw
from .tiny import ModelSpec, model_index
from .tiny_text import FIRST_PAD, SECOND_PAD, write_full_clip_tokenizer
from .vocabulary import write_json

_SD_UNET = {
    "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}  # fmt: skip
_XL_UNET = {
    "layers_per_block": 2, "sample_size": 128, "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
}  # fmt: skip
_VAE = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
XL_VAE = {**_VAE, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True}
CLIP_L = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "hidden_act": "quick_gelu", "projection_dim": 768, "eos_token_id": 2,
}  # fmt: skip
_CLIP_H = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
    "hidden_act": "gelu", "projection_dim": 512, "eos_token_id": 2,
}  # fmt: skip
CLIP_G = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "hidden_act": "gelu", "projection_dim": 1280, "eos_token_id": 2,
}  # fmt: skip

FULL_SIZE: Mapping[str, ModelSpec] = {
    "sd15": ModelSpec(
        "sd15", text=CLIP_L, vae=_VAE,
        unet={**_SD_UNET, "sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}),
    "sd21": ModelSpec(
        "sd21", scheduler=SD21_SCHEDULER, text=_CLIP_H, vae={**_VAE, "sample_size": 768}, pad=SECOND_PAD,
        unet={**_SD_UNET, "sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20),
              "use_linear_projection": True, "upcast_attention": True}),
    "sdxl": ModelSpec(
        "sdxl", scheduler=SDXL_SCHEDULER, text=CLIP_L, text_2=CLIP_G, vae=XL_VAE,
        pipeline="StableDiffusionXLPipeline",
        unet={**_XL_UNET, "block_out_channels": (320, 640, 1280), "cross_attention_dim": 2048,
              "attention_head_dim": (5, 10, 20), "transformer_layers_per_block": (1, 2, 10),
              "projection_class_embeddings_input_dim": 2816,
              "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
              "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",)}),
    "refiner": ModelSpec(
        "refiner", scheduler=SDXL_SCHEDULER, text=None, text_2=CLIP_G, vae=XL_VAE,
        pipeline="StableDiffusionXLImg2ImgPipeline",
        unet={**_XL_UNET, "block_out_channels": (384, 768, 1536, 1536), "cross_attention_dim": 1280,
              "attention_head_dim": (6, 12, 24, 24), "transformer_layers_per_block": 4,
              "projection_class_embeddings_input_dim": 2560,
              "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2, "DownBlock2D"),
              "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 2, "UpBlock2D")},
        index={"requires_aesthetics_score": True, "force_zeros_for_empty_prompt": False}),
}  # fmt: skip


@dataclass(frozen=True)
class Component:
    """A network that is never built: its tensors' names and shapes, and how to draw them."""

    folder: str
    file: str
    config: Mapping[str, Any]
    shapes: Mapping[str, Tensor]  # on the meta device
    seed: int
    gains: Mapping[str, float]

    def weights(self, dtype: torch.dtype) -> Tensors:
        generator = torch.Generator("cpu").manual_seed(self.seed)
        return {name: draw(name, value.shape, generator, self.gains).to(dtype) for name, value in self.shapes.items()}


def components(spec: ModelSpec, seed: int) -> list[Component]:
    """Of a random network's outputs the deviation is known: what silu leaves of a unit Gaussian is 0.6, so the gains of
    the last convolutions make predictions of 1 and pictures of 0.5, and the decoder gets latents of 1."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**spec.unet)
        vae = AutoencoderKL(**spec.vae)
        texts = [
            (name, model_class(clip_config(config)))
            for name, config, model_class in (
                ("text_encoder", spec.text, CLIPTextModel), ("text_encoder_2", spec.text_2, CLIPTextModelWithProjection),
            )
            if config is not None
        ]  # fmt: skip
    weights_file = "diffusion_pytorch_model.safetensors"
    unet_gains = {"conv_out.weight": 1.7, **GAINS}
    decoder_in = vae.config.scaling_factor / 3
    vae_gains = {"decoder.conv_out.weight": 0.8, "decoder.conv_in.weight": decoder_in, **GAINS}
    made = [
        Component("unet", weights_file, config_of(unet), parameters_of(unet), seed, unet_gains),
        Component("vae", weights_file, config_of(vae), parameters_of(vae), seed + 1, vae_gains),
    ]
    for number, (name, model) in enumerate(texts):
        config = {**model.config.to_dict(), "architectures": [type(model).__name__]}
        shapes = text_encoder_names(parameters_of(model), "text_model.")
        made.append(Component(name, "model.safetensors", config, shapes, seed + 2 + number, GAINS))
    return made


def clip_config(config: Mapping[str, Any]) -> CLIPTextConfig:
    return CLIPTextConfig(vocab_size=49408, max_position_embeddings=77, bos_token_id=0, pad_token_id=1, **config)


def parameters_of(model: nn.Module) -> Tensors:
    return {name: value.detach() for name, value in model.named_parameters()}


def config_of(model: Any) -> dict[str, Any]:
    shown = {key: value for key, value in dict(model.config).items() if not key.startswith("_")}
    return {"_class_name": type(model).__name__, "_diffusers_version": "0.42.1", **shown}


def write_full_size_folder(folder: Path, spec: ModelSpec, seed: int, dtype: torch.dtype) -> None:
    index: dict[str, Any] = {}
    for component in components(spec, seed):
        place = folder / component.folder
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / "config.json", component.config)
        stream(place / component.file, [(component, dict)], dtype)
        if component.folder.startswith("text_encoder"):
            suffix = component.folder.removeprefix("text_encoder")
            pad = SECOND_PAD if suffix else spec.pad or FIRST_PAD
            words = write_full_clip_tokenizer(folder / f"tokenizer{suffix}", pad)
            index[f"tokenizer{suffix}"] = ["transformers", words.tokenizer_class]
            index[component.folder] = ["transformers", component.config["architectures"][0]]
    (folder / "scheduler").mkdir(exist_ok=True)
    write_json(folder / "scheduler" / "scheduler_config.json", spec.scheduler)
    write_json(folder / "model_index.json", dict(sorted((model_index(spec) | index | dict(spec.index)).items())))


Part = tuple[Component, Callable[[Tensors], Tensors]]


def original_parts(spec: ModelSpec, seed: int) -> list[Part]:
    """The components, and what makes the original layout of each one's tensors."""
    parts: list[Part] = []
    number = 0
    for component in components(spec, seed):
        if component.folder == "unet":
            rename = partial(_prefixed, UNET_PREFIX, partial(original_unet, config=component.config))
        elif component.folder == "vae":
            levels = len(component.config["block_out_channels"])
            rename = partial(_prefixed, "first_stage_model.", partial(original_vae, levels=levels))
        else:
            prefix = text_prefix(component.config, number, spec.xl)
            rename = partial(_prefixed, prefix, partial(_original_text, prefix=prefix, xl=spec.xl))
            number += 1
        parts.append((component, rename))
    return parts


def write_full_size_file(path: Path, spec: ModelSpec, seed: int, dtype: torch.dtype) -> None:
    """The same values as the folder's in the original layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream(path, original_parts(spec, seed), dtype)


def _prefixed(prefix: str, rename: Callable[[Tensors], Tensors], weights: Tensors) -> Tensors:
    return {prefix + name: value for name, value in rename(weights).items()}


def _original_text(weights: Tensors, prefix: str, xl: bool) -> Tensors:
    if prefix.endswith(".transformer."):
        return weights
    encoder = original_open_clip({name.removeprefix("text_model."): value for name, value in weights.items()})
    return encoder if xl else encoder | unused_open_clip(encoder)


_TYPE_NAMES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}


def stream(path: Path, parts: list[Part], dtype: torch.dtype) -> None:
    """A safetensors file, of which one component is in memory at a time: the header is known from the shapes alone."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for component, rename in parts:
        for name, value in rename(dict(component.shapes)).items():
            size = value.shape.numel() * dtype.itemsize
            shape = list(value.shape)
            header[name] = {"dtype": _TYPE_NAMES[dtype], "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, value in _values(parts, dtype):
            if file.tell() != 8 + len(text) + header[name]["data_offsets"][0]:
                raise RuntimeError(f"{path.name}: {name} is out of its place")
            file.write(value.to(dtype).contiguous().reshape(-1).view(torch.uint8).numpy())


def _values(parts: list[Part], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    for component, rename in parts:
        yield from rename(component.weights(dtype)).items()
