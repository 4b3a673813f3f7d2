"""Deliberate mistakes in pipelines: each a function of the pipeline that is a context, after which all is as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

Fault = Callable[[DiffusionPipeline], AbstractContextManager[None]]


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Past a module's own __setattr__."""
    own = getattr(owner, name)
    vars(owner)[name] = value
    try:
        yield
    finally:
        vars(owner)[name] = own


@contextmanager
def undrawn(_: DiffusionPipeline, with_seeds: bool = True) -> Iterator[None]:
    """Latents of pictures are not drawn: they are what their samples lie around, and the next to be drawn takes the numbers.
    Without `with_seeds`, those alone that would be drawn from a generator that no seed sets."""
    own = DiagonalGaussianDistribution.sample
    DiagonalGaussianDistribution.sample = (
        lambda self, generator=None: self.mode() if with_seeds or generator is None else own(self, generator)
    )
    try:
        yield
    finally:
        DiagonalGaussianDistribution.sample = own


def rolled(name: str, shift: int, dim: int = 0) -> Fault:
    """A parameter or buffer of the transformer, rolled."""

    @contextmanager
    def fault(pipe: DiffusionPipeline) -> Iterator[None]:
        tensor = dict(pipe.transformer.named_parameters()) | dict(pipe.transformer.named_buffers())
        exact = tensor[name].detach().clone()
        with torch.no_grad(), ExitStack() as stack:
            stack.callback(lambda: tensor[name].copy_(exact))
            tensor[name].copy_(exact.roll(shift, dim))
            yield

    return fault


def rescheduled(**keys: Any) -> Fault:
    def fault(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
        return patched(pipe, "scheduler", type(pipe.scheduler).from_config(pipe.scheduler.config, **keys))

    return fault


def asked_of_transformer(**changes: Callable[[Any], Any]) -> Fault:
    """What the transformer is told, changed by name."""

    def fault(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
        own = pipe.transformer.forward

        def forward(*args: Any, **told: Any) -> Any:
            return own(*args, **(told | {name: change(told[name]) for name, change in changes.items()}))

        return patched(pipe.transformer, "forward", forward)

    return fault
