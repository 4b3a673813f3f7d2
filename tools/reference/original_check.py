"""Is a single file really in the original layout? diffusers' own converters must turn it into its folder again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import load_file
from torch import Tensor

from .key_names import OLD_ATTENTION_NAMES
from .original_layout import Form, component, read_config


def layout_problems(folder: Path, file: Path, form: Form) -> list[str]:
    """What diffusers' converters make of `file` where it differs from `folder`; empty if nothing does."""
    checkpoint = load_file(file)
    config = read_config(folder / "vae")
    problems = _differences("vae", convert_ldm_vae_checkpoint(dict(checkpoint), config), component(folder / "vae"))
    if form.parts == "vae":
        return problems
    unet = convert_ldm_unet_checkpoint(dict(checkpoint), read_config(folder / "unet"))
    wanted = component(folder / "unet")
    wanted.pop("time_embedding.cond_proj.weight", None)  # which no converter of diffusers takes along
    problems += _differences("unet", unet, wanted)
    for name in ("text_encoder", "text_encoder_2"):
        if (folder / name).is_dir():
            problems += _differences(name, _text_encoder(checkpoint, folder, name), component(folder / name))
    return problems


def _text_encoder(checkpoint: dict[str, Tensor], folder: Path, name: str) -> dict[str, Tensor]:
    """The encoder by the converter that create_diffusers_clip_model_from_ldm takes for it."""
    config = read_config(folder / name)
    number = 1 if name == "text_encoder_2" and (folder / "text_encoder").is_dir() else 0
    for prefix in ("cond_stage_model.model.", f"conditioner.embedders.{number}.model."):
        if config["hidden_act"] == "gelu" and prefix + "positional_embedding" in checkpoint:
            model: Any = SimpleNamespace(config=SimpleNamespace(hidden_size=config["hidden_size"]))
            converted = convert_open_clip_checkpoint(model, checkpoint, prefix)
            if name == "text_encoder":  # SD 2: dropped by name under the one prefix, by load_state_dict under the other
                unused = f"text_model.encoder.layers.{config['num_hidden_layers']}."
                kept = {key: value for key, value in converted.items() if not key.startswith(unused)}
                converted = {key: value for key, value in kept.items() if key != "text_projection.weight"}
            return converted
    known = {
        # diffusers itself cannot read a file without "text_model."; other programs can.
        key.replace(".transformer.embeddings.", ".transformer.text_model.embeddings.")
        .replace(".transformer.encoder.", ".transformer.text_model.encoder.")
        .replace(".transformer.final_layer_norm.", ".transformer.text_model.final_layer_norm."): value
        for key, value in checkpoint.items()
    }
    converted = convert_ldm_clip_checkpoint(known)
    # transformers drops both.
    return {key: value for key, value in converted.items() if not key.endswith(("position_ids", "text_projection.weight"))}


def _differences(part: str, converted: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[str]:
    for new, old in OLD_ATTENTION_NAMES.items() if part == "vae" else ():
        wanted = {key.replace(f"attentions.0.{old}.", f"attentions.0.{new}."): wanted[key] for key in wanted}
    problems = [f"{part}: {key} is missing" for key in wanted.keys() - converted.keys()]
    problems += [f"{part}: {key} is too many" for key in converted.keys() - wanted.keys()]
    for key in wanted.keys() & converted.keys():
        value = converted[key]
        if value is None or not torch.equal(value.float(), wanted[key].float()):
            problems.append(f"{part}: {key} differs")
    return sorted(problems)
