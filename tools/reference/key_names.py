"""Older spellings of diffusers' and transformers' tensor names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# The pixels' attention before diffusers 0.17, as SD 1.5's own vae/ and google's ddpm-cat-256 still have it.
OLD_ATTENTION_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def old_attention_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        if ".attentions." in name:
            for new, old in OLD_ATTENTION_NAMES.items():
                name = name.replace(f".{new}.", f".{old}.")
        out[name] = value
    return out


def text_encoder_names(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """A text encoder's tensors without buffers, all but the projection under `prefix`: "text_model." as before
    transformers 5, or "" as since."""
    bare = {name.removeprefix("text_model."): value for name, value in weights.items()}
    return {
        name if name.startswith("text_projection") else prefix + name: value
        for name, value in bare.items()
        if not name.endswith("position_ids")
    }
