"""Random weights under which every input of a network matters.

A freshly initialised diffusion network is a poor test: its attention is almost uniform, its time embedding almost
unused and its output almost zero, so a wrong prompt, scale or step hardly shows. `randomise` draws every matrix with variance
gain^2 / fan_in, with larger gains where conditioning enters (GAINS), and norms around 1; `scale_output` then scales the
last convolution so that the output has the wanted deviation on typical inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

# Gain by the end of the parameter's name, first match wins. Queries and keys: attention logits with a deviation of
# about 2, so that a softmax picks a few positions. time_emb_proj and attn2.to_out: the step and the prompt move the output as
# much as the picture does.
GAINS = {
    "to_q.weight": 1.4, "to_k.weight": 1.4, "q_proj.weight": 1.4, "k_proj.weight": 1.4,
    "time_emb_proj.weight": 1.5, "attn2.to_v.weight": 2.0, "attn2.to_out.0.weight": 2.0,
    "pad_token": 5.0, "position_embedding.weight": 0.7, "mode_embedder.weight": 6.0,
}  # fmt: skip


# Which values a weight may have, so that a file in fewer bits holds these very weights.
Rounding = Callable[[Tensor], Tensor]


def as_drawn(value: Tensor) -> Tensor:
    return value


def to_float16(value: Tensor) -> Tensor:
    return value.half().float()


def to_any_16_bits(value: Tensor) -> Tensor:
    """Values that float16 and bfloat16 both hold: bfloat16's eight digits, and float16's own where it is subnormal."""
    return value.bfloat16().half().float()


def randomise(model: nn.Module, seed: int, *, rounding: Rounding = as_drawn) -> None:
    """Fills all parameters of `model`."""
    generator = torch.Generator("cpu").manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(rounding(draw(name, parameter.shape, generator)))
    model.eval().requires_grad_(False)


def draw(name: str, shape: torch.Size, generator: torch.Generator, gains: Mapping[str, float] = GAINS) -> Tensor:
    """A random value for the parameter of this name."""
    noise = torch.randn(shape, generator=generator)
    gain = next((value for end, value in gains.items() if name.endswith(end)), 1.0)
    if name.endswith("running_var"):
        return 0.5 + noise.abs()
    if "embedding.weight" in name:  # token, position, class tables: unit rows
        return gain * noise
    if len(shape) >= 2:
        return gain * noise / shape[1:].numel() ** 0.5
    return 1 + 0.2 * noise if name.endswith("weight") else 0.2 * noise


def scale_output(last: nn.Module, output: Tensor, deviation: float, *, rounding: Rounding = as_drawn) -> None:
    """Scales weight and bias of the last layer so that `output`, computed with it as it is, would deviate by
    `deviation`, per channel around zero."""
    with torch.no_grad():
        spread = output.std(dim=(0, 2, 3))
        last.weight.mul_((deviation / spread).view(-1, 1, 1, 1))
        last.bias.sub_(output.mean(dim=(0, 2, 3))).mul_(deviation / spread)
        last.weight.copy_(rounding(last.weight))
        last.bias.copy_(rounding(last.bias))
