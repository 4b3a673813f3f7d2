"""The models of the parity run: on the disk for sdgen, as pipelines of diffusers, and diffusers' pictures."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from safetensors.torch import load_file

from .control_files import ControlUse, Network, load_control, write_control
from .encodings import write_converted, write_stored_folder
from .lora_files import LoraUse, with_loras, write_lora
from .original_check import layout_problems
from .original_layout import FORMS, UNET_FILES, form_of, write_original, write_unet
from .pictures import PictureRequest, backbone, load_pipeline, render
from .quantized import ENDINGS, convert, is_quantized, quantized_parts
from .taesd import FILES as TAESD_FILES
from .taesd import write_taesd
from .tiny import ModelSpec
from .transformer_files import TRANSFORMER_FILES, encoder_part, transformer_problems, vocabulary, write_transformer
from .unconditional import UnconditionalSpec
from .words import Word, with_words, write_word


class ModelStore:
    """Models by name, made when first asked for, in a folder that several processes may share. MODEL is a diffusers folder,
    MODEL@vae-folder and MODEL@unet-folder its vae/ and its unet/, and MODEL@FORM a single file of a form of original_layout.py or taesd.py. The empty name is
    a folder from elsewhere."""

    def __init__(self, root: Path, specs: Mapping[str, ModelSpec | UnconditionalSpec], given: Path | None = None,
                 sdgen: Path | None = None) -> None:  # fmt: skip
        self.root, self.specs, self.given, self.sdgen = root, specs, given, sdgen
        self._pipelines: dict[str, DiffusionPipeline] = {}
        self._controls: dict[str, Network] = {}
        self._pictures: dict[tuple[str, tuple[PictureRequest, ...]], list[np.ndarray]] = {}

    def locate(self, name: str | LoraUse | Word | ControlUse) -> Path:
        if isinstance(name, LoraUse):
            return self._lora(name)
        if isinstance(name, Word):
            return self._word(name)
        if isinstance(name, ControlUse):
            return self._control(name)
        model, _, form = name.partition("@")
        folder = self._folder(model)
        if form in ("", "folder"):
            return folder
        if form == "folder-stored":
            return _made(self.root / model / form, lambda new: write_stored_folder(folder, new))
        if form.endswith("-sdcpp"):
            plain = self.locate(f"{model}@{form.removesuffix('-sdcpp')}")
            return _made(self.root / model / f"{form}.gguf", lambda new: write_converted(new, load_file(plain)))
        if form.endswith("-folder"):
            return folder / form.removesuffix("-folder")

        def write(file: Path) -> None:
            if form in TAESD_FILES:
                write_taesd(folder, file, form)
            elif form in UNET_FILES:
                write_unet(folder, file, form)
            elif model not in FORMS:
                write_transformer(folder, file, form)
            else:
                write_original(folder, file, form_of(model, form))

        for word in vocabulary(folder) if form in TRANSFORMER_FILES and model not in FORMS else ():
            _made(self.root / model / word.name, lambda new, word=word: shutil.copy(word, new))
        return _made(self.root / model / f"{form}.safetensors", write)

    def layout_problems(self, model: str, form: str) -> list[str]:
        if form == "folder-stored" or form.endswith("-sdcpp"):
            return []
        if model not in FORMS:
            return transformer_problems(self._folder(model), self.locate(f"{model}@{form}"), form)
        return layout_problems(self._folder(model), self.locate(f"{model}@{form}"), form_of(model, form))

    def pipeline(self, model: str) -> DiffusionPipeline:
        if model not in self._pipelines:
            variant = self.specs[model].variant if model in self.specs else None
            self._pipelines[model] = load_pipeline(self._folder(model), variant)
        return self._pipelines[model]

    def pictures(self, model: str, requests: Sequence[PictureRequest]) -> list[np.ndarray]:
        """diffusers' answer, kept: the forms of a model hold the same weights."""
        key = (model, tuple(requests))
        if key not in self._pictures:
            pipe = self.with_files(model, requests[0])
            self._pictures[key] = render(pipe, list(requests), *self.companions(requests[0]))
        return self._pictures[key]

    def with_files(self, model: str, request: PictureRequest) -> DiffusionPipeline:
        """The pipeline with the request's U-Net, LoRAs and textual inversions in it."""
        pipe = self.pipeline(model)
        if request.unet:
            pipe = _with_unet(pipe, self.pipeline(request.unet.partition("@")[0]))
        if request.text_encoder:
            pipe = self._with_text_encoders(pipe, request.text_encoder)
        if request.quantize:
            pipe = self._quantized(model, pipe, request.quantize)
        if request.lora:
            pipe = with_loras(pipe, [(use, self.locate(use)) for use in request.lora])
        return self._with_words(pipe, request)

    def _with_text_encoders(self, pipe: DiffusionPipeline, places: Sequence[str]) -> DiffusionPipeline:
        parts = {}
        for place in places:
            model, _, form = place.partition("@")
            part = encoder_part(self._folder(model), form) if form in TRANSFORMER_FILES else form.removesuffix("-folder")
            parts[part] = getattr(self.pipeline(model), part)
        return _with_parts(pipe, parts)

    def _quantized(self, model: str, pipe: DiffusionPipeline, how: str) -> DiffusionPipeline:
        """With the numbers of the codes that sdgen writes."""
        folder, files = self._folder(model), {}
        for part, module in pipe.components.items():
            if is_quantized(part, module):
                target = self.root / model / "quantized" / how / f"{part}.{ENDINGS[how]}"
                files[part] = _made(target, lambda new, part=part: convert(self.sdgen, folder / part, new, f"--quantize={how}"))
        made = type(pipe).from_pipe(pipe, **quantized_parts(pipe, files))
        made.set_progress_bar_config(disable=True)
        return made

    def _with_words(self, pipe: DiffusionPipeline, request: PictureRequest) -> DiffusionPipeline:
        words = request.textual_inversion or ()
        return with_words(pipe, [(word.spec, self.locate(word)) for word in words]) if words else pipe

    def _word(self, word: Word) -> Path:
        file = self.root / word.model / "words" / word.spec.file_name
        return _made(file, lambda new: write_word(self.pipeline(word.model), word.spec, new))

    def _lora(self, use: LoraUse) -> Path:
        def write(folder: Path) -> None:
            folder.mkdir()
            write_lora(self.pipeline(use.model), use.spec, folder / f"{use.spec.name}.safetensors")

        return _made(self.root / use.model / "loras" / use.spec.name, write) / f"{use.spec.name}.safetensors"

    def release(self) -> None:
        """Forgets pipelines and pictures; the files stay."""
        self._pipelines.clear()
        self._controls.clear()
        self._pictures.clear()

    def companions(
        self, request: PictureRequest
    ) -> tuple[DiffusionPipeline | None, AutoencoderKL | None, list[Network]]:
        """The pipeline, the VAE and the control networks that the request names."""
        refiner = self.pipeline(request.refiner.partition("@")[0]) if request.refiner else None
        refiner = self._with_words(refiner, request) if refiner is not None else None
        vae = self.pipeline(request.vae.partition("@")[0]).vae if request.vae else None
        return refiner, vae, [self._controls[self._control_key(use)] for use in self._located(request.controls or ())]

    @staticmethod
    def _control_key(use: ControlUse) -> str:
        return f"{use.model}/{use.spec.name}"

    def _located(self, uses: tuple[ControlUse, ...]) -> tuple[ControlUse, ...]:
        """The same, with their folders there and read."""
        for use in uses:
            if self._control_key(use) not in self._controls:
                self._controls[self._control_key(use)] = load_control(self._control(replace(use, form="folder")))
        return uses

    def _control(self, use: ControlUse) -> Path:
        def write(folder: Path) -> None:
            pipe = self.pipeline(use.model)
            with torch.no_grad():
                write_control(use.spec.build(backbone(pipe), pipe.vae_scale_factor), use.form, folder)

        folder = _made(self.root / use.model / "controls" / f"{use.spec.name}-{use.form}", write)
        return folder / ("folder" if use.form == "folder" else f"{use.form}.safetensors")

    def _folder(self, model: str) -> Path:
        if not model and self.given is not None:
            return self.given
        return _made(self.root / model / "folder", self.specs[model].build)


def _with_unet(pipe: DiffusionPipeline, other: DiffusionPipeline) -> DiffusionPipeline:
    """The pipeline with the U-Net of another one; of another kind, with that one's class and scheduler too."""
    scheduler = pipe.scheduler if type(pipe) is type(other) else other.scheduler
    made = type(other).from_pipe(pipe, unet=other.unet, scheduler=scheduler)
    made.set_progress_bar_config(disable=True)
    return made


def _with_parts(pipe: DiffusionPipeline, parts: Mapping[str, Any]) -> DiffusionPipeline:
    """The pipeline with other networks in it; what its index says besides (is_distilled) stays."""
    _, options = type(pipe)._get_signature_keys(type(pipe))
    said = {key: pipe.config[key] for key in options if key in pipe.config}
    made = type(pipe)(**{**said, **pipe.components, **parts})
    made.set_progress_bar_config(disable=True)
    return made


def _made(path: Path, make: Callable[[Path], None]) -> Path:
    """The file or folder, made if it is not there: whole or not at all, whichever process is first."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
            new = Path(scratch) / path.name
            make(new)
            try:
                new.rename(path)
            except OSError:
                if not path.exists():
                    raise
    return path
