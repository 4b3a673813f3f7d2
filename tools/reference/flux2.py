"""Tiny random FLUX.2 klein folders, what the parity run asks of them, and the mistakes that it has to notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, DiffusionPipeline, Flux2Transformer2DModel
from torch import Tensor

from .encodings import NEWER_ENCODINGS, round_folder
from .faults import Fault, asked_of_transformer, patched, rescheduled, rolled
from .flux import DYNAMIC_SCHEDULER, PROMPTS
from .parity_case import ParityCase
from .pictures import PictureRequest
from .pixart import vae_of_levels
from .random_weights import as_drawn, randomise, scale_output
from .schedulers import FLOW_SCHEDULERS, class_has, has, row
from .stored_cases import stored_cases, stored_name
from .tiny_language_models import write_qwen3
from .vocabulary import write_json

_TRANSFORMER: Mapping[str, Any] = {
    "in_channels": 16, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
    "joint_attention_dim": 72, "axes_dims_rope": (4, 4, 4, 4), "guidance_embeds": False,
}  # fmt: skip
_VAE: Mapping[str, Any] = {**vae_of_levels(3), "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4}
# By the rules by which single files are read.
_FILE_TRANSFORMER: Mapping[str, Any] = {"attention_head_dim": 128, "num_attention_heads": 1, "axes_dims_rope": (32, 32, 32, 32)}
_FILE_VAE: Mapping[str, Any] = {
    **vae_of_levels(4), "block_out_channels": (32, 32, 64, 64), "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 32,
}  # fmt: skip
# Its hidden states 9, 18 and 27 are of different layers, and none is the last.
_TEXT: Mapping[str, Any] = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 29, "head_dim": 16}


@dataclass(frozen=True)
class Flux2Spec:
    name: str
    seed: int
    distilled: bool
    transformer: Mapping[str, Any] = field(default_factory=dict)  # keys that differ
    vae: Mapping[str, Any] = field(default_factory=dict)
    file: bool = False  # for single files: see transformer_files.py
    text: Mapping[str, Any] = field(default_factory=dict)
    encoding: str | None = None  # of its transformer and language model: see encodings.py
    variant: str | None = None
    pipeline: str = "Flux2KleinPipeline"

    def build(self, folder: Path) -> None:
        """Writes a diffusers folder. The same spec gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            index = write_qwen3(folder, self.seed, {**_TEXT, **self.text}, causal=True)
            self._transformer(folder / "transformer")
            if self.encoding:
                round_folder(folder, ("transformer", "text_encoder"), self.encoding)
            write_flux2_vae(folder / "vae", {**_VAE, **(_FILE_VAE if self.file else {}), **self.vae}, self.seed)
        (folder / "scheduler").mkdir()
        write_json(folder / "scheduler" / "scheduler_config.json", DYNAMIC_SCHEDULER)
        write_json(folder / "model_index.json", {
            "_class_name": self.pipeline,
            "_diffusers_version": "0.42.1",
            "is_distilled": self.distilled,
            "scheduler": ["diffusers", DYNAMIC_SCHEDULER["_class_name"]],
            **index,
            "transformer": ["diffusers", "Flux2Transformer2DModel"],
            "vae": ["diffusers", "AutoencoderKLFlux2"],
        })  # fmt: skip

    def _transformer(self, folder: Path) -> None:
        network = Flux2Transformer2DModel(**{**_TRANSFORMER, **(_FILE_TRANSFORMER if self.file else {}), **self.transformer})
        randomise(network, self.seed + 1)
        config, generator = network.config, torch.Generator("cpu").manual_seed(self.seed + 100)
        one = torch.arange(1)
        output = network(
            torch.randn(4, 24, config.in_channels, generator=generator),
            torch.randn(4, 40, config.joint_attention_dim, generator=generator), torch.tensor([1.0, 0.9, 0.5, 0.1]),
            torch.cartesian_prod(one, torch.arange(4), torch.arange(6), one), torch.cartesian_prod(one, one, one, torch.arange(40)),
        ).sample  # fmt: skip
        # Its output is a difference of noise and picture.
        network.proj_out.weight.div_(float(output.std()))
        network.save_pretrained(folder)


def write_flux2_vae(folder: Path, config: Mapping[str, Any], seed: int) -> None:
    """Squares of latents whose channels have means and variances of their own."""
    vae = AutoencoderKLFlux2(**config)
    randomise(vae, seed + 2, rounding=as_drawn)
    generator = torch.Generator("cpu").manual_seed(seed + 200)
    channels = 4 * config["latent_channels"]
    vae.bn.running_mean.copy_(torch.randn(channels, generator=generator))
    vae.bn.running_var.copy_(0.3 + 2 * torch.rand(channels, generator=generator))
    squares = 2 * torch.randn(4, channels, 4, 4, generator=generator) * vae.bn.running_var.sqrt().view(-1, 1, 1)
    scale_output(vae.decoder.conv_out, vae.decode(torch.pixel_shuffle(squares + vae.bn.running_mean.view(-1, 1, 1), 2)).sample, 0.5)
    vae.save_pretrained(folder)


FLUX2: tuple[Flux2Spec, ...] = (
    Flux2Spec("flux2-klein", 900, distilled=True),
    # Other shares of the axes, wider networks, and a decoder that is not as wide as its encoder.
    Flux2Spec("flux2-base", 910, distilled=False, transformer={"mlp_ratio": 2.5, "axes_dims_rope": (2, 4, 8, 2), "rope_theta": 300},
              vae={**vae_of_levels(4), "decoder_block_out_channels": (8, 8, 8, 16), "batch_norm_eps": 0.01}),
)  # fmt: skip

FLUX2_FILES: tuple[Flux2Spec, ...] = (
    Flux2Spec("flux2-klein-file", 920, distilled=True, file=True),
    # Rows that are whole blocks.
    *(Flux2Spec(stored_name("flux2", encoding), 9200 + number, True, {"num_attention_heads": 2, "joint_attention_dim": 96}, file=True,
                text={"hidden_size": 32, "intermediate_size": 256}, encoding=encoding) for number, encoding in enumerate(NEWER_ENCODINGS)),
)  # fmt: skip

BASE = PictureRequest(seed=3, steps=4, guidance_scale=None, width=48, height=32)
SHOWN = {"reference_image": ("photo-72x64",)}
TWO_SHOWN = {"reference_image": ("other-64x88", "photo-72x64")}


def base_of(model: str) -> PictureRequest:
    return replace(BASE, guidance_scale=3.0 if "base" in model else None)


def flux2_cases() -> Iterator[ParityCase]:
    for model in ("flux2-klein", "flux2-base"):
        base = base_of(model)
        for steps in (1, 4, 9):
            yield ParityCase(f"steps-{steps}", model, replace(base, steps=steps))
        for width, height in ((48, 16), (16, 64), (80, 48), (128, 96)):
            yield ParityCase(f"size-{width}x{height}", model, replace(base, width=width, height=height))
        for name, prompt in PROMPTS.items():
            yield ParityCase(name, model, replace(base, prompt=prompt))
        for seed in (0, 2**32 + 7):
            yield ParityCase(f"seed-{seed}", model, replace(base, seed=seed))
        yield ParityCase("length", model, replace(base, max_sequence_length=40))
        yield ParityCase("batch", model, base, images=3, batch_size=2)
        yield ParityCase("shown", model, replace(base, **SHOWN))
        yield ParityCase("shown-two", model, replace(base, **TWO_SHOWN))
        yield ParityCase("shown-batch", model, replace(base, **TWO_SHOWN), images=3, batch_size=2)
        yield ParityCase("shown-own-size", model, replace(base, **TWO_SHOWN, width=None, height=None, steps=2))
        yield ParityCase("shown-cut", model, replace(base, reference_image=("photo-75x90",)))
    yield ParityCase("defaults", "flux2-base", replace(BASE, steps=None))
    yield ParityCase("defaults", "flux2-klein", replace(BASE, steps=None))
    for scale in (0.0, 1.0, 1.5, 8.0):
        yield ParityCase(f"guidance-{scale}", "flux2-base", replace(BASE, guidance_scale=scale))
    for name, keys in (("", {}), ("-empty", {"negative_prompt": ""}), ("-shown", TWO_SHOWN), ("-length", {"max_sequence_length": 64})):
        yield ParityCase(f"negative{name}", "flux2-base", replace(base_of("flux2-base"), **{"negative_prompt": "a blue bird", **keys}))
    # Beyond 1024x1024 pixels it is made smaller; tokens beyond 4300, where mu no longer knows the steps.
    yield ParityCase("shown-large", "flux2-base", replace(BASE, reference_image=("photo-1400x900",), steps=1, guidance_scale=1.0))
    yield ParityCase("large", "flux2-klein", replace(BASE, width=544, height=520, steps=2))
    for name in FLOW_SCHEDULERS:
        if class_has(row(name)[0], "use_dynamic_shifting"):  # diffusers' pipelines refuse the others
            steps = 1 if has(name, "scale_factors") else 4  # new noise at every step lets rounding decide
            yield ParityCase(f"scheduler-{name}", "flux2-klein", replace(BASE, scheduler=name, steps=steps))


    spec = FLUX2_FILES[0].name
    encoder, vae = (f"{spec}@language-model",), f"{spec}@ae"
    yield ParityCase("with-folder", spec, replace(BASE, text_encoder=(f"{spec}@text_encoder-folder",)), form="original")
    yield ParityCase("own", spec, BASE)
    yield ParityCase("with-encoder", spec, replace(BASE, text_encoder=encoder), form="original")
    for form in ("bare", "newer-norms", "diffusers"):
        yield ParityCase("alone", spec, replace(BASE, text_encoder=encoder, vae=vae), form=form)
    yield ParityCase("shown", spec, replace(BASE, text_encoder=encoder, vae=vae, **SHOWN), form="bare")
    yield from stored_cases("flux2", BASE, "language-model-stored", NEWER_ENCODINGS)


# --- Mistakes


def _unnormalised(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    return patched(pipe.vae.bn, "running_mean", torch.zeros_like(pipe.vae.bn.running_mean))


def _undeviating(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    return patched(pipe.vae.bn, "running_var", torch.ones_like(pipe.vae.bn.running_var))


def _unpatched_by_place(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """Of a square the numbers of its four places, one place after the other."""

    def unpatchify(latents: Tensor) -> Tensor:
        batch, channels, height, width = latents.shape
        return latents.view(batch, 2, 2, channels // 4, height, width).permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // 4, 2 * height, 2 * width)

    return patched(pipe, "_unpatchify_latents", unpatchify)


def _thinking(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    own = pipe.tokenizer.apply_chat_template
    return patched(pipe.tokenizer, "apply_chat_template", lambda *args, **more: own(*args, **{**more, "enable_thinking": True}))


def _other_mu(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    own = pipe.scheduler.set_timesteps

    @wraps(own)  # the pipeline looks at what it takes
    def set_timesteps(*args: Any, **more: Any) -> None:
        own(*args, **{**more, "mu": 1.0})

    return patched(pipe.scheduler, "set_timesteps", set_timesteps)


def _axes(*order: int) -> Any:
    return lambda ids: ids[..., list(order)]


FLUX2_MISTAKES: Mapping[str, tuple[dict[str, Any], Fault | None]] = {
    "seed": ({"seed": 22}, None),
    "prompt": ({"prompt": "a red fox in the rain"}, None),
    "length": ({"max_sequence_length": 256}, None),
    "steps": ({"steps": 5}, None),
    "levels": ({}, rescheduled(shift=1.3, use_dynamic_shifting=False)),
    "mu": ({}, _other_mu),
    "mean": ({}, _unnormalised),
    "deviation": ({}, _undeviating),
    "squares": ({}, _unpatched_by_place),
    "thinking": ({}, _thinking),
    "states": ({}, asked_of_transformer(encoder_hidden_states=lambda c: c.roll(24, -1))),
    "pads": ({}, asked_of_transformer(encoder_hidden_states=lambda c: torch.cat([c[:, :16], 0 * c[:, 16:]], 1))),
    "time": ({}, asked_of_transformer(timestep=lambda t: t * 0.9)),
    "axes": ({}, asked_of_transformer(img_ids=_axes(0, 2, 1, 3))),
    "places": ({}, asked_of_transformer(img_ids=torch.zeros_like)),
    "words-placed": ({}, asked_of_transformer(txt_ids=torch.zeros_like)),
    "words-axis": ({}, asked_of_transformer(txt_ids=_axes(3, 1, 2, 0))),
    "gates": ({}, rolled("double_stream_modulation_img.linear.weight", 32)),
    "text-gates": ({}, rolled("double_stream_modulation_txt.linear.weight", 32)),
    "single-gates": ({}, rolled("single_stream_modulation.linear.weight", 32)),
    "halves": ({}, rolled("transformer_blocks.0.ff.linear_in.weight", 96)),
    "single-parts": ({}, rolled("single_transformer_blocks.0.attn.to_out.weight", 32, 1)),
    "last-halves": ({}, rolled("norm_out.linear.weight", 32)),
}
# Of those that are guided; and of pictures that are shown.
FLUX2_GUIDED: Mapping[str, tuple[dict[str, Any], Fault | None]] = {
    "guidance": ({"guidance_scale": 2.0}, None), "negative": ({"negative_prompt": "a blue bird"}, None),
}  # fmt: skip
FLUX2_SHOWN: Mapping[str, tuple[dict[str, Any], Fault | None]] = {
    "shown": ({"reference_image": None}, None),
    "shown-places": ({}, asked_of_transformer(img_ids=lambda ids: ids * torch.tensor([0, 1, 1, 1]))),
    "shown-together": ({}, asked_of_transformer(img_ids=lambda ids: ids.clamp(max=10))),
    "shown-mean": ({}, _unnormalised),
}


def flux2_mistakes(model: str) -> dict[str, tuple[PictureRequest, dict[str, Any], Fault | None]]:
    base = base_of(model)
    mistakes = FLUX2_MISTAKES | (FLUX2_GUIDED if "base" in model else {})
    tried = {name: (base, *mistake) for name, mistake in mistakes.items()}
    if "base" not in model:  # of random networks a strong guidance alone shows where pictures are
        return tried
    shown = replace(base, **TWO_SHOWN, guidance_scale=20.0, steps=9)
    return tried | {name: (shown, *mistake) for name, mistake in FLUX2_SHOWN.items()}
