"""Tiny random Z-Image folders, what the parity run asks of them, and the mistakes that it has to notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import DiffusionPipeline, ZImageTransformer2DModel
from torch import Tensor

from .encodings import NEWER_ENCODINGS, round_folder
from .families import FULL_VAE
from .faults import Fault, patched, rescheduled, rolled
from .parity_case import ParityCase
from .pictures import PictureRequest
from .pixart import vae_of_levels
from .random_weights import randomise
from .schedulers import FLOW_SCHEDULERS, class_has, has, row
from .stored_cases import stored_cases, stored_name
from .tiny_language_models import write_qwen3
from .tiny_transformers import scale_last, write_flow_vae
from .vocabulary import write_json

# scheduler_config.json of Z-Image-Turbo.
SCHEDULER: Mapping[str, Any] = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": "0.36.0.dev0",
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": False,
}

_TRANSFORMER: Mapping[str, Any] = {
    "in_channels": 16, "dim": 48, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 3, "n_kv_heads": 3, "cap_feat_dim": 40,
    "axes_dims": (4, 4, 8), "axes_lens": (1024, 64, 64),
}  # fmt: skip
FLUX_SCALING: Mapping[str, Any] = {"scaling_factor": 0.3611, "shift_factor": 0.1159}


@dataclass(frozen=True)
class ZImageSpec:
    name: str
    seed: int
    transformer: Mapping[str, Any] = field(default_factory=dict)  # keys that differ
    scheduler: Mapping[str, Any] = field(default_factory=lambda: dict(SCHEDULER))
    vae: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)
    encoding: str | None = None  # of its transformer and language model: see encodings.py
    pipeline: str = "ZImagePipeline"
    variant: str | None = None

    def build(self, folder: Path) -> None:
        """Writes a diffusers folder. The same spec gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            index = write_qwen3(folder, self.seed, self.text)
            self._transformer(folder / "transformer")
            if self.encoding:
                round_folder(folder, ("transformer", "text_encoder"), self.encoding)
            write_flow_vae(folder / "vae", {**FLUX_SCALING, **self.vae}, self.seed, tiny=False)
        write_pipeline(folder, self.pipeline, self.scheduler, index, "ZImageTransformer2DModel")

    def _transformer(self, folder: Path) -> None:
        network = ZImageTransformer2DModel(**{**_TRANSFORMER, **self.transformer})
        randomise(network, self.seed + 1)
        config, generator = network.config, torch.Generator("cpu").manual_seed(self.seed + 100)
        output = network(
            list(torch.randn(4, config.in_channels, 1, 8, 12, generator=generator)), torch.tensor([0.0, 0.1, 0.5, 0.9]),
            list(torch.randn(4, 40, config.cap_feat_dim, generator=generator)),
        ).sample  # fmt: skip
        scale_last(network.all_final_layer["2-1"].linear, float(torch.stack(output).std()))
        network.save_pretrained(folder)


def write_pipeline(folder: Path, pipeline: str, scheduler: Mapping[str, Any], text: Mapping[str, Any], transformer: str) -> None:
    """What is in a folder besides the networks."""
    (folder / "scheduler").mkdir()
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    write_json(folder / "model_index.json", {
        "_class_name": pipeline,
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", scheduler["_class_name"]],
        **text,
        "transformer": ["diffusers", transformer],
        "vae": ["diffusers", "AutoencoderKL"],
    })  # fmt: skip


Z_IMAGE: tuple[ZImageSpec, ...] = (
    ZImageSpec("z-image", 800),
    # Of a schedule that grows with the picture, another scale of the step, wider heads than its axes' usual share, and
    # an autoencoder of a factor of 8.
    ZImageSpec("z-image-dynamic", 810, {"axes_dims": (8, 4, 4), "t_scale": 800.0, "rope_theta": 100.0, "n_refiner_layers": 2},
               {**SCHEDULER, "use_dynamic_shifting": True}, vae_of_levels(4)),
)  # fmt: skip
# By the rules by which single files are read.
Z_IMAGE_FILES: tuple[ZImageSpec, ...] = (
    ZImageSpec("z-image-file", 820, {"n_refiner_layers": 2, "axes_dims": (4, 6, 6)}, vae=FULL_VAE),
    *(ZImageSpec(stored_name("z-image", encoding), 8200 + number,
                 {"dim": 256, "n_heads": 16, "n_kv_heads": 16, "axes_dims": (4, 6, 6), "cap_feat_dim": 64}, vae=FULL_VAE,
                 text={"hidden_size": 64, "intermediate_size": 256}, encoding=encoding) for number, encoding in enumerate(NEWER_ENCODINGS)),
)  # fmt: skip

BASE = PictureRequest(seed=3, steps=4, guidance_scale=2.5, width=48, height=32)
LONG = "a very long prompt about " + ", ".join(f"{n} red foxes and {n} blue birds" for n in range(6))
PROMPTS = {
    "empty": "", "unicode": "Ein rotes Haus, красный дом, 一只红苹果 🦊", "space": "  a  fox\n in snow ", "long": LONG,
    "turns": "a fox<|im_end|>\n<|im_start|>user\nno, a bird", "thought": "a <think>fox</think>",
}  # fmt: skip
PHOTO = {"init_image": "photo-32x32", "width": 32, "height": 32}
PAINTED = {"init_image": "photo-64x48", "mask": "disc-64x48", "width": 64, "height": 48}


def z_image_cases() -> Iterator[ParityCase]:
    for spec in Z_IMAGE:
        yield from single_stream_cases(spec.name, BASE, PROMPTS)
        yield from _of_pictures(spec.name, BASE)
    model = "z-image"
    for scale in (0.0, 0.5, 1.0, 5.0):
        yield ParityCase(f"guidance-{scale}", model, replace(BASE, guidance_scale=scale))
    yield ParityCase("turbo", model, replace(BASE, guidance_scale=0.0, steps=9, negative_prompt="rain"))
    yield ParityCase("defaults", model, replace(BASE, steps=None, guidance_scale=None))
    yield ParityCase("image-defaults", model, replace(BASE, steps=5, guidance_scale=None, **PHOTO))
    yield from _single_files()
    for length in (16, 64):
        yield ParityCase(f"length-{length}", model, replace(BASE, prompt=LONG, max_sequence_length=length))
    for name in FLOW_SCHEDULERS:
        if class_has(row(name)[0], "use_dynamic_shifting"):  # diffusers' pipelines refuse the others
            steps = 1 if has(name, "scale_factors") else 4  # new noise at every step lets rounding decide
            yield ParityCase(f"scheduler-{name}", model, replace(BASE, scheduler=name, steps=steps))


def _single_files() -> Iterator[ParityCase]:
    """Transformer, language model and autoencoder in files of their own, in all the names that people have."""
    for spec in Z_IMAGE_FILES:
        if not spec.encoding:
            yield from file_cases(spec.name, BASE)
    yield from stored_cases("z-image", BASE, "language-model-stored", NEWER_ENCODINGS)


def file_cases(model: str, base: PictureRequest) -> Iterator[ParityCase]:
    text = {"text_encoder": (f"{model}@language-model",)}
    yield ParityCase("own", model, base)
    for form in ("bare", "diffusers"):
        yield ParityCase("alone", model, replace(base, vae=f"{model}@ae", **text), form=form)
    yield ParityCase("with-text", model, replace(base, **text), form="original")
    yield ParityCase("with-folder", model, replace(base, text_encoder=(f"{model}@text_encoder-folder",)), form="prefixed-diffusers")


def single_stream_cases(model: str, base: PictureRequest, prompts: Mapping[str, str]) -> Iterator[ParityCase]:
    """Prompts of a batch differ in length: each picture is the same as alone."""
    for steps in (1, 4, 9):
        yield ParityCase(f"steps-{steps}", model, replace(base, steps=steps))
    for width, height in ((32, 48), (16, 64), (96, 48), (128, 96)):
        yield ParityCase(f"size-{width}x{height}", model, replace(base, width=width, height=height))
    for name, prompt in prompts.items():
        yield ParityCase(name, model, replace(base, prompt=prompt))
    for name, keys in (("", {}), ("-empty", {"negative_prompt": ""}), ("-long", {"negative_prompt": LONG})):
        yield ParityCase(f"negative{name}", model, replace(base, **{"negative_prompt": "a blue bird", **keys}))
    yield ParityCase("unguided", model, replace(base, guidance_scale=0.0))
    yield ParityCase("batch", model, replace(base, negative_prompt="a bird that is blue, in rain"), images=3, batch_size=2)
    for seed in (0, 2**32 + 7):
        yield ParityCase(f"seed-{seed}", model, replace(base, seed=seed))


def _of_pictures(model: str, base: PictureRequest) -> Iterator[ParityCase]:
    image = replace(base, steps=5, **PHOTO)
    for name, keys in (("", {}), ("-least", {"strength": 0.3}), ("-all", {"strength": 1.0}), ("-turbo", {"guidance_scale": 0.0})):
        yield ParityCase(f"image{name}", model, replace(image, **keys))
    yield ParityCase("image-batch", model, image, images=3, batch_size=2)
    painted = replace(base, steps=5, **PAINTED)
    for name, keys in (("", {}), ("-strength", {"strength": 0.5}), ("-negative", {"negative_prompt": "rain"}), ("-blur", {"mask_blur": 3})):
        yield ParityCase(f"inpaint{name}", model, replace(painted, **keys))


# --- Mistakes


def told(change: Callable[[list[Any]], list[Any]]) -> Fault:
    """What the transformer is asked in order: latents, steps, states of the prompts."""

    def fault(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
        own = pipe.transformer.forward
        return patched(pipe.transformer, "forward", lambda *args, **more: own(*change(list(args)), **more))

    return fault


def _placed(change: Callable[[Tensor], Tensor]) -> Fault:
    def fault(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
        own = pipe.transformer.rope_embedder
        return patched(pipe.transformer, "rope_embedder", lambda ids: own(change(ids)))

    return fault


def _unthinking(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    own = pipe.tokenizer.apply_chat_template
    return patched(pipe.tokenizer, "apply_chat_template", lambda *args, **more: own(*args, **{**more, "enable_thinking": False}))


def other_states(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """Those of one layer further."""
    own = pipe.text_encoder.forward

    def forward(*args: Any, **more: Any) -> Any:
        states = own(*args, **more).hidden_states
        return SimpleNamespace(hidden_states=(*states[1:], states[-1]))

    return patched(pipe.text_encoder, "forward", forward)


Z_IMAGE_MISTAKES: Mapping[str, tuple[dict[str, Any], Fault | None]] = {
    "seed": ({"seed": 22}, None),
    "prompt": ({"prompt": "a red fox in the rain"}, None),
    "negative": ({"negative_prompt": "a blue bird"}, None),
    "guidance": ({"guidance_scale": 1.5}, None),  # as if it were counted from the negative prompt's answer
    "steps": ({"steps": 5}, None),
    "levels": ({}, rescheduled(shift=2.0, use_dynamic_shifting=False)),
    "thinking": ({}, _unthinking),
    "states": ({}, other_states),
    "time": ({}, told(lambda args: [args[0], args[1] * 0.9, *args[2:]])),
    "words": ({}, told(lambda args: [*args[:2], [states[:-1] for states in args[2]]])),
    "batch": ({}, told(lambda args: [*args[:2], args[2][::-1]])),
    "axes": ({}, _placed(lambda ids: ids[:, [0, 2, 1]])),
    "place": ({}, _placed(lambda ids: torch.cat([torch.where(ids[:, 1:].any(1, keepdim=True), 1, ids[:, :1]), ids[:, 1:]], 1))),
    "words-placed": ({}, _placed(lambda ids: torch.where(ids[:, 1:].any(1, keepdim=True), ids, 0))),
    "pads": ({}, rolled("x_pad_token", 7, 1)),
    "word-pads": ({}, rolled("cap_pad_token", 7, 1)),
    "packing": ({}, rolled("all_x_embedder.2-1.weight", 1, 1)),
    "gates": ({}, rolled("layers.0.adaLN_modulation.0.bias", 48)),
    "refiner-gates": ({}, rolled("noise_refiner.0.adaLN_modulation.0.bias", 48)),
    "last-norm": ({}, rolled("all_final_layer.2-1.adaLN_modulation.1.bias", 5)),
}
