"""Tiny random Lumina-Image 2 folders, what the parity run asks of them, and the mistakes that it has to notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, Lumina2Transformer2DModel

from .encodings import round_folder
from .families import FULL_VAE
from .faults import Fault, asked_of_transformer, patched, rescheduled, rolled
from .parity_case import ParityCase
from .pictures import PictureRequest
from .pixart import vae_of_levels
from .random_weights import randomise
from .stored_cases import stored_cases, stored_name
from .tiny_language_models import write_gemma2
from .tiny_transformers import scale_last, write_flow_vae
from .z_image import FLUX_SCALING, LONG, file_cases, other_states, single_stream_cases, write_pipeline

# scheduler_config.json of Lumina-Image-2.0.
SCHEDULER: Mapping[str, Any] = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": "0.33.0.dev0",
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
    "shift": 6.0,
    "use_dynamic_shifting": False,
}

_TRANSFORMER: Mapping[str, Any] = {
    "sample_size": 8, "in_channels": 16, "hidden_size": 72, "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 6,
    "num_kv_heads": 2, "multiple_of": 8, "axes_dim_rope": (4, 4, 4), "axes_lens": (300, 64, 64), "cap_feat_dim": 40,
}  # fmt: skip


@dataclass(frozen=True)
class Lumina2Spec:
    name: str
    seed: int
    transformer: Mapping[str, Any] = field(default_factory=dict)  # keys that differ
    scheduler: Mapping[str, Any] = field(default_factory=lambda: dict(SCHEDULER))
    # diffusers' pipeline takes it for granted that the autoencoder's factor is 8.
    vae: Mapping[str, Any] = field(default_factory=lambda: vae_of_levels(4))
    text: Mapping[str, Any] = field(default_factory=dict)
    encoding: str | None = None  # of its transformer: see encodings.py
    variant: str | None = None
    pipeline: str = "Lumina2Pipeline"

    def build(self, folder: Path) -> None:
        """Writes a diffusers folder. The same spec gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            index = write_gemma2(folder, self.seed, self.text)
            self._transformer(folder / "transformer")
            if self.encoding:
                round_folder(folder, ("transformer",), self.encoding)
            write_flow_vae(folder / "vae", {**FLUX_SCALING, **self.vae}, self.seed, tiny=False)
        write_pipeline(folder, self.pipeline, self.scheduler, index, "Lumina2Transformer2DModel")

    def _transformer(self, folder: Path) -> None:
        network = Lumina2Transformer2DModel(**{**_TRANSFORMER, **self.transformer})
        randomise(network, self.seed + 1)
        config, generator = network.config, torch.Generator("cpu").manual_seed(self.seed + 100)
        output = network(
            torch.randn(4, config.in_channels, 8, 12, generator=generator), torch.tensor([0.0, 0.1, 0.5, 0.9]),
            torch.randn(4, 40, config.cap_feat_dim, generator=generator), torch.ones(4, 40, dtype=torch.int64),
        ).sample  # fmt: skip
        scale_last(network.norm_out.linear_2, float(output.std()))
        network.save_pretrained(folder)


LUMINA2: tuple[Lumina2Spec, ...] = (
    Lumina2Spec("lumina2", 830),
    # Of a schedule that grows, as diffusers has it, with the latents' channels; and heads that all have keys of their own.
    Lumina2Spec("lumina2-dynamic", 840, {"num_kv_heads": 6, "num_refiner_layers": 2, "ffn_dim_multiplier": 0.7},
                {**SCHEDULER, "use_dynamic_shifting": True}),
)  # fmt: skip
# Of its language model llama.cpp changes the norms.
_ENCODINGS = ("Q8_0", "fp8-new")
LUMINA2_FILES: tuple[Lumina2Spec, ...] = (
    # By the rules by which single files are read, Gemma's too.
    Lumina2Spec("lumina2-file", 850, {"sample_size": 128, "multiple_of": 288, "num_refiner_layers": 2}, vae=FULL_VAE,
                text={"head_dim": 256, "query_pre_attn_scalar": 256, "num_attention_heads": 2, "num_key_value_heads": 1,
                      "attn_logit_softcapping": 50.0}),
    *(Lumina2Spec(stored_name("lumina2", encoding), 8500 + number,
                  {"sample_size": 128, "hidden_size": 288, "num_attention_heads": 12, "num_kv_heads": 4, "axes_dim_rope": (8, 8, 8),
                   "multiple_of": 288, "cap_feat_dim": 64}, vae=FULL_VAE, text={"hidden_size": 64}, encoding=encoding)
      for number, encoding in enumerate(_ENCODINGS)),
)  # fmt: skip

BASE = PictureRequest(seed=3, steps=4, guidance_scale=4.0, width=48, height=32)
PROMPTS = {"empty": "", "unicode": "Ein rotes Haus, красный дом, 一只红苹果 🦊", "space": "  a  fox\n in snow ", "long": LONG}


def lumina2_cases() -> Iterator[ParityCase]:
    for spec in LUMINA2:
        yield from single_stream_cases(spec.name, BASE, PROMPTS)
    for spec in LUMINA2_FILES:
        if not spec.encoding:
            yield from file_cases(spec.name, BASE)
    yield from stored_cases("lumina2", BASE, "text_encoder-folder", _ENCODINGS)
    model = "lumina2"
    for scale in (1.0, 1.5, 9.0):
        yield ParityCase(f"guidance-{scale}", model, replace(BASE, guidance_scale=scale))
    yield ParityCase("defaults", model, replace(BASE, steps=None, guidance_scale=None))
    for length in (100, 512):
        yield ParityCase(f"length-{length}", model, replace(BASE, prompt=LONG, max_sequence_length=length))


# --- Mistakes


def _purposeless(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    return patched(pipe, "system_prompt", "You are an assistant.")


def _plain_guidance(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """Without the norms of its rows."""
    own = torch.norm
    return patched(torch, "norm", lambda x, *args, **more: torch.ones(1) if more.get("dim") == -1 else own(x, *args, **more))


LUMINA2_MISTAKES: Mapping[str, tuple[dict[str, Any], Fault | None]] = {
    "seed": ({"seed": 22}, None),
    "prompt": ({"prompt": "a red fox in the rain"}, None),
    "negative": ({"negative_prompt": "a blue bird"}, None),
    "guidance": ({"guidance_scale": 3.0}, None),
    "steps": ({"steps": 5}, None),
    "levels": ({}, rescheduled(shift=0.5, use_dynamic_shifting=False)),
    "purpose": ({}, _purposeless),
    "norms": ({}, _plain_guidance),
    "states": ({}, other_states),
    "time": ({}, asked_of_transformer(timestep=lambda t: t * 0.5)),
    "words": ({}, asked_of_transformer(encoder_attention_mask=lambda mask: mask * (mask.cumsum(1) <= 20))),
    "mask": ({}, asked_of_transformer(encoder_attention_mask=torch.ones_like)),
    "packing": ({}, rolled("x_embedder.weight", 1, 1)),
    "gates": ({}, rolled("layers.0.norm1.linear.bias", 72)),
    "refiner-gates": ({}, rolled("noise_refiner.0.norm1.linear.bias", 72)),
    "last-norm": ({}, rolled("norm_out.linear_1.bias", 5)),
}
