"""Checks what the embedded model is trained with: the fused operators against torch's in float64, and that stopping changes nothing.

    python tools/training_check.py

A stage that is stopped and run again must end with the very parameters of one that ran through. Closes with "N passed, N failed".
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from default_model.concepts import load_concepts
from default_model.diffusion import WIDTH, build_text_encoder, build_unet
from default_model.fit import FitOptions
from default_model.fused import GroupNorm, _Geglu, fuse, kernels
from default_model.naming import Naming, train_names
from default_model.tokens import Tokens, train_tokenizer

BFLOAT16 = 2.0**-7  # of the largest value: a rounding or two
results: list[bool] = []


def check(name: str, right: bool, detail: str = "") -> None:
    results.append(right)
    if not right:
        print(f"FAILED: {name} {detail}")


def compare(name: str, made: Tensor, wanted: Tensor, tolerance: float = BFLOAT16) -> None:
    away = float((made.double() - wanted).abs().max() / wanted.abs().max())
    check(name, away <= tolerance, f"is {away:.2e} of the largest value away")


def with_gradients(run: Callable[..., Tensor], inputs: list[Tensor], dy: Tensor) -> list[Tensor]:
    """The result of `run` and the gradients of its inputs."""
    leaves = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_() for x in inputs]
    y = run(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, dy.to(y.dtype))]


def check_operators() -> None:
    torch.manual_seed(0)
    for silu in (False, True):
        norm = GroupNorm(8, 32)
        norm.silu = silu
        nn.init.normal_(norm.weight, 1, 0.5)
        nn.init.normal_(norm.bias)
        x = (torch.randn(3, 32, 17, 13) * 2 + 1).bfloat16().to(memory_format=torch.channels_last)
        dy = torch.randn_like(x)
        own = with_gradients(lambda x, w, b: torch.func.functional_call(norm, {"weight": w, "bias": b}, (x,)), [x, norm.weight, norm.bias], dy)  # noqa: B023

        def exact(x: Tensor, w: Tensor, b: Tensor, silu: bool = silu) -> Tensor:
            y = F.group_norm(x, 8, w, b)
            return F.silu(y) if silu else y

        right = with_gradients(exact, [x.double(), norm.weight.double(), norm.bias.double()], dy)
        for name, a, b in zip(("y", "dx", "dweight", "dbias"), own, right, strict=True):
            compare(f"group norm, SiLU {silu}: {name}", a, b)
    x, dy = (2 * torch.randn(5, 7, 96)).bfloat16(), torch.randn(5, 7, 48).bfloat16()

    def geglu(x: Tensor) -> Tensor:
        value, gate = x.chunk(2, -1)
        return value * F.gelu(gate)

    for name, a, b in zip(("y", "dx"), with_gradients(_Geglu.apply, [x], dy), with_gradients(geglu, [x.double()], dy), strict=True):
        compare(f"GEGLU: {name}", a, b)


def check_unet() -> None:
    """The fused UNet is diffusers'."""
    torch.manual_seed(1)
    plain, fused = build_unet(), build_unet()
    fused.load_state_dict(plain.state_dict())
    fuse(fused).to(memory_format=torch.channels_last)
    x, times, context = torch.randn(2, plain.config.in_channels, 8, 8), torch.tensor([5, 900]), torch.randn(2, 32, WIDTH)
    compare("UNet in float32", fused(x, times, context).sample.detach(), plain(x, times, context).sample.detach().double(), 1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        made = fused(x.to(memory_format=torch.channels_last), times, context).sample
    compare("UNet in bfloat16", made.detach(), plain(x, times, context).sample.detach().double(), 4 * BFLOAT16)


def check_resuming() -> None:
    concepts = load_concepts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_tokenizer(concepts, folder / "spiece.model")
        tokens = Tokens(folder / "spiece.model")

        def trained(folder: Path, *stops: int) -> dict[str, Tensor]:
            folder.mkdir()
            for stop in stops:
                torch.manual_seed(2)
                net = nn.ModuleDict({"text": build_text_encoder(tokens.processor.vocab_size()), "naming": Naming(WIDTH, len(concepts))})
                path = folder / "names.pt"
                if path.exists():  # as if it had been killed: not done
                    torch.save(torch.load(path, weights_only=True) | {"done": False}, path)
                options = FitOptions(steps=4, stop_after=stop, warmup_steps=2)
                train_names(net["text"], net["naming"], tokens, concepts, options, folder, torch.device("cpu"), 0)
            return net.state_dict()

        through, stopped = trained(folder / "a", 4), trained(folder / "b", 2, 4)
        for key, value in through.items():
            check(f"resumed {key}", torch.equal(value, stopped[key]))


def main() -> None:
    with ThreadPoolExecutor(1) as pool:
        compiled = pool.submit(kernels)
        check_resuming()
        compiled.result()
    check_operators()
    check_unet()
    failed = results.count(False)
    print(f"{len(results) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
