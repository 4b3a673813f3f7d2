"""layers/*.safetensors: networks of diffusers and transformers, what goes in, comes out and passes between blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from .control_fixtures import ADAPTER_CASES, CONTROLNET_CASES, write_adapter, write_controlnet
from .decoder_fixtures import DECODER_CASES, write_decoder
from .flux2_fixtures import (
    CHROMA_CASES,
    FLUX2_CASES,
    FLUX2_VAE_CASES,
    SEEN_CASES,
    write_chroma,
    write_flux2,
    write_flux2_vae,
    write_seen_t5,
)
from .key_names import old_attention_names, text_encoder_names
from .qwen_fixtures import QWEN_IMAGE_CASES, QWEN_VAE_CASES, write_qwen_image, write_qwen_vae
from .random_weights import randomise, scale_output, to_float16
from .tensors import save_fixture
from .transformer_control_fixtures import (
    FLUX_CONTROLNET_CASES,
    SD3_CONTROLNET_CASES,
    write_flux_controlnet,
    write_sd3_controlnet,
)
from .transformer_fixtures import (
    DIT_CASES,
    FLUX_CASES,
    LUMINA2_CASES,
    PIXART_CASES,
    SD3_CASES,
    T5_CASES,
    Z_IMAGE_CASES,
    write_dit,
    write_flux,
    write_lumina2,
    write_pixart,
    write_sd3,
    write_t5,
    write_z_image,
)
from .unet2d_cases import UNET2D_CASES, UNet2DCase
from .unet_cases import UNET_CASES, UNetCase

BATCH = 2


def write_layer_fixtures(folder: Path, *, missing: bool = False) -> None:
    """All of them, or those that are `missing`: bytes differ between kinds of machines."""
    writers: dict[str, Callable[[Path], None]] = {}
    writers |= {f"unet-{name}": partial(_write_unet, case=case) for name, case in UNET_CASES.items()}
    writers |= {f"unet2d-{name}": partial(_write_unet2d, case=case) for name, case in UNET2D_CASES.items()}
    writers |= {f"vae-{name}": partial(_write_vae, config=case[0], keys=case[1]) for name, case in VAE_CASES.items()}
    writers |= {f"clip-{name}": partial(_write_clip, config=case[0], prefix=case[1]) for name, case in CLIP_CASES.items()}
    writers |= {
        f"controlnet-{name}": partial(write_controlnet, config=case[0], scale=case[1], guess=case[2])
        for name, case in CONTROLNET_CASES.items()
    }
    for kind, cases, write in (
        ("sd3", SD3_CONTROLNET_CASES, write_sd3_controlnet), ("flux", FLUX_CONTROLNET_CASES, write_flux_controlnet),
    ):  # fmt: skip
        writers |= {
            f"{kind}-controlnet-{name}": lambda path, config=config, write=write: write(path, config, _seed(path))
            for name, config in cases.items()
        }
    for cases, write in (
        (SD3_CASES, write_sd3), (FLUX_CASES, write_flux), (PIXART_CASES, write_pixart), (DIT_CASES, write_dit),
        (T5_CASES, write_t5), (FLUX2_CASES, write_flux2), (CHROMA_CASES, write_chroma), (FLUX2_VAE_CASES, write_flux2_vae),
        (SEEN_CASES, write_seen_t5), (DECODER_CASES, write_decoder), (Z_IMAGE_CASES, write_z_image), (LUMINA2_CASES, write_lumina2),
        (QWEN_IMAGE_CASES, write_qwen_image), (QWEN_VAE_CASES, write_qwen_vae),
    ):  # fmt: skip
        writers |= {
            name: lambda path, config=config, write=write: write(path, config, _seed(path)) for name, config in cases.items()
        }
    writers |= {f"adapter-{name}": partial(write_adapter, config=config) for name, config in ADAPTER_CASES.items()}
    with torch.no_grad():
        for name, write in writers.items():
            path = folder / f"{name}.safetensors"
            if not (missing and path.exists()):
                write(path)


def _generator(path: Path) -> torch.Generator:
    """A generator whose seed is the file's name, so that a new case leaves the others as they are."""
    return torch.Generator("cpu").manual_seed(_seed(path))


def _seed(path: Path) -> int:
    return int.from_bytes(path.stem.encode()[-6:], "little")


def _observe(model: nn.Module, blocks: list[str]) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Records what the named modules return (the first of a tuple); the callable ends it."""
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def record(_: nn.Module, __: Any, output: Any) -> None:
            seen[name] = (output[0] if isinstance(output, tuple) else output).clone()

        return record

    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in blocks]
    return seen, lambda: [handle.remove() for handle in handles] and None


def _write_unet(path: Path, case: UNetCase) -> None:
    model = UNet2DConditionModel(**case.config)
    randomise(model, _seed(path), rounding=to_float16)
    generator = _generator(path)
    inputs = {
        "sample": torch.randn(BATCH, model.config.in_channels, *case.size, generator=generator),
        "timestep": torch.tensor(case.timestep, dtype=torch.float64),
        "context": torch.randn(BATCH, case.tokens, case.context_width(), generator=generator),
    }
    inputs |= {name: make(generator) for name, make in case.extra_inputs.items()}
    arguments = case.arguments(inputs)
    scale_output(model.conv_out, model(**arguments).sample, 1.0, rounding=to_float16)

    blocks = ["time_embedding", "conv_in", "conv_out"]
    blocks += [f"down_blocks.{i}" for i in range(len(model.down_blocks))]
    blocks += [f"up_blocks.{i}" for i in range(len(model.up_blocks))]
    blocks += ["mid_block"] if model.mid_block is not None else []
    # In float64, as the C++ tests compute it: deep random networks lose up to 7e-5 in float32.
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    outputs, stop = _observe(model.double(), blocks)
    outputs["sample"] = model(**case.arguments({name: value.double() for name, value in inputs.items()})).sample
    stop()
    save_fixture(path, _config(model), weights, inputs, {name: value.float() for name, value in outputs.items()})


def _write_unet2d(path: Path, case: UNet2DCase) -> None:
    model = UNet2DModel(**case.config)
    randomise(model, _seed(path), rounding=to_float16)
    inputs = {
        "sample": torch.randn(BATCH, model.config.in_channels, *case.size, generator=_generator(path)),
        "timestep": torch.tensor(case.timestep, dtype=torch.float64),
    }
    arguments = inputs["sample"], inputs["timestep"].float()
    scale_output(model.conv_out, model(*arguments).sample, 1.0, rounding=to_float16)
    config = {key: value for key, value in _config(model).items() if case.keys is None or key in case.keys}
    save_fixture(path, config, case.names(model.state_dict()), inputs, {"sample": model(*arguments).sample})


def _config(model: nn.Module) -> dict[str, Any]:
    """config.json as save_pretrained writes it."""
    return {key: value for key, value in dict(model.config).items() if not key.startswith("_")}


VAE_BASE: Mapping[str, Any] = {
    "block_out_channels": (8, 16), "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2, "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4,
    "sample_size": 16,
}  # fmt: skip

VAE_CASES: Mapping[str, tuple[Mapping[str, Any], Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]]] = {
    "sd": (VAE_BASE, dict),
    "old-names": ({**VAE_BASE, "layers_per_block": 2}, old_attention_names),
    "three-blocks": ({**VAE_BASE, "block_out_channels": (4, 4, 8), "latent_channels": 3, "act_fn": "gelu",
                      "down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3,
                      "scaling_factor": 0.5}, dict),
    "no-quant-no-attention": ({**VAE_BASE, "use_quant_conv": False, "use_post_quant_conv": False,
                               "mid_block_add_attention": False, "block_out_channels": (4, 8),
                               "latent_channels": 8}, dict),
    # As Stable Diffusion 3 and Flux have them.
    "shifted": ({**VAE_BASE, "use_quant_conv": False, "use_post_quant_conv": False, "block_out_channels": (4, 8),
                 "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609}, dict),
}  # fmt: skip


def _write_vae(path: Path, config: Mapping[str, Any], keys: Callable[[Mapping[str, Tensor]], Any]) -> None:
    """in.latents are what the decoder gets (already divided by scaling_factor); out.moments are mean and logvar as the
    encoder says them, not clamped. With a shift_factor in.latents are the loop's, which the pipelines decode as out.image,
    and out.loop is what they encode."""
    model = AutoencoderKL(**config)
    randomise(model, _seed(path), rounding=to_float16)
    generator = _generator(path)
    factor = 2 ** (len(config["block_out_channels"]) - 1)
    inputs = {
        "latents": torch.randn(BATCH, config["latent_channels"], 3, 5, generator=generator),
        "image": torch.rand(BATCH, 3, 3 * factor, 5 * factor, generator=generator) * 2 - 1,
    }
    blocks = ["decoder.conv_in", "decoder.mid_block", "encoder.down_blocks.0", "encoder.mid_block"]
    outputs, stop = _observe(model, blocks)
    scale, shift = model.config.scaling_factor, model.config.shift_factor
    outputs["image"] = model.decode(inputs["latents"] / scale + shift if shift else inputs["latents"]).sample
    posterior = model.encode(inputs["image"]).latent_dist
    outputs["moments"] = posterior.parameters
    if shift:
        outputs["loop"] = (posterior.mode() - shift) * scale
    stop()
    save_fixture(path, _config(model), keys(model.state_dict()), inputs, outputs)


CLIP_BASE: Mapping[str, Any] = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "max_position_embeddings": 12, "bos_token_id": 62, "eos_token_id": 63, "pad_token_id": 1,
    "projection_dim": 10,
}  # fmt: skip

# Configuration and the prefix of the keys: "text_model." in all files before transformers 5.
CLIP_CASES: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "quick-gelu": ({**CLIP_BASE, "hidden_act": "quick_gelu"}, "text_model."),
    "gelu": ({**CLIP_BASE, "hidden_act": "gelu", "layer_norm_eps": 1e-3}, ""),
    # SD 1.5's config says eos_token_id 2, which no prompt holds: transformers then pools at the largest id.
    "legacy-eos": ({**CLIP_BASE, "hidden_act": "quick_gelu", "eos_token_id": 2}, "text_model."),
    "projection": ({**CLIP_BASE, "hidden_act": "gelu"}, "text_model."),
    # SDXL's second encoder: gelu, a square projection, eos_token_id 2, padded with id 0.
    "open-clip": ({**CLIP_BASE, "hidden_act": "gelu", "eos_token_id": 2, "projection_dim": 16}, "text_model."),
}


def _write_clip(path: Path, config: Mapping[str, Any], prefix: str) -> None:
    """out.hidden_states.K: after K layers, before the final norm; out.last: the final norm of the last one; out.pooled:
    its row at the end token; out.text_embeds: pooled times text_projection (text encoder 2 of SDXL)."""
    projected = path.stem in ("clip-projection", "clip-open-clip")
    model_class = CLIPTextModelWithProjection if projected else CLIPTextModel
    model = model_class(CLIPTextConfig(**config))
    randomise(model, _seed(path), rounding=to_float16)
    generator = _generator(path)
    ids = torch.randint(3, 62, (BATCH, config["max_position_embeddings"]), generator=generator)
    ids[:, 0] = 62
    ids[0, 5:], ids[1, 9:] = 63, 63
    if path.stem == "clip-open-clip":
        ids[0, 6:], ids[1, 10:] = 0, 0
    answer = model(input_ids=ids, output_hidden_states=True)
    outputs = {f"hidden_states.{k}": state.clone() for k, state in enumerate(answer.hidden_states)}
    outputs["last"] = answer.last_hidden_state
    if projected:
        outputs["text_embeds"] = answer.text_embeds
    outputs["pooled"] = (model.text_model(input_ids=ids) if projected else answer).pooler_output
    named = text_encoder_names(model.state_dict(), prefix)
    keep = ["layer_norm_eps", "hidden_act"]
    full = {**config, **{key: getattr(model.config, key) for key in keep}, "model_type": "clip_text_model"}
    save_fixture(path, full, named, {"ids": ids.to(torch.int64)}, outputs)
