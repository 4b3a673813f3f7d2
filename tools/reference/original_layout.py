"""A diffusers folder's weights as one .safetensors in the layout that the models were released in.

CompVis (SD 1), Stability (SD 2), sgm (SDXL and its refiner): the inverse of the key map of
diffusers.loaders.single_file_utils, written from the layouts' own module names; original_check.py proves it with
diffusers' converters. A `Form` says how the file differs from the plainest of its kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from .encodings import write_flattened
from .key_names import OLD_ATTENTION_NAMES

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Form:
    """What a single file looks like."""

    name: str
    dtype: torch.dtype = torch.float16
    vae_dtype: torch.dtype | None = None  # the VAE's, where it is another one
    parts: Literal["all", "vae"] = "all"
    vae_prefix: str = "first_stage_model."
    ema: bool = False  # also model_ema.*, of other values than the UNet's: nobody asks for them
    leftovers: bool = False  # buffers of training: betas, attention masks, losses, counters
    position_ids: torch.dtype | None = None  # the text encoders' buffer; as a float it may be off by rounding
    projection: bool = False  # CLIP-L's own projection, which Stable Diffusion does not use: ComfyUI's merges have it
    text_model: bool = True  # CLIP-L's keys say "transformer.text_model.", not "transformer."
    sgm: bool = False  # SD 2 with its text encoder under conditioner.embedders.0.
    markers: tuple[str, ...] = ()  # empty tensors of these names: v_pred, ztsnr
    metadata: tuple[tuple[str, str], ...] = (("format", "pt"),)


UNET_PREFIX = "model.diffusion_model."

_UNET_HEADS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "time_embedding.cond_proj": "time_embed.cond_proj",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip


def original_unet(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> Tensors:
    """UNet2DConditionModel's tensors under openaimodel.UNetModel's names, which number the layers of all blocks in one
    row; `layers_per_block` is one number there."""
    with_attention = {int(match[1]) for name in weights if (match := re.match(r"up_blocks\.(\d+)\.attentions\.", name))}

    def rename(name: str) -> str:
        stem, last = name.rsplit(".", 1)
        if stem in _UNET_HEADS:
            return f"{_UNET_HEADS[stem]}.{last}"
        match = re.fullmatch(r"(down|up|mid)_blocks?\.(?:(\d+)\.)?(\w+)\.(\d+)\.(.*)", name)
        if match is None:
            raise KeyError(f"no original name for the UNet's {name}")
        side, block, kind, index, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
        place = _unet_place(side, kind, block, index, config["layers_per_block"], block in with_attention)
        if kind == "resnets":
            rest = _resnet(rest)
        elif kind == "downsamplers":
            rest = rest.replace("conv.", "op.")
        return f"{place}.{rest}"

    return {rename(name): value for name, value in weights.items()}


def _unet_place(side: str, kind: str, block: int, index: int, layers: int, attention: bool) -> str:
    """Where the original has module `index` of a kind of a block. input_blocks.0 is conv_in; a downsampler has a number
    of its own, an upsampler shares the last layer's."""
    if side == "mid":
        return f"middle_block.{2 * index + (kind == 'attentions')}"
    first = block * (layers + 1) + (side == "down")
    if kind == "downsamplers":
        return f"input_blocks.{first + layers}.0"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.{2 if attention else 1}"
    return f"{'input' if side == 'down' else 'output'}_blocks.{first + index}.{int(kind == 'attentions')}"


def _resnet(rest: str) -> str:
    stem, last = rest.rsplit(".", 1)
    return f"{_RESNET[stem]}.{last}"


def original_vae(weights: Mapping[str, Tensor], levels: int) -> Tensors:
    """AutoencoderKL's tensors under the original's names: the decoder counts its levels from the picture's end, and the
    attention's matrices are 1x1 convolutions."""
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    attention |= {old: attention[new] for new, old in OLD_ATTENTION_NAMES.items()}
    out: Tensors = {}
    for name, value in weights.items():
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{levels - 1 - int(m[1])}.block.", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"up.{levels - 1 - int(m[1])}.upsample.", name)
        name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        if "mid_block.attentions.0." in name:
            side, rest = name.split("mid_block.attentions.0.")
            stem, last = rest.rsplit(".", 1)
            name = f"{side}mid.attn_1.{attention[stem]}.{last}"
            value = value[:, :, None, None] if value.ndim == 2 else value
        out[name] = value
    return out


_OPEN_CLIP = {
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_OPEN_CLIP_LAYER = {
    "self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip


def original_open_clip(weights: Mapping[str, Tensor]) -> Tensors:
    """CLIPTextModel's tensors (without "text_model.") under OpenCLIP's names: queries, keys and values stacked row on
    row, the projection as the right factor."""
    out: Tensors = {"logit_scale": torch.tensor(4.6052)}
    for name, value in weights.items():
        if name in _OPEN_CLIP:
            out[_OPEN_CLIP[name]] = value
        elif name == "text_projection.weight":
            out["text_projection"] = value.T.contiguous()
        else:
            match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", name)
            if match is None:
                raise KeyError(f"no OpenCLIP name for {name}")
            layer, stem, last = f"transformer.resblocks.{match[1]}", match[2], match[3]
            if stem == "self_attn.q_proj":
                parts = [weights[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
                out[f"{layer}.attn.in_proj_{last}"] = torch.cat(parts)
            elif stem in _OPEN_CLIP_LAYER:
                out[f"{layer}.{_OPEN_CLIP_LAYER[stem]}.{last}"] = value
    return out


def unused_open_clip(encoder: Mapping[str, Tensor]) -> Tensors:
    """The last layer and the projection, which SD 2 does not use and diffusers drops."""
    generator = torch.Generator("cpu").manual_seed(9)
    numbers = {int(match[1]) for name in encoder if (match := re.match(r"transformer\.resblocks\.(\d+)", name))}
    model, last = f"transformer.resblocks.{max(numbers)}.", f"transformer.resblocks.{max(numbers) + 1}."
    out = {
        name.replace(model, last): torch.randn(value.shape, generator=generator)
        for name, value in encoder.items()
        if name.startswith(model)
    }
    width = encoder["positional_embedding"].shape[1]
    return out | {"text_projection": torch.randn(width, width, generator=generator)}


def component(folder: Path) -> Tensors:
    """All tensors of one component of a diffusers folder, in float32."""
    out: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        out |= {name: value.float() for name, value in load_file(path).items()}
    return out


def read_config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def text_prefix(config: Mapping[str, Any], number: int, sgm: bool) -> str:
    """Of a text encoder's keys: ".model." is OpenCLIP's, ".transformer." transformers' CLIP."""
    kind = "model" if config["hidden_act"] == "gelu" else "transformer"
    return f"conditioner.embedders.{number}.{kind}." if sgm else f"cond_stage_model.{kind}."


def _text_encoders(folder: Path, form: Form) -> Tensors:
    """Both families of text encoders under their prefixes. A CLIPTextModel with gelu is SD 2's OpenCLIP."""
    out: Tensors = {}
    xl = (folder / "text_encoder_2").is_dir()
    number = 0
    for name in ("text_encoder", "text_encoder_2"):
        if not (folder / name).is_dir():
            continue
        config = read_config(folder / name)
        weights = {key.removeprefix("text_model."): value for key, value in component(folder / name).items()}
        prefix = text_prefix(config, number, xl or form.sgm)
        if prefix.endswith(".model."):
            encoder = original_open_clip(weights)
            encoder |= {} if xl else unused_open_clip(encoder)
            if form.leftovers:
                encoder["attn_mask"] = torch.full((77, 77), float("-inf")).triu(1)
        else:
            encoder = {"text_model." + key: value for key, value in weights.items()}
            if form.position_ids is not None:
                encoder["text_model.embeddings.position_ids"] = _position_ids(form.position_ids)
            if not form.text_model:
                encoder = {key.removeprefix("text_model."): value for key, value in encoder.items()}
            if form.projection:
                encoder["text_projection.weight"] = torch.ones((config["hidden_size"],) * 2)
        out |= {prefix + key: value for key, value in encoder.items()}
        number += 1
    return out


def _position_ids(dtype: torch.dtype) -> Tensor:
    ids = torch.arange(77)[None]
    return ids if dtype == torch.int64 else (ids.to(dtype) - 0.001).to(dtype)


def _leftovers() -> Tensors:
    """What pytorch-lightning and the samplers of training leave in a file."""
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    products = scheduler.alphas_cumprod
    return {
        "betas": scheduler.betas,
        "alphas_cumprod": products,
        "alphas_cumprod_prev": torch.cat([torch.ones(1), products[:-1]]),
        "sqrt_alphas_cumprod": products.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - products).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - products).log(),
        "posterior_variance": torch.rand(1000, generator=torch.Generator("cpu").manual_seed(8)),
        "logvar": torch.zeros(1000),
        "denoiser.sigmas": ((1 - products) / products).sqrt().flip(0),
        "first_stage_model.loss.logvar": torch.zeros(()),
        "first_stage_model.loss.discriminator.main.0.weight": torch.ones(4, 3, 2, 2),
        "global_step": torch.tensor(470000),
    }


def _ema(unet: Mapping[str, Tensor]) -> Tensors:
    """LitEma's copy: names without dots."""
    generator = torch.Generator("cpu").manual_seed(7)
    out = {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(470000, dtype=torch.int32)}
    for name, value in unet.items():
        noise = torch.randn(value.shape, generator=generator)
        out["model_ema.diffusion_model" + name.replace(".", "")] = 0.7 * value + 0.02 * noise
    return out


def write_original(folder: Path, path: Path, form: Form) -> None:
    """Writes the diffusers folder's weights to `path`."""

    def cast(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensors:
        return {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}

    levels = len(read_config(folder / "vae")["block_out_channels"])
    vae = cast(original_vae(component(folder / "vae"), levels), form.vae_dtype or form.dtype)
    out = {form.vae_prefix + name: value for name, value in vae.items()}
    if form.parts == "vae":
        if form.leftovers:
            out |= {form.vae_prefix + "loss.logvar": torch.zeros(()), "model_ema.num_updates": torch.tensor(5)}
    else:
        unet = original_unet(component(folder / "unet"), read_config(folder / "unet"))
        out |= cast({UNET_PREFIX + name: value for name, value in unet.items()}, form.dtype)
        texts = _text_encoders(folder, form)
        positions = {name: value for name, value in texts.items() if name.endswith("position_ids")}
        out |= cast(texts, form.vae_dtype or form.dtype) | positions
        out |= _ema(unet) if form.ema else {}
        out |= _leftovers() if form.leftovers else {}
        out |= {name: torch.zeros(0) for name in form.markers}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in out.items()}, path, dict(form.metadata))


# A U-Net alone, in a file: the original layout with the checkpoints' prefix or bare, or diffusers' names; and GGUF, as
# ComfyUI-GGUF makes it, which says what shape kernels had.
UNET_FILES = ("unet-original", "unet-bare", "unet-diffusers", "unet-gguf")


def write_unet(folder: Path, path: Path, form: str) -> None:
    """Writes the diffusers folder's U-Net alone to `path`, in one of UNET_FILES."""
    weights = component(folder / "unet")
    if form != "unet-diffusers":
        weights = original_unet(weights, read_config(folder / "unet"))
    prefix = UNET_PREFIX if form == "unet-original" else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "unet-gguf":
        return write_flattened(path, weights, "sd1")
    save_file({prefix + name: value.contiguous() for name, value in weights.items()}, path, {"format": "pt"})
    return None


# The forms in which models of a family are found. "original" is the plainest; ".safetensors" files are named after them.
_SD1_FORMS = (
    Form("original"),
    # v1-5-pruned.safetensors: float32, both sets of weights, everything that training left.
    Form("ema", torch.float32, ema=True, leftovers=True, position_ids=torch.int64),
    # Merges: a half-precision UNet beside a float32 VAE and text encoder.
    Form("mixed", torch.float16, vae_dtype=torch.float32, position_ids=torch.int64),
    Form("no-text-model", text_model=False, position_ids=torch.float32),
    Form("half-positions", position_ids=torch.float16, vae_prefix="vae."),
    Form("bfloat16", torch.bfloat16),
    Form("projection", projection=True),
    Form("vae", torch.float32, parts="vae", vae_prefix=""),
    Form("vae-leftovers", parts="vae", vae_prefix="", leftovers=True),
    Form("vae-prefixed", torch.bfloat16, parts="vae"),
)
_SD2_FORMS = (Form("original"), Form("ema", torch.float32, ema=True, leftovers=True), Form("sgm", sgm=True))
_XL_METADATA = (("modelspec.architecture", "stable-diffusion-xl-v1-base"), ("modelspec.sai_model_spec", "1.0.0"))
_XL_FORMS = (
    Form("original", position_ids=torch.int64, metadata=_XL_METADATA),
    Form("mixed", vae_dtype=torch.float32, leftovers=True),
    Form("bfloat16", torch.bfloat16, vae_prefix="vae."),
    Form("projection", projection=True),
    Form("vae", parts="vae", vae_prefix=""),
)
_REFINER_FORMS = (Form("original"), Form("leftovers", torch.float32, leftovers=True))

FORMS: Mapping[str, tuple[Form, ...]] = {
    "sd15": _SD1_FORMS,
    "sd21": _SD2_FORMS,
    "sd21-epsilon": _SD2_FORMS[:1],
    "sdxl": _XL_FORMS,
    "refiner": _REFINER_FORMS,
    "sdxl-v": (Form("original", markers=("v_pred", "ztsnr")),),
    "ssd1b": (Form("original"),),
    "inpaint": (Form("original"),),
    "lcm-full": (Form("original"),),
    "depth": (Form("original"),),
}


def form_of(model: str, name: str) -> Form:
    return next(form for form in FORMS[model] if form.name == name)
