"""Decoder language models as text encoders: what transformers' models answer, every hidden state, with padding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2Model,
    Qwen2_5_VLTextConfig,
    Qwen3Config,
    Qwen3Model,
)
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

from .random_weights import randomise, to_float16
from .tensors import save_fixture

TOKENS, COUNTED = 11, 7  # the rest is padding

_SIZES: Mapping[str, Any] = {
    "vocab_size": 40, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip

DECODER_CASES: Mapping[str, Mapping[str, Any]] = {
    "qwen3": {**_SIZES, "model_type": "qwen3", "head_dim": 16, "rope_theta": 1e6},
    "qwen3-biased": {**_SIZES, "model_type": "qwen3", "head_dim": 8, "num_key_value_heads": 4, "attention_bias": True,
                     "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
    "qwen2-5": {**_SIZES, "model_type": "qwen2_5_vl", "hidden_size": 32, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
                "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}},
    # Small numbers, so that what is capped and scaled shows.
    "gemma2": {**_SIZES, "model_type": "gemma2", "head_dim": 16, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 5},
}  # fmt: skip

_CLASSES = {"qwen3": (Qwen3Config, Qwen3Model), "qwen2_5_vl": (Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel),
            "gemma2": (Gemma2Config, Gemma2Model)}  # fmt: skip


def write_decoder(path: Path, config: Mapping[str, Any], seed: int) -> None:
    config_class, model_class = _CLASSES[config["model_type"]]
    model = model_class(config_class(**{k: v for k, v in config.items() if k != "model_type"}, pad_token_id=0)).eval()
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    ids = torch.randint(0, config["vocab_size"], (1, TOKENS), generator=generator)
    counted = torch.arange(TOKENS)[None] < COUNTED
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    hidden = model.double()(ids, attention_mask=counted.long(), output_hidden_states=True).hidden_states
    outputs = {f"hidden_states.{i}": states.float() for i, states in enumerate(hidden)}
    save_fixture(path, dict(config), weights, {"ids": ids, "counted": counted.sum()}, outputs)
