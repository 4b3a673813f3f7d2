"""Tiny random Qwen-Image folders, what the parity run asks of them, and the mistakes that it has to notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage, DiffusionPipeline, QwenImageTransformer2DModel
from torch import Tensor

from .encodings import NEWER_ENCODINGS, round_folder
from .faults import Fault, asked_of_transformer, patched, rescheduled, rolled
from .parity_case import ParityCase
from .pictures import PictureRequest
from .random_weights import as_drawn, randomise
from .stored_cases import stored_cases, stored_name
from .tiny_language_models import write_qwen25_vl
from .tiny_transformers import scale_last
from .vocabulary import write_json
from .z_image import LONG, PAINTED, PHOTO, PROMPTS, file_cases, single_stream_cases

# scheduler_config.json of Qwen-Image.
SCHEDULER: Mapping[str, Any] = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": "0.34.0.dev0",
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "invert_sigmas": False,
    "max_image_seq_len": 8192,
    "max_shift": 0.9,
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "shift_terminal": 0.02,
    "stochastic_sampling": False,
    "time_shift_type": "exponential",
    "use_beta_sigmas": False,
    "use_dynamic_shifting": True,
    "use_exponential_sigmas": False,
    "use_karras_sigmas": False,
}

_TRANSFORMER: Mapping[str, Any] = {
    "in_channels": 64, "out_channels": 16, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 3,
    "joint_attention_dim": 64, "axes_dims_rope": (4, 4, 8),
}  # fmt: skip
_VAE: Mapping[str, Any] = {"base_dim": 8, "dim_mult": [1, 2, 2], "num_res_blocks": 1, "temperal_downsample": [False, True]}


@dataclass(frozen=True)
class QwenImageSpec:
    name: str
    seed: int
    transformer: Mapping[str, Any] = field(default_factory=dict)  # keys that differ
    scheduler: Mapping[str, Any] = field(default_factory=lambda: dict(SCHEDULER))
    vae: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)
    encoding: str | None = None  # of its transformer and language model: see encodings.py
    pipeline: str = "QwenImagePipeline"
    variant: str | None = None

    def build(self, folder: Path) -> None:
        """Writes a diffusers folder. The same spec gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            index = write_qwen25_vl(folder, self.seed, self.text)
            self._transformer(folder / "transformer")
            self._vae(folder / "vae")
            if self.encoding:
                round_folder(folder, ("transformer", "text_encoder"), self.encoding)
        (folder / "scheduler").mkdir()
        write_json(folder / "scheduler" / "scheduler_config.json", self.scheduler)
        write_json(folder / "model_index.json", {
            "_class_name": self.pipeline,
            "_diffusers_version": "0.42.1",
            "scheduler": ["diffusers", self.scheduler["_class_name"]],
            **index,
            "transformer": ["diffusers", "QwenImageTransformer2DModel"],
            "vae": ["diffusers", "AutoencoderKLQwenImage"],
        })  # fmt: skip

    def _transformer(self, folder: Path) -> None:
        network = QwenImageTransformer2DModel(**{**_TRANSFORMER, **self.transformer})
        randomise(network, self.seed + 1)
        for block in network.transformer_blocks:  # most words are the instruction's: the others have to be heard
            block.attn.add_v_proj.weight.mul_(3)
        config, generator = network.config, torch.Generator("cpu").manual_seed(self.seed + 100)
        output = network(
            torch.randn(4, 24, config.in_channels, generator=generator),
            torch.randn(4, 40, config.joint_attention_dim, generator=generator),
            timestep=torch.tensor([1.0, 0.9, 0.5, 0.1]), img_shapes=[[(1, 4, 6)]] * 4,
        ).sample  # fmt: skip
        scale_last(network.proj_out, float(output.std()))
        network.save_pretrained(folder)

    def _vae(self, folder: Path) -> None:
        vae = AutoencoderKLQwenImage(**{**_VAE, **self.vae})
        randomise(vae, self.seed + 2, rounding=as_drawn)
        generator = torch.Generator("cpu").manual_seed(self.seed + 200)
        latents = torch.randn(4, 16, 1, 8, 8, generator=generator)
        latents = latents * torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1) + torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
        vae.clear_cache()
        # A film of one frame, of which only the last plane of a kernel in time sees something.
        output, last = vae.decoder(vae.post_quant_conv(latents), vae._feat_map, [0])[:, :, 0], vae.decoder.conv_out
        last.weight.mul_((0.5 / output.std(dim=(0, 2, 3))).view(-1, 1, 1, 1, 1))
        last.bias.sub_(output.mean(dim=(0, 2, 3))).mul_(0.5 / output.std(dim=(0, 2, 3)))
        vae.save_pretrained(folder)


QWEN_IMAGE: tuple[QwenImageSpec, ...] = (
    QwenImageSpec("qwen-image", 840),
    # As deep as the released autoencoder, other axes, and a schedule that does not grow with the picture.
    QwenImageSpec("qwen-image-fixed", 850, {"axes_dims_rope": (8, 4, 4), "num_layers": 3},
                  {**SCHEDULER, "use_dynamic_shifting": False, "shift": 2.0, "shift_terminal": None},
                  {"dim_mult": [1, 2, 4, 4], "temperal_downsample": [False, True, True], "num_res_blocks": 2}),
)  # fmt: skip

# By the rules by which single files are read: of heads of 128 channels, and of an eighth of a head's for the picture.
_FILE_TRANSFORMER: Mapping[str, Any] = {"attention_head_dim": 32, "num_attention_heads": 2, "axes_dims_rope": (4, 14, 14), "joint_attention_dim": 128}
_FILE_TEXT: Mapping[str, Any] = {"hidden_size": 128, "num_attention_heads": 1, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
                                 "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}  # fmt: skip
_FILE_VAE: Mapping[str, Any] = {"dim_mult": [1, 2, 4, 4], "temperal_downsample": [False, True, True], "num_res_blocks": 2}
_ENCODINGS = (*NEWER_ENCODINGS, "fp8-old")  # as ComfyUI's language model is
QWEN_IMAGE_FILES: tuple[QwenImageSpec, ...] = (
    QwenImageSpec("qwen-image-file", 860, _FILE_TRANSFORMER, text=_FILE_TEXT, vae=_FILE_VAE),
    *(QwenImageSpec(stored_name("qwen-image", encoding), 8600 + number, {**_FILE_TRANSFORMER, "num_attention_heads": 8},
                    text={**_FILE_TEXT, "intermediate_size": 256}, vae=_FILE_VAE, encoding=encoding)
      for number, encoding in enumerate(_ENCODINGS)),
)  # fmt: skip

BASE = PictureRequest(seed=3, steps=4, guidance_scale=None, true_cfg_scale=6.0, negative_prompt="a blue bird", width=48, height=32)


def qwen_image_cases() -> Iterator[ParityCase]:
    for spec in QWEN_IMAGE:
        # One step cannot both begin at the first noise level and end at shift_terminal.
        yield from (case for case in single_stream_cases(spec.name, BASE, PROMPTS)
                    if case.name != "steps-1" or spec.scheduler["shift_terminal"] is None)
        plain = replace(BASE, negative_prompt=None, true_cfg_scale=None)
        for name, keys in (("", {}), ("-scale", {"true_cfg_scale": 3.0}), ("-negative", {"negative_prompt": "rain"}),
                           ("-off", {"negative_prompt": "rain", "true_cfg_scale": 1.0})):  # fmt: skip
            yield ParityCase(f"plain{name}", spec.name, replace(plain, **keys))
        yield from _of_pictures(spec.name)
    for spec in QWEN_IMAGE_FILES:
        if not spec.encoding:
            yield from file_cases(spec.name, BASE)
    yield from stored_cases("qwen-image", BASE, "language-model-stored", _ENCODINGS)
    model = "qwen-image"
    yield ParityCase("defaults", model, replace(BASE, steps=None, true_cfg_scale=None))
    for length in (1, 16, 64):
        yield ParityCase(f"length-{length}", model, replace(BASE, prompt=LONG, max_sequence_length=length))


def _of_pictures(model: str) -> Iterator[ParityCase]:
    image = replace(BASE, steps=5, **PHOTO)
    for name, keys in (("", {}), ("-least", {"strength": 0.3}), ("-all", {"strength": 1.0}), ("-plain", {"negative_prompt": None, "true_cfg_scale": None})):
        yield ParityCase(f"image{name}", model, replace(image, **keys))
    yield ParityCase("image-batch", model, image, images=3, batch_size=2)
    painted = replace(BASE, steps=5, **PAINTED)
    for name, keys in (("", {}), ("-strength", {"strength": 0.8}), ("-blur", {"mask_blur": 3}), ("-plain", {"negative_prompt": None, "true_cfg_scale": None})):
        yield ParityCase(f"inpaint{name}", model, replace(painted, **keys))


# --- Mistakes


def _undropped(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    return patched(pipe, "prompt_template_encode_start_idx", 33)


def _another_instruction(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    return patched(pipe, "prompt_template_encode", pipe.prompt_template_encode.replace("Describe", "Tell of"))


def _not_centred(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    return patched(pipe.transformer.pos_embed, "scale_rope", False)


def _unnormed_guidance(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    """As it comes: of all norms that the pipeline asks for, the same is said."""
    own = torch.norm

    def norm(x: Tensor, *args: Any, **more: Any) -> Tensor:
        return torch.ones_like(x[..., :1]) if not args and more == {"dim": -1, "keepdim": True} else own(x, *args, **more)

    return patched(torch, "norm", norm)


def _swapped(states: Tensor) -> Tensor:
    return states.flip(1)


QWEN_IMAGE_MISTAKES: Mapping[str, tuple[dict[str, Any], Fault | None]] = {
    "seed": ({"seed": 22}, None),
    "prompt": ({"prompt": "a red fox in the rain"}, None),
    "negative": ({"negative_prompt": "rain"}, None),
    "true-cfg": ({"true_cfg_scale": 4.0}, None),
    "unguided": ({"negative_prompt": None}, None),
    "norms": ({}, _unnormed_guidance),
    "steps": ({"steps": 5}, None),
    "levels": ({}, rescheduled(shift=1.3, max_shift=1.4, base_shift=0.7)),
    "dropped": ({}, _undropped),
    "instruction": ({}, _another_instruction),
    "places": ({}, _not_centred),
    "words-placed": ({}, asked_of_transformer(encoder_hidden_states=_swapped)),
    "time": ({}, asked_of_transformer(timestep=lambda t: t * 0.9)),
    "axes": ({}, asked_of_transformer(img_shapes=lambda shapes: [[(f, w, h)] for [(f, h, w)] in shapes])),
    "last-halves": ({}, rolled("norm_out.linear.bias", 48)),
    "gates": ({}, rolled("transformer_blocks.0.img_mod.1.bias", 48)),
    "word-gates": ({}, rolled("transformer_blocks.0.txt_mod.1.bias", 48)),
}
