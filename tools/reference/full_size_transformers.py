"""Random transformer models of released widths, written as full_size.py writes them. T5 has two of its 24 layers, Flux two of
its 19 and two of its 38; flux-dev-whole has all of them. Z-Image and Lumina-Image 2 have two of their 30 and 26 layers and one refiner of each
kind, their language models the one of which they take the states, and the next, with few words. Chroma1 and FLUX.2 klein are as Flux
(flux2-klein-whole has all 5 and 20 of klein 4B, and all of Qwen3-4B), Qwen-Image has two layers of its 60 and one of its language model's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    ChromaTransformer2DModel,
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    Lumina2Transformer2DModel,
    PixArtTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    ZImageTransformer2DModel,
)
from torch import nn
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from .flux import DYNAMIC_SCHEDULER, FIXED_SCHEDULER
from .full_size import (
    CLIP_G,
    CLIP_L,
    FULL_SIZE,
    XL_VAE,
    Component,
    clip_config,
    config_of,
    parameters_of,
    stream,
    write_full_size_file,
    write_full_size_folder,
)
from .key_names import text_encoder_names
from .lumina2 import SCHEDULER as LUMINA2_SCHEDULER
from .pixart import DPM_SCHEDULER
from .qwen_image import SCHEDULER as QWEN_IMAGE_SCHEDULER
from .random_weights import GAINS
from .sd3 import FLOW_SCHEDULER
from .tiny_language_models import write_gemma_tokenizer, write_qwen_tokenizer
from .tiny_text import FIRST_PAD, SECOND_PAD, write_full_clip_tokenizer
from .tiny_transformers import FLOW_VAE
from .vocabulary import write_json, write_sentencepiece_tokenizer
from .z_image import FLUX_SCALING
from .z_image import SCHEDULER as Z_IMAGE_SCHEDULER


@dataclass(frozen=True)
class TransformerModel:
    pipeline: str
    scheduler: Mapping[str, Any]
    vae: Mapping[str, Any]
    transformer: Callable[[], nn.Module]
    texts: Mapping[str, Callable[[], nn.Module]]  # by folder
    none: tuple[str, ...] = ()  # parts that the pipeline does without
    autoencoder: Callable[..., nn.Module] = AutoencoderKL
    index: Mapping[str, Any] = field(default_factory=dict)  # what the folder says besides


def t5_xxl(layers: int) -> nn.Module:
    return T5EncoderModel(T5Config(vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=layers, num_heads=64,
                                   feed_forward_proj="gated-gelu", dropout_rate=0.0))  # fmt: skip


def _short_t5() -> nn.Module:
    return t5_xxl(2)


def _pixart() -> nn.Module:
    return PixArtTransformer2DModel(sample_size=32, interpolation_scale=0.5, caption_channels=4096)


def _sd35(layers: int, **keys: Any) -> TransformerModel:
    """As many heads, of 64 channels, as layers."""

    def transformer() -> nn.Module:
        return SD3Transformer2DModel(num_layers=layers, num_attention_heads=layers, caption_projection_dim=64 * layers,
                                     pooled_projection_dim=2048, out_channels=16, qk_norm="rms_norm", **keys)  # fmt: skip

    return TransformerModel(
        "StableDiffusion3Pipeline", FLOW_SCHEDULER, {**XL_VAE, **FLOW_VAE, "scaling_factor": 1.5305, "shift_factor": 0.0609},
        transformer,
        {"text_encoder": lambda: CLIPTextModelWithProjection(clip_config(CLIP_L)),
         "text_encoder_2": lambda: CLIPTextModelWithProjection(clip_config(CLIP_G))},
        ("text_encoder_3", "tokenizer_3", "feature_extractor", "image_encoder"))  # fmt: skip


def _flux_dev(double: int, single: int) -> TransformerModel:
    return TransformerModel(
        "FluxPipeline", DYNAMIC_SCHEDULER, {**XL_VAE, **FLOW_VAE, "scaling_factor": 0.3611, "shift_factor": 0.1159},
        lambda: FluxTransformer2DModel(num_layers=double, num_single_layers=single, guidance_embeds=True),
        {"text_encoder": lambda: CLIPTextModel(clip_config(CLIP_L)), "text_encoder_2": _short_t5})  # fmt: skip


_WORDS = 1000  # that language models know here


def _qwen3_4b() -> nn.Module:
    return Qwen3Model(Qwen3Config(vocab_size=_WORDS, hidden_size=2560, intermediate_size=9728, num_hidden_layers=2,
                                  num_attention_heads=32, num_key_value_heads=8, head_dim=128, rope_theta=1e6))  # fmt: skip


def _qwen3_4b_deep() -> nn.Module:
    """With the state behind its 27th layer, after as many that are narrow: at full width they would be 6 GB."""
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=_WORDS, hidden_size=2560, intermediate_size=64, num_hidden_layers=28, num_attention_heads=2,
                                        num_key_value_heads=1, head_dim=128, rope_theta=1e6, tie_word_embeddings=True))  # fmt: skip


def qwen3_4b_whole() -> nn.Module:
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
                                        num_key_value_heads=8, head_dim=128, rope_theta=1e6, tie_word_embeddings=True))  # fmt: skip


def _klein_4b(double: int, single: int, text: Callable[[], nn.Module]) -> TransformerModel:
    def transformer() -> nn.Module:
        return Flux2Transformer2DModel(num_layers=double, num_single_layers=single, num_attention_heads=24, joint_attention_dim=7680,
                                       guidance_embeds=False)  # fmt: skip

    return TransformerModel("Flux2KleinPipeline", DYNAMIC_SCHEDULER, {}, transformer, {"text_encoder": text},
                            autoencoder=AutoencoderKLFlux2, index={"is_distilled": True})  # fmt: skip


def _qwen25_vl_7b() -> nn.Module:
    """Its eyes are of a size that nothing looks at."""
    tokens = dict.fromkeys(("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"), _WORDS - 1)
    text = {"vocab_size": _WORDS, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 1, "num_attention_heads": 28,
            "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}  # fmt: skip
    eye = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 3584, "fullatt_block_indexes": [0]}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=eye, **tokens))


def _gemma2_2b() -> nn.Module:
    return Gemma2Model(Gemma2Config(vocab_size=_WORDS, hidden_size=2304, intermediate_size=9216, num_hidden_layers=2,
                                    num_attention_heads=8, num_key_value_heads=4, head_dim=256, query_pre_attn_scalar=256))  # fmt: skip


def _single_stream(pipeline: str, scheduler: Mapping[str, Any], transformer: Callable[[], nn.Module],
                   text: Callable[[], nn.Module]) -> TransformerModel:  # fmt: skip
    return TransformerModel(pipeline, scheduler, {**XL_VAE, **FLOW_VAE, **FLUX_SCALING}, transformer, {"text_encoder": text})


TRANSFORMER_MODELS: Mapping[str, TransformerModel] = {
    "pixart-sigma": TransformerModel("PixArtSigmaPipeline", DPM_SCHEDULER, XL_VAE, _pixart, {"text_encoder": _short_t5}),
    "sd35-medium": _sd35(24, pos_embed_max_size=384, dual_attention_layers=tuple(range(13))),
    "sd35-large": _sd35(38, pos_embed_max_size=192),
    "flux-dev": _flux_dev(2, 2),
    "flux-dev-whole": _flux_dev(19, 38),
    "chroma": TransformerModel("ChromaPipeline", FIXED_SCHEDULER, {**XL_VAE, **FLOW_VAE, **FLUX_SCALING},
                               lambda: ChromaTransformer2DModel(num_layers=2, num_single_layers=2), {"text_encoder": _short_t5}),
    "flux2-klein": _klein_4b(2, 2, _qwen3_4b_deep),
    "flux2-klein-whole": _klein_4b(5, 20, qwen3_4b_whole),
    "qwen-image": TransformerModel("QwenImagePipeline", QWEN_IMAGE_SCHEDULER, {}, lambda: QwenImageTransformer2DModel(num_layers=2),
                                   {"text_encoder": _qwen25_vl_7b}, autoencoder=AutoencoderKLQwenImage),
    "z-image": _single_stream("ZImagePipeline", Z_IMAGE_SCHEDULER,
                              lambda: ZImageTransformer2DModel(n_layers=2, n_refiner_layers=1), _qwen3_4b),
    "lumina2": _single_stream("Lumina2Pipeline", LUMINA2_SCHEDULER,
                              lambda: Lumina2Transformer2DModel(num_layers=2, num_refiner_layers=1, cap_feat_dim=2304), _gemma2_2b),
}


def _component(folder: str, build: Callable[[], nn.Module], seed: int) -> Component:
    with torch.device("meta"):
        network = build()
    if folder.startswith("text_encoder"):
        config = {**network.config.to_dict(), "architectures": [type(network).__name__]}
        shapes = parameters_of(network)
        if isinstance(network, (CLIPTextModel, CLIPTextModelWithProjection)):
            shapes = text_encoder_names(shapes, "text_model.")
        return Component(folder, "model.safetensors", config, shapes, seed, GAINS)
    gains = {**GAINS, "decoder.conv_out.weight": 0.8}
    shapes = dict(network.state_dict())  # with a table of positions
    if folder == "vae":
        # What it gets is about three times as large as what was drawn, and of Qwen-Image's times the deviations.
        gains["decoder.conv_in.weight"] = network.config.get("scaling_factor", 0.4 if "latents_std" in network.config else 1.0) / 3
        if "latents_std" in network.config:  # of a kernel's three planes in time one sees the picture
            gains["decoder.conv_out.weight"] *= 3**0.5
    elif "pos_embed.pos_embed" in shapes:
        gains["pos_embed.pos_embed"] = shapes["pos_embed.pos_embed"].numel() ** 0.5
    return Component(folder, "diffusion_pytorch_model.safetensors", config_of(network), shapes, seed, gains)


def write_transformer_folder(folder: Path, model: TransformerModel, seed: int, dtype: torch.dtype) -> None:
    index: dict[str, Any] = {"_class_name": model.pipeline, "_diffusers_version": "0.42.1", **model.index}
    index |= {name: [None, None] for name in model.none}
    networks = {"transformer": model.transformer, "vae": lambda: model.autoencoder(**model.vae), **model.texts}
    for number, (name, build) in enumerate(networks.items()):
        component = _component(name, build, seed + number)
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / "config.json", component.config)
        stream(place / component.file, [(component, dict)], dtype)
        if name not in model.texts:
            index[name] = ["diffusers", component.config["_class_name"]]
            continue
        index[name] = ["transformers", component.config["architectures"][0]]
        tokenizer = name.replace("text_encoder", "tokenizer")
        if index[name][1] == "T5EncoderModel":
            write_sentencepiece_tokenizer(folder / tokenizer, 512)
            index[tokenizer] = ["transformers", "T5Tokenizer"]
        elif index[name][1].startswith("Qwen"):
            write_qwen_tokenizer(folder / tokenizer)
            index[tokenizer] = ["transformers", "Qwen2Tokenizer"]
        elif index[name][1] == "Gemma2Model":
            write_gemma_tokenizer(folder / tokenizer)
            index[tokenizer] = ["transformers", "GemmaTokenizer"]
        else:
            words = write_full_clip_tokenizer(folder / tokenizer, SECOND_PAD if name.endswith("_2") else FIRST_PAD)
            index[tokenizer] = ["transformers", words.tokenizer_class]
    (folder / "scheduler").mkdir(exist_ok=True)
    write_json(folder / "scheduler" / "scheduler_config.json", model.scheduler)
    index["scheduler"] = ["diffusers", model.scheduler["_class_name"]]
    write_json(folder / "model_index.json", dict(sorted(index.items())))


def write_model(place: Path, name: str, layout: str, seed: int, dtype: torch.dtype) -> None:
    """A model of full_size.py or of this file, as a folder or (those of full_size.py) as a single file."""
    if name in FULL_SIZE:
        (write_full_size_folder if layout == "folder" else write_full_size_file)(place, FULL_SIZE[name], seed, dtype)
    elif layout == "folder":
        write_transformer_folder(place, TRANSFORMER_MODELS[name], seed, dtype)
    else:
        raise ValueError(f"{name} has no single-file layout here")
