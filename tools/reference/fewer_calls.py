"""Network calls that are spared: DeepCache as its authors published it (PyPI's DeepCache), diffusers' first-block cache, and
guidance at a part of the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DiffusionPipeline, FirstBlockCacheConfig
from diffusers.hooks.hooks import CacheContext, _set_cache_context


@contextmanager
def fewer_calls(pipe: DiffusionPipeline, cache: str | None, interval: tuple[float, float] | None) -> Iterator[None]:
    """The pipeline with sdgen's --cache and --guidance-interval; afterwards it is as it was. It goes for pipelines made of the same parts, too."""
    with ExitStack() as stack:
        begin_anew = None
        if cache is not None:
            kind, _, value = cache.partition(":")
            begin_anew = stack.enter_context(_deep(pipe, value) if kind == "deepcache" else _first_block(pipe, float(value)))
        if interval is not None:
            stack.enter_context(_guided_within(pipe, *interval, begin_anew))
        yield


@contextmanager
def _deep(pipe: DiffusionPipeline, value: str) -> Iterator[Callable[[], None]]:
    """Yields what makes the next call a whole one, from which the others are counted."""
    every, _, layers = value.partition(":")
    helper = DeepCacheSDHelper(pipe)
    helper.set_params(cache_interval=int(every), cache_branch_id=int(layers or 1) - 1)
    helper.enable()
    try:
        yield lambda: setattr(helper, "start_timestep", None)
    finally:
        helper.disable()


@contextmanager
def _first_block(pipe: DiffusionPipeline, threshold: float) -> Iterator[None]:
    """The cache wants to hear for whom the transformer is asked, which not all pipelines say: those ask once a step."""
    network, said = pipe.transformer, False
    say = network.cache_context

    @contextmanager
    def saying(name: str, **more: Any) -> Iterator[None]:
        nonlocal said
        said = True
        with say(name, **more):
            yield
        said = False

    def before(*_: Any) -> None:
        if not said:
            _set_cache_context(network, CacheContext("cond"))

    network.enable_cache(FirstBlockCacheConfig(threshold=threshold))
    network.cache_context = saying
    handle = network.register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()
        del network.cache_context
        network.disable_cache()


@contextmanager
def _guided_within(pipe: DiffusionPipeline, begin: float, end: float, begin_anew: Callable[[], None] | None) -> Iterator[None]:
    """Pipelines ask with and without the prompt at all steps: outside of the interval both answers are the one with the prompt."""
    network = pipe.transformer if getattr(pipe, "transformer", None) is not None else pipe.unet
    was: bool | None = None

    def inside(given: tuple[Any, ...], named: dict[str, Any]) -> bool:
        time = named["timestep"] if "timestep" in named else given[1]
        times = pipe.scheduler.timesteps.tolist()
        place = times.index(time.flatten()[0].item())
        return begin * len(times) <= place < end * len(times)

    def before(_module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal was
        now = inside(given, named)
        if was is not None and now != was and begin_anew is not None:
            begin_anew()
        was = now

    def after(_module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any], said: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return said if inside(given, named) else (said[0].chunk(2)[1].repeat(2, 1, 1, 1),)

    handles = (network.register_forward_pre_hook(before, with_kwargs=True), network.register_forward_hook(after, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
