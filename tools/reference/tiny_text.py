"""Tokenizers and text encoders of the tiny models."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from .key_names import text_encoder_names
from .random_weights import randomise
from .token_folders import clip_tables, write_clip
from .vocabulary import END, MAX_LENGTH, write_clip_tokenizer, write_json, write_sentencepiece_tokenizer

if TYPE_CHECKING:
    from .tiny import ModelSpec

TEXT_CONFIG: Mapping[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "hidden_act": "quick_gelu", "max_position_embeddings": MAX_LENGTH, "projection_dim": 32,
}  # fmt: skip

FIRST_PAD, SECOND_PAD = END, "!"  # SDXL's second tokenizer pads with id 0; so does SD 2's only one


@dataclass(frozen=True)
class Vocabulary:
    size: int
    begin: int
    end: int
    tokenizer_class: str = "CLIPTokenizer"


@cache
def clip_vocabulary_tables() -> tuple[dict[str, int], list[str]]:
    """CLIP's own vocabulary and merges, from PyPI's open_clip_torch, which is not imported."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise FileNotFoundError("CLIP's vocabulary is missing: install open_clip_torch (scripts/setup --parity)")
    return clip_tables(Path(package.origin).with_name("bpe_simple_vocab_16e6.txt.gz"))


def write_full_clip_tokenizer(folder: Path, pad: str) -> Vocabulary:
    """CLIP's tokenizer as the released folders have it. SD 2's tokenizer_config.json still names the other pad token;
    special_tokens_map.json wins."""
    tables = clip_vocabulary_tables()
    write_clip(folder, tables, pad)
    return Vocabulary(len(tables[0]), len(tables[0]) - 2, len(tables[0]) - 1)


def write_tokenizer(folder: Path, spec: ModelSpec, pad: str) -> Vocabulary:
    if spec.tokenizer == "clip-full":
        return write_full_clip_tokenizer(folder, pad)
    if spec.tokenizer == "sentencepiece":
        size = write_sentencepiece_tokenizer(folder, (spec.text or {})["max_position_embeddings"])
        return Vocabulary(size, 0, 1, "T5Tokenizer")
    size = write_clip_tokenizer(folder, json_only=spec.tokenizer == "clip-json", pad=pad)
    return Vocabulary(size, size - 2, size - 1)


def write_text_encoders(folder: Path, spec: ModelSpec) -> tuple[list[CLIPTextModel], dict[str, Any]]:
    """Writes tokenizer*/ and text_encoder*/; returns the encoders, in float32, and their part of model_index.json."""
    models: list[Any] = []
    index: dict[str, Any] = {}
    wanted = ((spec.text, "", spec.pad or FIRST_PAD, CLIPTextModel),
              (spec.text_2, "_2", SECOND_PAD, CLIPTextModelWithProjection))  # fmt: skip
    for number, (options, suffix, pad, model_class) in enumerate(wanted):
        if options is None:
            continue
        words = write_tokenizer(folder / f"tokenizer{suffix}", spec, pad)
        config = {**TEXT_CONFIG, "vocab_size": words.size, "eos_token_id": words.end, **options}
        model = model_class(CLIPTextConfig(**config, bos_token_id=words.begin, pad_token_id=1))
        randomise(model, spec.seed + 1000 * number, rounding=spec.rounding)
        save_text_encoder(folder / f"text_encoder{suffix}", model, spec)
        models.append(model)
        index[f"tokenizer{suffix}"] = ["transformers", words.tokenizer_class]
        index[f"text_encoder{suffix}"] = ["transformers", model_class.__name__]
    return models, index


def typical_conditioning(models: Sequence[Any], xl: bool, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Context and pooled vectors of random tokens, four of them."""
    config = models[-1].config
    ids = torch.randint(0, config.vocab_size, (4, config.max_position_embeddings), generator=generator)
    if not xl:
        return models[0](ids).last_hidden_state, None
    answers = [model(ids, output_hidden_states=True) for model in models]
    return torch.cat([answer.hidden_states[-2] for answer in answers], dim=-1), answers[-1].text_embeds


def save_text_encoder(folder: Path, model: CLIPTextModel, spec: ModelSpec) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    named = text_encoder_names(model.state_dict(), "text_model." if spec.text_prefix else "")
    weights = {name: (value.half() if spec.variant else value).contiguous() for name, value in named.items()}
    variant = f".{spec.variant}" if spec.variant else ""
    # As transformers names them: model.fp16-00001-of-00002.safetensors, model.safetensors.index.fp16.json.
    size = spec.shard_size if spec.text_2 is not None else None
    plan = split_torch_state_dict_into_shards(
        weights, filename_pattern=f"model{variant}{{suffix}}.safetensors", max_shard_size=size or "5GB"
    )
    for file, names in plan.filename_to_tensors.items():
        save_file({name: weights[name] for name in names}, folder / file, {"format": "pt"})
    if plan.is_sharded:
        table = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / f"model.safetensors.index{variant}.json").write_text(json.dumps(table, indent=2) + "\n")
    keys = [*TEXT_CONFIG, "vocab_size", "layer_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id"]
    config = {key: getattr(model.config, key) for key in keys}
    write_json(
        folder / "config.json",
        {"architectures": [type(model).__name__], "model_type": "clip_text_model", **config},
    )
