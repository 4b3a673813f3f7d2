"""GroupNorm with SiLU in one operator for training in bfloat16 on a CPU (group_norm.cpp); elsewhere torch's own two."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.utils import cpp_extension


@cache
def kernels() -> ModuleType:
    """The compiled group_norm.cpp; takes half a minute the first time."""
    return cpp_extension.load(
        "sdgen_group_norm",
        [str(Path(__file__).with_suffix(".cpp"))],
        extra_cflags=["-O3", "-march=native", "-ffast-math", "-fopenmp"],
    )


class _Normalise(torch.autograd.Function):
    """[n, c, h, w] bfloat16, channels_last."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        y = torch.empty_like(x, memory_format=torch.channels_last)
        mean, rstd = torch.empty(2, len(x), groups)
        kernels().forward(rows(x), weight, bias, rows(y), mean, rstd, eps, silu)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.silu = silu
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        dweight, dbias = torch.empty(2, len(x), x.shape[1])
        kernels().backward(rows(dy), rows(x), weight, bias, mean, rstd, rows(dx), dweight, dbias, ctx.silu)
        return dx, dweight.sum(0), dbias.sum(0), None, None, None


def rows(picture: Tensor) -> Tensor:
    """A channels_last picture as [n, pixels, channels], without copying."""
    return picture.permute(0, 2, 3, 1).flatten(1, 2)


class GroupNorm(nn.GroupNorm):
    """nn.GroupNorm, followed by SiLU where `silu`."""

    silu = False

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.dtype == torch.bfloat16 and x.ndim == 4 and torch.is_grad_enabled():
            return _Normalise.apply(x, self.weight, self.bias, self.num_groups, self.eps, self.silu)
        y = super().forward(x)
        return F.silu(y) if self.silu else y


def fuse_norms(net: nn.Module) -> nn.Module:
    """Lets the norms of diffusers' networks do the SiLU behind them; names and parameters stay. Returns `net`."""
    for module in net.modules():
        if isinstance(module, nn.GroupNorm):
            module.__class__ = GroupNorm
    for module in net.modules():
        # with a time embedding the same activation serves that, too, and stays where it is
        if isinstance(module, ResnetBlock2D) and module.time_emb_proj is None:
            module.norm1.silu = module.norm2.silu = True
            module.nonlinearity = nn.Identity()
        elif isinstance(getattr(module, "conv_norm_out", None), GroupNorm):
            module.conv_norm_out.silu = True
            module.conv_act = nn.Identity()
    return net
