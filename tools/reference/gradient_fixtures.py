"""gradients.safetensors: gradients of losses of the layer fixtures' networks, as diffusers and transformers have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from .key_names import text_encoder_names
from .tensors import save

# So many numbers of each gradient are kept, taken from all over it.
SAMPLE, STRIDE = 24, 7919

# Where the low-rank terms of unet-sdxl are: a projection of each kind.
TERMS = (
    "down_blocks.1.attentions.0.proj_in",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "mid_block.attentions.0.transformer_blocks.1.attn2.to_v",
    "up_blocks.0.attentions.1.transformer_blocks.0.ff.net.2",
    "up_blocks.0.resnets.0.time_emb_proj",
)
RANK, SCALE = 2, 0.75


@dataclass(frozen=True)
class Layer:
    """A file of tests/fixtures/layers, widened to float64."""

    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> Layer:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            config = json.loads(file.metadata()["config"])
        wide = {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}
        return cls(config, _below("w.", wide), _below("in.", wide))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def write_gradient_fixtures(layers: Path, path: Path) -> None:
    """All in one file, computed in float64: of each network the targets, and the gradients of the mean square distances
    from them, added up. `NAME.sample` and `NAME.norms` are the parameters', sorted by name."""
    generator = torch.Generator("cpu").manual_seed(24)
    tensors: dict[str, Tensor] = {}
    for name in ("unet-sd1", "unet-sdxl", "unet-scale-shift"):
        tensors |= _unet(name, Layer.read(layers / f"{name}.safetensors"), generator)
    tensors |= _unet2d(Layer.read(layers / "unet2d-attention.safetensors"), generator)
    tensors |= _clip(Layer.read(layers / "clip-projection.safetensors"), generator)
    tensors |= _vae(Layer.read(layers / "vae-sd.safetensors"), generator)
    save(path, {name: value.float() for name, value in tensors.items()}, {"terms": TERMS, "scale": SCALE})


def _answer(
    name: str, generator: torch.Generator, outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
) -> dict[str, Tensor]:  # fmt: skip
    """The targets, drawn, and what the loss makes of inputs and parameters."""
    # Values that float32 holds: the C++ tests read them as such.
    targets = {key: torch.randn(value.shape, generator=generator).double() for key, value in outputs.items()}
    sum(mse_loss(value, targets[key]) for key, value in outputs.items()).backward()
    gradients = [_rounded(parameter.grad) for _, parameter in sorted(parameters.items())]
    answer = {f"{name}.target.{key}": value for key, value in targets.items()}
    answer |= {f"{name}.grad.{key}": value.grad for key, value in inputs.items()}
    answer[f"{name}.norms"] = torch.stack([gradient.norm() for gradient in gradients])
    answer[f"{name}.sample"] = torch.cat([_sample(gradient.flatten()) for gradient in gradients])
    return answer


def _rounded(gradient: Tensor | None) -> Tensor:
    """Without the rounding of float64 where there is nothing else: a softmax does not care for the keys' biases."""
    assert gradient is not None
    return gradient if gradient.norm() > 1e-12 else torch.zeros_like(gradient)


def _sample(flat: Tensor) -> Tensor:
    return flat if len(flat) <= SAMPLE else flat[torch.arange(SAMPLE) * STRIDE % len(flat)]


def _learning(model: nn.Module, layer: Layer) -> nn.Module:
    model = model.double().requires_grad_(True)
    model.load_state_dict(layer.weights)
    return model


def _unet(name: str, layer: Layer, generator: torch.Generator) -> dict[str, Tensor]:
    model = _learning(UNet2DConditionModel(**layer.config), layer)
    inputs = {key: layer.inputs[key].requires_grad_() for key in ("sample", "context")}
    factors: dict[str, Tensor] = {}
    for module in TERMS if name == "unet-sdxl" else ():
        linear = model.get_submodule(module)
        down = torch.randn(RANK, linear.in_features, generator=generator).double().requires_grad_()
        up = (torch.randn(linear.out_features, RANK, generator=generator) / 2).double().requires_grad_()
        factors |= {f"down.{module}": down, f"up.{module}": up}
        linear.register_forward_hook(lambda _, x, y, down=down, up=up: y + SCALE * x[0] @ down.T @ up.T)
    added = {key: layer.inputs[key] for key in ("text_embeds", "time_ids") if key in layer.inputs}
    answer = model(
        sample=inputs["sample"], timestep=layer.inputs["timestep"].float(), encoder_hidden_states=inputs["context"],
        added_cond_kwargs=added or None,
    )  # fmt: skip
    tensors = _answer(name, generator, {"sample": answer.sample}, inputs | factors, dict(model.named_parameters()))
    return tensors | {f"{name}.{key}": value for key, value in factors.items()}


def _unet2d(layer: Layer, generator: torch.Generator) -> dict[str, Tensor]:
    model = _learning(UNet2DModel(**layer.config), layer)
    inputs = {"sample": layer.inputs["sample"].requires_grad_()}
    outputs = {"sample": model(inputs["sample"], layer.inputs["timestep"].float()).sample}
    return _answer("unet2d-attention", generator, outputs, inputs, dict(model.named_parameters()))


def _clip(layer: Layer, generator: torch.Generator) -> dict[str, Tensor]:
    model = CLIPTextModelWithProjection(CLIPTextConfig(**layer.config)).double()
    parameters = text_encoder_names(dict(model.named_parameters()), "text_model.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(layer.weights[name])
    answer = model(input_ids=layer.inputs["ids"], output_hidden_states=True)
    outputs = {"penultimate": answer.hidden_states[-2], "last": answer.last_hidden_state, "pooled": answer.text_embeds}
    return _answer("clip-projection", generator, outputs, {}, parameters)


def _vae(layer: Layer, generator: torch.Generator) -> dict[str, Tensor]:
    model = _learning(AutoencoderKL(**layer.config), layer)
    inputs = {key: layer.inputs[key].requires_grad_() for key in ("latents", "image")}
    moments = model.encode(inputs["image"]).latent_dist
    outputs = {"image": model.decode(inputs["latents"]).sample, "mean": moments.mean, "log_variance": moments.logvar}
    return _answer("vae-sd", generator, outputs, inputs, dict(model.named_parameters()))
