"""Network calls that are spared: DeepCache as its authors published it (PyPI's DeepCache), diffusers' first-block cache, and
guidance at a part of the steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DiffusionPipeline, FirstBlockCacheConfig

NEARLY_ONE = 1 + 1e-9  # a guidance scale that asks for the negative prompt, and makes nothing of it


@contextmanager
def fewer_calls(pipe: DiffusionPipeline, cache: str | None, interval: tuple[float, float] | None) -> Iterator[None]:
    """The pipeline with sdgen's --cache and --guidance-interval; afterwards it is as it was."""
    with ExitStack() as stack:
        if cache is not None:
            kind, _, value = cache.partition(":")
            stack.enter_context(_deep(pipe, value) if kind == "deepcache" else _first_block(pipe, float(value)))
        if interval is not None:
            stack.enter_context(_guided_within(pipe, *interval))
        yield


@contextmanager
def _deep(pipe: DiffusionPipeline, value: str) -> Iterator[None]:
    every, _, layers = value.partition(":")
    helper = DeepCacheSDHelper(pipe)
    helper.set_params(cache_interval=int(every), cache_branch_id=int(layers or 1) - 1)
    helper.enable()
    try:
        yield
    finally:
        helper.disable()


@contextmanager
def _first_block(pipe: DiffusionPipeline, threshold: float) -> Iterator[None]:
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))
    try:
        yield
    finally:
        pipe.transformer.disable_cache()


@contextmanager
def _guided_within(pipe: DiffusionPipeline, begin: float, end: float) -> Iterator[None]:
    """Whether the pipeline asks without the prompt is decided once: outside of the interval the scale is nearly one."""
    network = pipe.transformer if getattr(pipe, "transformer", None) is not None else pipe.unet
    calls, scales = 0, []

    def before(_module: torch.nn.Module, _given: Any) -> None:
        nonlocal calls
        if calls == 0:
            scales.append(pipe._guidance_scale)
        total = len(pipe.scheduler.timesteps)
        place = total - pipe._num_timesteps + calls
        pipe._guidance_scale = scales[0] if begin * total <= place < end * total else NEARLY_ONE
        calls += 1

    handle = network.register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()
