"""layers/{flux2,chroma,vae-flux2,t5-seen}*.safetensors: what came after Flux.1, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, ChromaTransformer2DModel, Flux2Transformer2DModel
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

from .random_weights import randomise, scale_output, to_float16
from .tensors import save_fixture
from .transformer_fixtures import T5_CASES, packed

_FLUX2: Mapping[str, Any] = {
    "in_channels": 10, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 12, "num_attention_heads": 2,
    "joint_attention_dim": 20, "axes_dims_rope": (2, 4, 4, 2), "mlp_ratio": 2.5, "rope_theta": 500,
}  # fmt: skip
FLUX2_CASES: Mapping[str, Mapping[str, Any]] = {
    "flux2": {**_FLUX2, "guidance_embeds": True},
    "flux2-shown": {**_FLUX2, "guidance_embeds": False},  # two other pictures
}
CHROMA_CASES: Mapping[str, Mapping[str, Any]] = {
    "chroma": {
        "in_channels": 16, "num_layers": 2, "num_single_layers": 3, "attention_head_dim": 12, "num_attention_heads": 2,
        "joint_attention_dim": 20, "axes_dims_rope": (2, 4, 6), "approximator_num_channels": 16, "approximator_hidden_dim": 20,
        "approximator_layers": 2,
    },
}  # fmt: skip
FLUX2_VAE_CASES: Mapping[str, Mapping[str, Any]] = {
    "vae-flux2": {
        "block_out_channels": (4, 8), "decoder_block_out_channels": (4, 12), "layers_per_block": 1, "latent_channels": 3,
        "norm_num_groups": 2, "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
        "batch_norm_eps": 0.01,
    },
}  # fmt: skip
SEEN_CASES = {"t5-seen": T5_CASES["t5"]}


def _settings(model: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(model.config).items() if not key.startswith("_")}


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def write_flux2(path: Path, config: Mapping[str, Any], seed: int) -> None:
    """Tokens that are latents, of pictures that are not square."""
    model = Flux2Transformer2DModel(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    channels, guided = config["in_channels"], config["guidance_embeds"]
    inputs = {
        "sample": torch.randn(2, channels, 3, 5, generator=generator),
        "timestep": torch.tensor(731.0, dtype=torch.float64),
        "context": torch.randn(2, 7, config["joint_attention_dim"], generator=generator),
    }
    if guided:
        inputs["guidance"] = torch.tensor([3.5, 0.5], dtype=torch.float64)
    else:
        inputs["reference"] = torch.randn(2, channels, 4, 2, generator=generator)
        inputs["reference_2"] = torch.randn(2, channels, 1, 3, generator=generator)
    tokens, places = [], []
    for number, name in enumerate(name for name in ("sample", "reference", "reference_2") if name in inputs):
        latents = inputs[name]
        tokens.append(latents.flatten(2).transpose(1, 2))
        rows, columns = torch.arange(latents.shape[2]), torch.arange(latents.shape[3])
        places.append(torch.cartesian_prod(torch.tensor([10 * number]), rows, columns, torch.arange(1)))
    words = torch.cartesian_prod(torch.arange(1), torch.arange(1), torch.arange(1), torch.arange(7))
    weights = _weights(model)
    output = model.double()(
        torch.cat(tokens, 1).double(), inputs["context"].double(), inputs["timestep"].repeat(2) / 1000, torch.cat(places), words,
        inputs.get("guidance"), return_dict=False,
    )[0][:, :15]  # fmt: skip
    sample = output.transpose(1, 2).unflatten(2, (3, 5))
    save_fixture(path, _settings(model), weights, inputs, {"sample": sample.float()})


def write_chroma(path: Path, config: Mapping[str, Any], seed: int) -> None:
    """One prompt is cut short, the other is not."""
    model = ChromaTransformer2DModel(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    inputs = {
        "sample": torch.randn(2, config["in_channels"] // 4, 6, 10, generator=generator),
        "timestep": torch.tensor(731.0, dtype=torch.float64),
        "context": torch.randn(2, 7, config["joint_attention_dim"], generator=generator),
        "mask": torch.tensor([[1] * 7, [1] * 3 + [0] * 4]),
    }
    tokens, places = packed(inputs["sample"].double(), 0)
    weights = _weights(model)
    output = model.double()(
        tokens, inputs["context"].double(), inputs["timestep"].repeat(2) / 1000, places, torch.zeros(7, 3),
        torch.cat([inputs["mask"], torch.ones(2, 15)], 1).double(), return_dict=False,
    )[0]  # fmt: skip
    sample = output.view(2, 3, 5, -1, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(2, -1, 6, 10)
    save_fixture(path, _settings(model), weights, inputs, {"sample": sample.float()})


def write_flux2_vae(path: Path, config: Mapping[str, Any], seed: int) -> None:
    """in.latents are the loop's, which the pipelines decode as out.image, and out.loop is what they encode."""
    model = AutoencoderKLFlux2(**config)
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    channels = 4 * config["latent_channels"]
    model.bn.running_mean.copy_(to_float16(torch.randn(channels, generator=generator)))
    model.bn.running_var.copy_(to_float16(torch.rand(channels, generator=generator) * 2 + 0.1))
    inputs = {"latents": torch.randn(2, channels, 3, 5, generator=generator), "image": torch.rand(2, 3, 12, 20, generator=generator) * 2 - 1}
    mean, deviation = (value.view(1, -1, 1, 1) for value in (model.bn.running_mean, (model.bn.running_var + config["batch_norm_eps"]).sqrt()))
    latents = torch.pixel_shuffle(inputs["latents"] * deviation + mean, 2)
    scale_output(model.decoder.conv_out, model.decode(latents).sample, 0.5, rounding=to_float16)
    posterior = model.encode(inputs["image"]).latent_dist
    weights = {name: value for name, value in _weights(model).items() if name != "bn.num_batches_tracked"}
    outputs = {
        "image": model.decode(latents).sample,
        "moments": posterior.parameters,
        "loop": (torch.pixel_unshuffle(posterior.mode(), 2) - mean) / deviation,
    }
    save_fixture(path, _settings(model), weights, inputs, outputs)


def write_seen_t5(path: Path, config: Mapping[str, Any], seed: int) -> None:
    """The first 20 of 67 tokens count; the others see them."""
    model = T5EncoderModel(T5Config(**config))
    randomise(model, seed, rounding=to_float16)
    generator = torch.Generator("cpu").manual_seed(seed)
    ids = torch.randint(0, config["vocab_size"], (1, 67), generator=generator)
    weights = {name: value for name, value in _weights(model).items() if name != "encoder.embed_tokens.weight"}
    states = model.double()(ids, attention_mask=(torch.arange(67) < 20).long()[None]).last_hidden_state
    save_fixture(path, dict(config), weights, {"ids": ids}, {"states": states.float()})
