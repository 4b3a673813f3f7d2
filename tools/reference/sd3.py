"""Tiny random Stable Diffusion 3 folders, what the parity run asks of them, and the mistakes that it has to notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, SD3Transformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from .families import FULL_VAE
from .faults import patched, rescheduled, rolled
from .parity_case import ParityCase
from .pictures import PictureRequest
from .random_weights import randomise
from .schedulers import FLOW_SCHEDULERS, has, with_keys
from .taesd import FILES as TAESD_FILES
from .tiny import ModelSpec
from .tiny_text import FIRST_PAD, SECOND_PAD, TEXT_CONFIG, save_text_encoder, write_tokenizer
from .tiny_transformers import FILE_CLIP_L, FILE_T5, scale_last, write_flow_vae, write_t5
from .vocabulary import write_json

# scheduler_config.json of Stable Diffusion 3 and 3.5.
FLOW_SCHEDULER: Mapping[str, Any] = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": "0.29.0.dev0",
    "num_train_timesteps": 1000,
    "shift": 3.0,
}

# Narrower together than T5, as CLIP-L and bigG are.
_CLIP_L = {"hidden_size": 32, "num_hidden_layers": 3, "projection_dim": 32}
_CLIP_G = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 6, "hidden_act": "gelu", "projection_dim": 40}
_T5 = {
    "d_model": 96, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 6, "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 16, "relative_attention_max_distance": 40, "dropout_rate": 0.0,
}  # fmt: skip
_TRANSFORMER = {
    "sample_size": 16, "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 3, "attention_head_dim": 8,
    "num_attention_heads": 4, "caption_projection_dim": 32, "joint_attention_dim": 96, "pooled_projection_dim": 72,
    "pos_embed_max_size": 24,
}  # fmt: skip
_VAE = {"scaling_factor": 1.5305, "shift_factor": 0.0609}

# By the rules by which single files are read: 64 channels a head, CLIP's own vocabulary, a CLIP-L that projects nothing,
# T5's own distances, groups of 32.
_FILE_CLIPS = (
    FILE_CLIP_L,
    {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 2, "hidden_act": "gelu",
     "projection_dim": 96},
)  # fmt: skip
_FILE_T5 = {**_T5, **FILE_T5, "d_model": 256, "d_kv": 16}
_FILE_TRANSFORMER = {
    "attention_head_dim": 64, "num_attention_heads": 2, "caption_projection_dim": 128, "joint_attention_dim": 256,
    "pooled_projection_dim": 160,
}  # fmt: skip


@dataclass(frozen=True)
class Sd3Spec:
    name: str
    seed: int
    transformer: Mapping[str, Any] = field(default_factory=dict)  # keys that differ
    scheduler: Mapping[str, Any] = field(default_factory=lambda: dict(FLOW_SCHEDULER))
    t5: bool = True
    tiny_vae: bool = False  # TAESD3
    file: bool = False  # for single files: see transformer_files.py
    variant: str | None = None
    pipeline: str = "StableDiffusion3Pipeline"

    def build(self, folder: Path) -> None:
        """Writes a diffusers folder. The same spec gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            index = self._text(folder)
            self._transformer(folder)
            write_flow_vae(folder / "vae", {**(FULL_VAE if self.file else {}), **_VAE}, self.seed, self.tiny_vae)
        (folder / "scheduler").mkdir()
        write_json(folder / "scheduler" / "scheduler_config.json", self.scheduler)
        write_json(folder / "model_index.json", {
            "_class_name": self.pipeline,
            "_diffusers_version": "0.42.1",
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "scheduler": ["diffusers", self.scheduler["_class_name"]],
            **index,
            "transformer": ["diffusers", "SD3Transformer2DModel"],
            "vae": ["diffusers", "AutoencoderTiny" if self.tiny_vae else "AutoencoderKL"],
        })  # fmt: skip

    def _text(self, folder: Path) -> dict[str, Any]:
        index: dict[str, Any] = {}
        spec = ModelSpec(self.name, self.seed, tokenizer="clip-full" if self.file else "clip")
        clips = _FILE_CLIPS if self.file else (_CLIP_L, _CLIP_G)
        for number, (options, suffix, pad) in enumerate(zip(clips, ("", "_2"), (FIRST_PAD, SECOND_PAD), strict=True)):
            words = write_tokenizer(folder / f"tokenizer{suffix}", spec, pad)
            config = {**TEXT_CONFIG, "vocab_size": words.size, "eos_token_id": words.end, **options}
            model = CLIPTextModelWithProjection(CLIPTextConfig(**config, bos_token_id=words.begin, pad_token_id=1))
            randomise(model, self.seed + 1000 * number)
            if self.file and not number:
                nn.init.eye_(model.text_projection.weight)
            save_text_encoder(folder / f"text_encoder{suffix}", model, spec)
            index |= {f"tokenizer{suffix}": ["transformers", words.tokenizer_class],
                      f"text_encoder{suffix}": ["transformers", "CLIPTextModelWithProjection"]}  # fmt: skip
        if not self.t5:
            return index | {"tokenizer_3": [None, None], "text_encoder_3": [None, None]}
        return index | write_t5(folder, "_3", _FILE_T5 if self.file else _T5, self.seed)

    def _transformer(self, folder: Path) -> None:
        network = SD3Transformer2DModel(**{**_TRANSFORMER, **(_FILE_TRANSFORMER if self.file else {}), **self.transformer})
        randomise(network, self.seed + 1)
        config, generator = network.config, torch.Generator("cpu").manual_seed(self.seed + 100)
        output = network(
            torch.randn(4, config.in_channels, 8, 12, generator=generator),
            torch.randn(4, 40, config.joint_attention_dim, generator=generator),
            torch.randn(4, config.pooled_projection_dim, generator=generator),
            torch.tensor([1000.0, 900.0, 500.0, 100.0]),
        ).sample
        # Its output is a difference of noise and picture.
        scale_last(network.proj_out, float(output.std()))
        network.save_pretrained(folder / "transformer")


_DYNAMIC = {**FLOW_SCHEDULER, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.16, "base_image_seq_len": 16,
            "max_image_seq_len": 256}  # fmt: skip

SD3: tuple[Sd3Spec, ...] = (
    Sd3Spec("sd3", 600),
    # 3.5 medium: norms of queries and keys, patches that attend among themselves in the first layers.
    Sd3Spec("sd35-medium", 610, {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1), "pos_embed_max_size": 32}),
    # 3.5 large: the norms alone; and without T5.
    Sd3Spec("sd35-large", 620, {"qk_norm": "rms_norm"}, t5=False),
    Sd3Spec("sd3-dynamic", 630, scheduler=_DYNAMIC),
    Sd3Spec("sd3-taesd", 640, tiny_vae=True),
)
# Of as many layers as a ControlNet has places behind.
SD3_STEERED: tuple[Sd3Spec, ...] = (Sd3Spec("sd3-deep", 680, {"num_layers": 6}),)
SD3_FILES: tuple[Sd3Spec, ...] = (
    Sd3Spec("sd3-file", 650, file=True),
    Sd3Spec("sd35-medium-file", 660, {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1), "pos_embed_max_size": 32}, file=True),
    Sd3Spec("sd35-large-file", 670, {"qk_norm": "rms_norm"}, t5=False, file=True),
)

BASE = PictureRequest(seed=3, steps=4, guidance_scale=5.0)
LONG = "a very long prompt about " + ", ".join(f"{n} red foxes and {n} blue birds" for n in range(30))


def sd3_cases() -> Iterator[ParityCase]:
    for spec in SD3[:-1]:
        model = spec.name
        for steps in (1, 4, 9):
            yield ParityCase(f"steps-{steps}", model, replace(BASE, steps=steps))
        yield ParityCase("negative", model, replace(BASE, negative_prompt="a blue bird"))
        yield ParityCase("no-guidance", model, replace(BASE, guidance_scale=1.0))
        yield ParityCase("long", model, replace(BASE, prompt=LONG, negative_prompt=LONG[:120]))
        yield ParityCase("batch", model, BASE, images=3, batch_size=2)
        for width, height in ((40, 24), (8, 64), (72, 48)):
            yield ParityCase(f"size-{width}x{height}", model, replace(BASE, width=width, height=height))
    for name, prompt in (("empty", ""), ("unicode", "Ein rotes Haus, красный дом, 一只红苹果 🦊"), ("space", "  a  fox\n in snow ")):
        yield ParityCase(name, "sd3", replace(BASE, prompt=prompt))
    yield ParityCase("clip-skip", "sd3", replace(BASE, clip_skip=1, negative_prompt="a blue bird"))
    yield from _tiny_autoencoders()
    for name in (*FLOW_SCHEDULERS, *with_keys("use_flow_sigmas")):
        if not has(name, "scale_factors"):
            yield ParityCase(f"shift-{name}", "sd3", replace(BASE, scheduler=name, flow_shift=2.2, steps=5))
    for model, shift in (("sd3", 1.0), ("sd3", 7.5), ("sd3-dynamic", 3.0)):
        yield ParityCase(f"shift-{shift}", model, replace(BASE, flow_shift=shift))
    yield from _further_texts()
    yield from _skipped_layers()
    yield from _single_files()
    for name in (*FLOW_SCHEDULERS, *with_keys("use_flow_sigmas")):
        # Random weights and new noise at every step make a picture that rounding alone decides.
        for steps in (1,) if has(name, "scale_factors") else (1, 5):
            yield ParityCase(f"{name}-{steps}", "sd3", replace(BASE, scheduler=name, steps=steps))
    for model in ("sd3", "sd35-medium"):
        for name, keys in (("image", {"strength": 0.6}), ("image-all", {"strength": 1.0}), ("image-negative", {"negative_prompt": "rain"})):
            yield ParityCase(name, model, replace(BASE, init_image="photo-32x32", steps=5, **keys))
        yield ParityCase("image-heun", model, replace(BASE, init_image="photo-32x32", steps=5, scheduler="heun", strength=0.6))
        painted = replace(BASE, init_image="photo-64x48", mask="disc-64x48", steps=5)
        for name, keys in (("inpaint", {}), ("inpaint-strength", {"strength": 0.5}), ("inpaint-all", {"strength": 1.0})):
            yield ParityCase(name, model, replace(painted, **keys))


def _tiny_autoencoders() -> Iterator[ParityCase]:
    photo = replace(BASE, init_image="photo-32x32", steps=5, strength=0.6)
    yield ParityCase("own", "sd3-taesd", BASE)  # diffusers' other pipelines do not take over a tiny one
    for form in ("vae-folder", *TAESD_FILES):
        yield ParityCase(f"vae-{form}", "sd3", replace(BASE, vae=f"sd3-taesd@{form}"))
    yield ParityCase("vae-taesd-image", "sd35-medium", replace(photo, vae="sd3-taesd@taesd-both"))


def _single_files() -> Iterator[ParityCase]:
    """Each in every form; what the form lacks, in another order each time."""
    base = replace(BASE, width=48, height=32, negative_prompt="a blue bird")
    encoders = ("clip_l", "clip_g", "t5xxl")
    for spec in SD3_FILES:
        own = encoders if spec.t5 else encoders[:2]
        places = [f"{spec.name}@{name}" for name in own]
        yield ParityCase("own", spec.name, base)
        if spec.t5:
            yield ParityCase("whole", spec.name, base, form="incl-all")
            yield ParityCase("whole", spec.name, base, form="incl-all-sdcpp")
            yield ParityCase("with-t5", spec.name, replace(base, text_encoder=(places[2],)), form="incl-clips")
        else:
            yield ParityCase("whole", spec.name, base, form="incl-clips")
        for form, order in (("original", places), ("prefixed-diffusers", places[::-1])):
            yield ParityCase("with-encoders", spec.name, replace(base, text_encoder=tuple(order)), form=form)
        alone = replace(base, text_encoder=tuple(places[1:] + places[:1]), vae=f"{spec.name}@ae")
        for form in ("bare", "diffusers"):
            yield ParityCase("alone", spec.name, alone, form=form)
    folders = tuple(f"sd35-medium-file@text_encoder{number}-folder" for number in ("_3", "", "_2"))
    yield ParityCase("with-folders", "sd35-medium-file", replace(base, text_encoder=folders), form="original")
    # Of other weights than the model's own.
    for form in ("folder", "incl-all"):
        for name, part in zip(encoders, ("text_encoder", "text_encoder_2", "text_encoder_3"), strict=True):
            other = replace(base, text_encoder=(f"sd35-medium-file@{name}",))
            yield ParityCase(f"other-{name}", "sd3-file", other, form=form)
            folder = replace(base, text_encoder=(f"sd35-medium-file@{part}-folder",))
            yield ParityCase(f"other-folder-{part}", "sd3-file", folder, form=form)


def _further_texts() -> Iterator[ParityCase]:
    told = {"prompt_2": "a blue bird", "prompt_3": "rain on a lake"}
    withheld = {"negative_prompt": "noise", "negative_prompt_2": "blur", "negative_prompt_3": "mist"}
    for name, keys in (("prompt-2", {"prompt_2": told["prompt_2"]}), ("prompt-3", {"prompt_3": told["prompt_3"]}),
                       ("prompts", told | withheld), ("negatives", withheld),
                       ("negative-3", {"negative_prompt_3": "mist"}), ("empty-2", {"prompt_2": "", "negative_prompt_2": ""})):  # fmt: skip
        yield ParityCase(f"told-{name}", "sd3", replace(BASE, **keys))
    yield ParityCase("told-prompt-2", "sd35-large", replace(BASE, prompt_2=told["prompt_2"], negative_prompt_2="blur"))
    yield ParityCase("told-batch", "sd3", replace(BASE, **told), images=3, batch_size=2)
    for length in (1, 16, 77, 512):
        yield ParityCase(f"length-{length}", "sd3", replace(BASE, prompt=LONG, max_sequence_length=length))
    yield ParityCase("length-32", "sd35-large", replace(BASE, max_sequence_length=32))  # of zeros


def _skipped_layers() -> Iterator[ParityCase]:
    model, twenty = "sd35-medium", replace(BASE, steps=20, skip_layers=(1,))
    for name, keys in (("one", {}), ("first-and-last", {"skip_layers": (0, 2)}), ("all", {"skip_layers": (0, 1, 2)}),
                       ("scale", {"skip_layer_scale": -1.5}), ("range", {"skip_layer_start": 0.2, "skip_layer_stop": 0.8}),
                       ("whole", {"steps": 5, "skip_layer_start": 0.0, "skip_layer_stop": 1.0}),
                       ("heun", {"steps": 9, "scheduler": "heun", "skip_layer_stop": 0.5}),
                       ("negative", {"negative_prompt": "a blue bird"})):  # fmt: skip
        yield ParityCase(f"skip-{name}", model, replace(twenty, **keys))
    yield ParityCase("skip-batch", model, twenty, images=3, batch_size=2)


# --- Mistakes


def _context(change: Any) -> Any:
    """What the transformer is told, changed."""

    def fault(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
        own = pipe.transformer.forward

        def forward(hidden_states: Tensor, encoder_hidden_states: Tensor, pooled_projections: Tensor, **more: Any) -> Any:
            context, pooled = change(encoder_hidden_states, pooled_projections)
            return own(hidden_states=hidden_states, encoder_hidden_states=context, pooled_projections=pooled, **more)

        return patched(pipe.transformer, "forward", forward)

    return fault


# By name: what is changed of the request, or of the pipeline.
SD3_MISTAKES: Mapping[str, tuple[dict[str, Any], Any]] = {
    "seed": ({"seed": 22}, None),
    "prompt": ({"prompt": "a red fox in the rain"}, None),
    "negative": ({"negative_prompt": "a blue bird"}, None),
    "prompt-2": ({"prompt_2": "a blue bird"}, None),
    "t5-prompt": ({"prompt_3": "a blue bird"}, None),
    "t5-negative": ({"negative_prompt_3": "a blue bird"}, None),
    "length": ({"max_sequence_length": 32}, None),
    "skipped": ({"skip_layers": (1,), "skip_layer_stop": 0.5, "skip_layer_scale": 1.5}, None),
    "guidance": ({"guidance_scale": 4.0}, None),
    "steps": ({"steps": 5}, None),
    "shift": ({}, rescheduled(shift=2.9, max_shift=1.0)),
    "flow-shift": ({"flow_shift": 2.9}, None),
    "clips-swapped": ({}, _context(lambda c, p: (torch.cat([c[:, :, 32:80], c[:, :, :32], c[:, :, 80:]], -1), p))),
    "t5-first": ({}, _context(lambda c, p: (c, p.roll(32, -1)))),
    "t5-pads": ({}, _context(lambda c, p: (torch.cat([c[:, :77], c[:, 77:97]], 1), p))),
    "table": ({}, rolled("pos_embed.pos_embed", 1, 1)),
    "last-halves": ({}, rolled("norm_out.linear.bias", 32)),
    "gates": ({}, rolled("transformer_blocks.0.norm1.linear.bias", 32)),
}
