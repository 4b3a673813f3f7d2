"""Textual inversion files of every layout, and diffusers' pipelines that know their words."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from torch import nn


@dataclass(frozen=True)
class WordSpec:
    """A file: the word it is for, its vectors, and whose names its tensors have."""

    word: str
    vectors: int = 1
    layout: str = "a1111"  # emb_params; "diffusers": the word; "sdxl": clip_l and clip_g
    flat: bool = False  # one vector without the dimension that counts them

    @property
    def file_name(self) -> str:
        """In a folder of its own, for A1111's files are named like the word."""
        return f"{self.layout}-{self.vectors}-{self.flat}/{self.word if self.layout != 'diffusers' else 'learned'}.safetensors"


@dataclass(frozen=True)
class Word:
    """A file made for a model."""

    model: str
    spec: WordSpec


WORDS = {
    "one": WordSpec("EasyThing"),
    "three": WordSpec("my-style", 3),
    "flat": WordSpec("<flat>", flat=True, layout="diffusers"),
    "diffusers": WordSpec("<cat-toy>", 2, "diffusers"),
    "xl-one": WordSpec("xl_thing", 1, "sdxl"),
    "xl-three": WordSpec("<xl thing>", 3, "sdxl"),
}
_ENCODERS = {"text_encoder": ("tokenizer", "clip_l"), "text_encoder_2": ("tokenizer_2", "clip_g")}


def write_word(pipe: DiffusionPipeline, spec: WordSpec, file: Path) -> None:
    generator = torch.Generator("cpu").manual_seed(len(spec.word) + spec.vectors)
    tensors = {}
    for encoder, (_, name) in _ENCODERS.items():
        model = getattr(pipe, encoder, None)
        if model is not None:
            vectors = 1.5 * torch.randn(spec.vectors, model.config.hidden_size, generator=generator)
            tensors[name] = vectors[0].clone() if spec.flat else vectors
    if spec.layout != "sdxl":
        tensors = {"emb_params" if spec.layout == "a1111" else spec.word: tensors["clip_l"]}
    save_file(tensors, file, {"format": "pt"})


def with_words(pipe: DiffusionPipeline, words: list[tuple[WordSpec, Path]]) -> DiffusionPipeline:
    """A copy of the pipeline that has loaded the files."""
    from safetensors.torch import load_file

    own = {name for encoder, (tokenizer, _) in _ENCODERS.items() for name in (encoder, tokenizer)}
    parts = {name: copy.deepcopy(part) if name in own else part for name, part in pipe.components.items()}
    changed = type(pipe)(**parts)
    changed.set_progress_bar_config(disable=True)
    for key, value in pipe.config.items():
        if key not in changed.config or changed.config[key] != value:
            changed.register_to_config(**{key: value})
    for spec, file in words:
        tensors = load_file(file)
        for encoder, (tokenizer, name) in _ENCODERS.items():
            model: nn.Module | None = getattr(changed, encoder, None)
            if model is None:
                continue
            vectors = tensors[name] if spec.layout == "sdxl" else next(iter(tensors.values()))
            changed.load_textual_inversion(
                {spec.word: vectors if vectors.dim() > 1 else vectors.unsqueeze(0)}, token=spec.word,
                text_encoder=model, tokenizer=getattr(changed, tokenizer),
            )  # fmt: skip
    return changed
