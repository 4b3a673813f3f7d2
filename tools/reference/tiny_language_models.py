"""Tiny random language models as the text encoders of diffusion transformers: Qwen3 and Gemma 2, with tokenizers of our own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from .random_weights import randomise
from .vocabulary import SENTENCES

SMALL_QWEN3: Mapping[str, Any] = {
    "hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "rope_theta": 1e6, "max_position_embeddings": 2048, "tie_word_embeddings": True,
}  # fmt: skip
SMALL_GEMMA2: Mapping[str, Any] = {
    "hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 2.0, "max_position_embeddings": 2048,
}  # fmt: skip

# Qwen3's, as far as one message of a user goes.
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
_QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN_ADDED = ("<think>", "</think>")  # which are words like others, but never divided


def _learned(size: int, pieces: pre_tokenizers.PreTokenizer, alphabet: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of so many tokens, and its merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pieces
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def write_qwen_tokenizer(folder: Path) -> int:
    """Byte-level BPE in small; returns how many ids there are."""
    pieces = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    vocab, merges = _learned(400, pieces, pre_tokenizers.ByteLevel.alphabet())
    made = Qwen2Tokenizer(vocab=vocab, merges=merges, eos_token="<|im_end|>", extra_special_tokens=list(_QWEN_SPECIAL))
    made.add_tokens([AddedToken(token, special=False, normalized=False) for token in _QWEN_ADDED])
    made.chat_template = CHAT_TEMPLATE
    made.save_pretrained(folder)
    return len(made)


def write_qwen3(folder: Path, seed: int, config: Mapping[str, Any] | None = None, *, causal: bool = False) -> dict[str, Any]:
    """Writes tokenizer/ and text_encoder/; returns their part of model_index.json. `causal`: with the head that makes words."""
    size = write_qwen_tokenizer(folder / "tokenizer")
    kind = Qwen3ForCausalLM if causal else Qwen3Model
    model = kind(Qwen3Config(vocab_size=size + 3, **{**SMALL_QWEN3, **(config or {})}))
    _save(model, folder / "text_encoder", seed)
    return {"tokenizer": ["transformers", "Qwen2Tokenizer"], "text_encoder": ["transformers", kind.__name__]}


def write_qwen25_vl(folder: Path, seed: int, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The same of Qwen2.5-VL, which could see as well."""
    size = write_qwen_tokenizer(folder / "tokenizer")
    text = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
            "rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}, "vocab_size": size + 3, **(config or {})}  # fmt: skip
    eye = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": text["hidden_size"], "fullatt_block_indexes": [0]}
    tokens = dict.fromkeys(("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"), size)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=eye, **tokens))
    _save(model, folder / "text_encoder", seed)
    return {"tokenizer": ["transformers", "Qwen2Tokenizer"], "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"]}


def write_gemma_tokenizer(folder: Path) -> int:
    """BPE with a token for every byte that no other covers; returns how many ids there are."""
    bytes_of_none = [f"<0x{byte:02X}>" for byte in range(256)]
    alphabet = sorted({"▁", *(letter for line in SENTENCES for letter in line if letter != " " and letter.isascii())})
    learned, merges = _learned(300, pre_tokenizers.Metaspace(prepend_scheme="never", split=False), alphabet)
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *bytes_of_none, *learned]
    made = GemmaTokenizer(vocab={token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges=merges,
                          add_bos_token=True)  # fmt: skip (as released folders say it, whatever the class does by itself)
    made.save_pretrained(folder)
    return len(made)


def write_gemma2(folder: Path, seed: int, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The same as write_qwen3() of Gemma 2."""
    size = write_gemma_tokenizer(folder / "tokenizer")
    model = Gemma2Model(Gemma2Config(vocab_size=size + 3, **{**SMALL_GEMMA2, **(config or {})}))
    _save(model, folder / "text_encoder", seed)
    return {"tokenizer": ["transformers", "GemmaTokenizer"], "text_encoder": ["transformers", "Gemma2Model"]}


def _save(model: torch.nn.Module, folder: Path, seed: int) -> None:
    randomise(model, seed + 3000)
    model.save_pretrained(folder)
