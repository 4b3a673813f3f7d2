"""What makes training in bfloat16 on a CPU fast: GroupNorm with SiLU and GEGLU in one operator each (kernels.cpp), attention as
two products and a softmax. Names and parameters of diffusers' networks stay, and elsewhere torch's own operators do the work."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.utils import cpp_extension


@cache
def kernels() -> ModuleType:
    """The compiled kernels.cpp; takes half a minute the first time."""
    return cpp_extension.load(
        "sdgen_training_kernels",
        [str(Path(__file__).with_name("kernels.cpp"))],
        extra_cflags=["-O3", "-march=native", "-ffast-math", "-fopenmp"],
    )


class _Normalise(torch.autograd.Function):
    """[n, c, h, w] bfloat16, channels_last."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        y = torch.empty_like(x, memory_format=torch.channels_last)
        mean, rstd = torch.empty(2, len(x), groups)
        kernels().norm_forward(rows(x), weight, bias, rows(y), mean, rstd, eps, silu)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.silu = silu
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        dweight, dbias = torch.empty(2, len(x), x.shape[1])
        kernels().norm_backward(rows(dy), rows(x), weight, bias, mean, rstd, rows(dx), dweight, dbias, ctx.silu)
        return dx, dweight.sum(0), dbias.sum(0), None, None, None


class _Geglu(torch.autograd.Function):
    """[..., 2 c] bfloat16 to [..., c]."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.contiguous()
        y = x.new_empty(*x.shape[:-1], x.shape[-1] // 2)
        kernels().geglu_forward(x.flatten(0, -2), y.flatten(0, -2))
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        dx = torch.empty_like(x)
        kernels().geglu_backward(dy.contiguous().flatten(0, -2), x.flatten(0, -2), dx.flatten(0, -2))
        return dx


def fusible(x: Tensor) -> bool:
    """Whether the kernels are for this: bfloat16 on a CPU, in training."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and torch.is_grad_enabled()


def rows(picture: Tensor) -> Tensor:
    """A channels_last picture as [n, pixels, channels], without copying."""
    return picture.permute(0, 2, 3, 1).flatten(1, 2)


class GroupNorm(nn.GroupNorm):
    """nn.GroupNorm, followed by SiLU where `silu`."""

    silu = False

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4 and fusible(x):
            return _Normalise.apply(x, self.weight, self.bias, self.num_groups, self.eps, self.silu)
        y = super().forward(x)
        return F.silu(y) if self.silu else y


class Geglu(GEGLU):
    """diffusers' GEGLU."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        if fusible(x):
            return _Geglu.apply(x)
        value, gate = x.chunk(2, -1)
        return value * F.gelu(gate)


class PlainAttention:
    """A processor of diffusers' Attention without norms of its own, for UNet2DConditionModel.set_attn_processor.

    At 16 to 64 tokens ATen's fused kernel takes twice the time, most of it in its backward.
    """

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Tokens [n, t, c] that have looked at themselves, or at the context [n, s, d]; there are no masks here."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

        query, key, value = attention.to_q(hidden_states), attention.to_k(context), attention.to_v(context)
        weights = (heads(query * attention.scale) @ heads(key).mT).softmax(-1, dtype=query.dtype)
        return attention.to_out[0]((weights @ heads(value)).transpose(1, 2).flatten(2))


def fuse(net: nn.Module) -> nn.Module:
    """Lets diffusers' autoencoder or UNet use what is above. Returns `net`."""
    for module in net.modules():
        if isinstance(module, nn.GroupNorm):
            module.__class__ = GroupNorm
        elif isinstance(module, GEGLU):
            module.__class__ = Geglu
    for module in net.modules():
        # with a time embedding the same activation serves that, too, and stays where it is
        if isinstance(module, ResnetBlock2D) and module.time_emb_proj is None:
            module.norm1.silu = module.norm2.silu = True
            module.nonlinearity = nn.Identity()
        elif isinstance(getattr(module, "conv_norm_out", None), GroupNorm):
            module.conv_norm_out.silu = True
            module.conv_act = nn.Identity()
    if isinstance(net, UNet2DConditionModel):
        net.set_attn_processor(PlainAttention())
    return net
