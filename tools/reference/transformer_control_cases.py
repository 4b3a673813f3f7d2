"""ControlNets of Stable Diffusion 3 and Flux, alone and together, in every form of file, and the mistakes that the parity
run has to notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from diffusers import DiffusionPipeline
from torch import Tensor

from .control_files import ControlSpec, ControlUse
from .faults import Fault, asked_of_transformer, patched, undrawn
from .flux import BASE as FLUX_BASE
from .parity_case import ParityCase
from .pictures import PictureRequest
from .sd3 import BASE as SD3_BASE

# InstantX's: not told the summary of the prompt, latents without the shift. Those that are told it, as 3.5's.
NET = ControlSpec("net", seed=20)
TOLD = ControlSpec("told", config={"force_zeros_for_pooled_projection": False, "num_layers": 3}, seed=21)
OTHER = ControlSpec("other", config={"num_layers": 4}, seed=22)
NOWHERE = ControlSpec("nowhere", config={"pos_embed_type": None}, seed=23)
# Of 3.5 large: layers of one stream, which take the transformer's tokens and no words.
SINGLE = ControlSpec("single", config={
    "joint_attention_dim": None, "use_pos_embed": False, "pos_embed_type": None, "pos_embed_max_size": None, "qk_norm": None,
    "dual_attention_layers": (), "force_zeros_for_pooled_projection": False, "num_layers": 3,
}, seed=24)  # fmt: skip
DEEP = "sd3-deep"  # of six layers

# InstantX's and Shakker Labs', of layers of both kinds and of one; for several kinds of pictures; XLabs', which folds pixels.
FLUX_NET = ControlSpec("net", seed=30)
FLUX_OTHER = ControlSpec("other", seed=31)
FLUX_DOUBLE = ControlSpec("double", config={"num_single_layers": 0, "num_layers": 2}, seed=32)
FLUX_SINGLE = ControlSpec("single", config={"num_single_layers": 3, "num_layers": 0}, seed=33)
FLUX_FOLDED = ControlSpec("folded", config={
    "num_layers": 2, "num_single_layers": 0, "conditioning_embedding_channels": 16, "patch_size": 2,
}, seed=34)  # fmt: skip
UNION = ControlSpec("union", config={"num_mode": 10}, seed=35)
FLUX_TOLD = ControlSpec("told", config={"guidance_embeds": True}, seed=36)
FLUX_DEEP = "flux-deep"  # of five layers of two streams, and four of one


def sd3_control_cases() -> Iterator[ParityCase]:
    case = _cases(replace(SD3_BASE, width=48, height=32))
    for model, specs in ((DEEP, (NET, TOLD, NOWHERE)), ("sd35-medium", (NET, TOLD)), ("sd35-large", (SINGLE, NET))):
        for spec in specs:
            for form in ("folder", "file"):
                if spec is not TOLD or form == "folder":  # no file says that it is
                    yield case(model, f"{spec.name}-{form}", (spec, {"form": form}))
    yield case("sd35-large", "single-original", (SINGLE, {"form": "original"}))
    yield case("sd35-large", "single-ends", (SINGLE, {"end": 0.6, "scale": 0.7}), negative_prompt="rain")
    yield from _of_any_family(case, DEEP, NET, OTHER)
    yield case(DEEP, "two-told", (TOLD, {"scale": 0.5}), (replace(TOLD, name="told-2", seed=25), {"image": "other-48x32"}))
    yield case(DEEP, "no-guidance", (NET, {}), guidance_scale=1.0)
    yield case(DEEP, "heun", (NET, {"start": 0.2, "end": 0.7}), scheduler="heun", steps=6)


def flux_control_cases() -> Iterator[ParityCase]:
    case, deep = _cases(replace(FLUX_BASE, width=48, height=32)), FLUX_DEEP
    for form in ("folder", "file"):
        for spec in (FLUX_NET, FLUX_DOUBLE, FLUX_SINGLE, FLUX_FOLDED):
            yield case(deep, f"{spec.name}-{form}", (spec, {"form": form}))
        yield case(deep, f"union-{form}", (UNION, {"form": form, "mode": "depth"}))
    yield case(deep, "folded-original", (FLUX_FOLDED, {"form": "original"}))
    for mode in ("canny", "tile", "low-quality", "5", "8"):
        yield case(deep, f"mode-{mode}", (UNION, {"mode": mode}))
    yield from _of_any_family(case, deep, FLUX_NET, FLUX_OTHER)
    modes = (UNION, {"mode": "depth"}), (UNION, {"mode": "pose", "image": "other-48x32", "scale": 0.7})
    yield case(deep, "two-modes", *modes)
    yield case(deep, "two-mixed", (FLUX_NET, {}), (replace(UNION, config={"num_mode": 10}), {"mode": "pose", "image": "other-48x32"}))
    true = {"negative_prompt": "rain", "true_cfg_scale": 3.0}
    yield case(deep, "true-cfg", (FLUX_NET, {}), **true)
    yield replace(case(deep, "true-cfg-batch", (FLUX_NET, {"end": 0.5}), **true), images=3, batch_size=2)
    yield case(deep, "true-cfg-union", (UNION, {"mode": "gray"}), **true)
    yield case(deep, "guidance", (FLUX_NET, {}), guidance_scale=2.0)
    yield case(deep, "defaults", (FLUX_NET, {}), steps=None, guidance_scale=None)
    image = {"init_image": "other-48x32", "steps": 5, "strength": 0.6}
    yield case(deep, "image", (FLUX_NET, {}), **image)
    yield case(deep, "image-range", (FLUX_NET, {"start": 0.3, "end": 0.8}), **image | {"steps": 8})
    yield case(deep, "image-two", (FLUX_NET, {"scale": 0.5}), (FLUX_OTHER, {"image": "photo-57x43"}), **image)
    yield replace(case(deep, "image-batch", (FLUX_NET, {}), **image), images=3, batch_size=2)
    painted = image | {"init_image": "photo-48x32", "mask": "corner-48x32"}
    for name, keys in (("", {}), ("-all", {"strength": 1.0}), ("-blur", {"mask_blur": 3})):
        yield case(deep, f"inpaint{name}", (FLUX_NET, {"image": "other-48x32", "end": 0.8}), **painted | keys)
    # A network that is told the guidance scale, and a transformer that is not.
    yield case("flux-schnell", "net", (FLUX_NET, {}), guidance_scale=0.0)
    yield case("flux-schnell", "told", (FLUX_TOLD, {}))
    yield case("flux-schnell", "told-defaults", (FLUX_TOLD, {}), guidance_scale=None)
    yield case("flux-dev", "net", (FLUX_NET, {}), width=40, height=24)
    yield case("flux-dev", "untold", (replace(FLUX_TOLD, name="untold", config={"guidance_embeds": False}), {}))


def _cases(base: PictureRequest) -> Any:
    def case(model: str, name: str, *uses: tuple[ControlSpec, dict[str, Any]], **change: Any) -> ParityCase:
        controls = tuple(ControlUse(model, spec, **options) for spec, options in uses)
        return ParityCase(f"control-{name}", model, replace(base, controls=controls, **change))

    return case


def _of_any_family(case: Any, model: str, net: ControlSpec, other: ControlSpec) -> Iterator[ParityCase]:
    for scale in (0.0, 0.35, -0.5):
        yield case(model, f"scale-{scale}", (net, {"scale": scale}))
    for start, end in ((0.2, 0.7), (0.0, 0.34), (0.5, 1.0), (0.3, 0.9)):
        yield case(model, f"range-{start}-{end}", (net, {"start": start, "end": end}), steps=6)
    yield replace(case(model, "batch", (net, {})), images=3, batch_size=2)
    yield replace(case(model, "batch-range", (net, {"end": 0.5}), steps=5), images=2, batch_size=2)
    yield case(model, "resized", (net, {"image": "photo-57x43"}))
    yield case(model, "size", (net, {}), width=32, height=64)
    yield case(model, "own-size", (net, {"image": "photo-61x45"}), width=None, height=None)
    two = (net, {"scale": 0.5}), (other, {"image": "other-48x32", "scale": 0.8, "end": 0.6})
    yield case(model, "two", *two)
    yield case(model, "two-ranges", (net, {"end": 0.4}), (other, {"start": 0.6}), steps=5)
    yield replace(case(model, "two-batch", *two), images=3, batch_size=2)


# --- Mistakes


def _behind_others(key: str) -> Fault:
    """What a ControlNet says comes behind other layers."""
    return asked_of_transformer(**{key: lambda samples: [*samples[1:], *samples[:1]]})


def _latents(change: Callable[[Tensor, Any], Tensor]) -> Fault:
    """Means of the latents of pictures that steer, changed by what the autoencoder's config says."""

    def fault(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
        own = pipe.vae.encode

        def changed(pictures: Tensor) -> Any:
            found = own(pictures)
            found.latent_dist.mean = change(found.latent_dist.mean, pipe.vae.config)
            return found

        return patched(pipe.vae, "encode", changed)

    return fault


def _of_use(model: str, spec: ControlSpec, **more: Any) -> dict[str, dict[str, Any]]:
    """What is asked for wrongly, of a network of its own."""
    use = ControlUse(model, spec, **more)
    changes = {"image": {"image": "other-48x32"}, "scale": {"scale": 0.8}, "start": {"start": 0.25}, "end": {"end": 0.5}}
    wrong = {name: {"controls": (replace(use, **change),)} for name, change in changes.items()}
    return wrong | {"missing": {"controls": None}}


def sd3_control_mistakes() -> Mapping[str, tuple[PictureRequest, dict[str, Any], Fault | None]]:
    right = replace(SD3_BASE, width=48, height=32, controls=(ControlUse(DEEP, NET),))
    told = replace(NET, name="net-told", config={"force_zeros_for_pooled_projection": False})
    faults = {
        "other": ({"controls": (ControlUse(DEEP, OTHER),)}, None),
        "blocks": ({}, _behind_others("block_controlnet_hidden_states")),
        "pooled": ({"controls": (ControlUse(DEEP, told),)}, None),
        "latents": ({}, _latents(lambda mean, config: mean + config.shift_factor)),
        **{name: (wrong, None) for name, wrong in _of_use(DEEP, NET).items()},
    }
    return {f"control-{name}": (right, *fault) for name, fault in faults.items()}


def flux_control_mistakes() -> Mapping[str, tuple[PictureRequest, dict[str, Any], Fault | None]]:
    base = replace(FLUX_BASE, width=48, height=32)
    right = replace(base, controls=(ControlUse(FLUX_DEEP, FLUX_NET),))
    # Of few tokens, so that the one that says the mode counts.
    union = replace(base, max_sequence_length=8, controls=(ControlUse(FLUX_DEEP, UNION, scale=2.0, mode="depth"),))
    folded = replace(base, controls=(ControlUse(FLUX_DEEP, FLUX_FOLDED),))
    true = replace(right, negative_prompt="rain", true_cfg_scale=3.0)
    faults = {
        "other": (right, {"controls": (ControlUse(FLUX_DEEP, FLUX_OTHER),)}, None),
        "blocks": (right, {}, _behind_others("controlnet_block_samples")),
        "single-blocks": (right, {}, _behind_others("controlnet_single_block_samples")),
        "repeated": (folded, {}, asked_of_transformer(controlnet_blocks_repeat=lambda _: False)),
        "latents": (right, {}, _latents(lambda mean, config: mean / config.scaling_factor)),
        "draws": (right, {}, undrawn),
        "guidance": (right, {"guidance_scale": 5.0}, None),
        "mode": (union, {"controls": (ControlUse(FLUX_DEEP, UNION, scale=2.0, mode="blur"),)}, None),
        "true-cfg": (true, {"true_cfg_scale": 2.0}, None),
        **{name: (right, wrong, None) for name, wrong in _of_use(FLUX_DEEP, FLUX_NET).items()},
    }
    return {f"control-{name}": fault for name, fault in faults.items()}
