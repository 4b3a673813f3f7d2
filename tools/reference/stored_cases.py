"""What is asked of models after Flux.1 whose transformers and text encoders are in codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .encodings import SCALED
from .parity_case import ParityCase
from .pictures import PictureRequest


def stored_name(family: str, encoding: str) -> str:
    return f"{family}-{encoding.lower()}"


def stored_cases(family: str, base: PictureRequest, text: str, encodings: tuple[str, ...]) -> Iterator[ParityCase]:
    """The transformer by its makers' names and by diffusers', `text` (its text encoder, in a file of its own), and the autoencoder."""
    for encoding in encodings:
        model = stored_name(family, encoding)
        asked = replace(base, text_encoder=(f"{model}@{text}",), vae=f"{model}@ae")
        for form in ("stored", "stored-diffusers"):
            yield ParityCase("alone", model, asked, form=form)
        if text == "language-model-stored" and encoding not in SCALED:  # GGUF, which can hold the tokenizer
            yield ParityCase("own-words", model, replace(asked, text_encoder=(f"{model}@own-words/language-model",)), form="stored")
