"""Muon: momentum whose step is made orthogonal, matrix by matrix.

From the description by Jordan et al. 2024 (kellerjordan.github.io/posts/muon).

The step is scaled to a root mean square of 0.2 learning rates, like a typical AdamW step (Liu et al. 2025,
arXiv:2502.16982), so that one learning rate serves both optimizers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic Newton-Schulz iteration
ITERATIONS = 4
TOGETHER = 6  # matrices of one shape in one part of a step


def orthogonalise(matrices: Tensor) -> Tensor:
    """Replaces the singular values of [n, rows, columns] by values near 1, small ones by less; in bfloat16."""
    a, b, c = COEFFICIENTS
    matrices = matrices.bfloat16()
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, b * gram + c * (gram @ gram), x, beta=a)
    return x if wide is matrices else x.mT


class Muon(torch.optim.Optimizer):
    """For weights of linear layers and convolutions; a convolution counts as a matrix [out, in * height * width]."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def step(self, closure: None = None) -> None:
        """One step; equal shapes are made orthogonal together, a few at a time."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape].append(parameter)
            for same in shapes.values():
                for start in range(0, len(same), TOGETHER):
                    self._move(group, same[start : start + TOGETHER])

    @torch.no_grad()
    def _move(self, group: dict, parameters: list[nn.Parameter]) -> None:
        steps = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            steps.append(parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1))
        matrices = torch.stack(steps)
        scale = 0.2 * max(matrices.shape[1:]) ** 0.5 * group["lr"]
        for parameter, update in zip(parameters, orthogonalise(matrices), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.reshape(parameter.shape).float(), alpha=-scale)


def split_parameters(net: nn.Module, adam_only: tuple[str, ...]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters for Muon (matrices) and for AdamW (vectors, embeddings, and names that contain one of `adam_only`)."""
    embeddings = {id(m.weight) for m in net.modules() if isinstance(m, nn.Embedding)}
    muon, adam = [], []
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        plain = parameter.ndim < 2 or id(parameter) in embeddings or any(part in name for part in adam_only)
        (adam if plain else muon).append(parameter)
    return muon, adam
