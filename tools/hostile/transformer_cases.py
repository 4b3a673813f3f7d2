"""Single files of diffusion transformers and text encoders in which a tensor is missing, of another shape or type, in which
numbers do not divide, or which are parts of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from . import safetensors_file as st
from .case import ANY, BAD, BAD_FILE, FINE, Case, write
from .safetensors_cases import PICTURE

Shapes = Mapping[str, tuple[int, ...]]
WIDTH = 64


def _linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def sd3() -> Shapes:
    """Stable Diffusion 3.5 medium with two layers."""
    d = WIDTH
    shapes: dict[str, tuple[int, ...]] = {
        "x_embedder.proj.weight": (d, 16, 2, 2), "x_embedder.proj.bias": (d,), "pos_embed": (1, 16, d),
        **_linear("t_embedder.mlp.0", d, 256), **_linear("t_embedder.mlp.2", d, d), **_linear("y_embedder.mlp.0", d, 40),
        **_linear("y_embedder.mlp.2", d, d), **_linear("context_embedder", d, 48), **_linear("final_layer.linear", 64, d),
        **_linear("final_layer.adaLN_modulation.1", 2 * d, d),
    }  # fmt: skip
    for number, stream in ((n, s) for n in range(2) for s in ("x_block", "context_block")):
        block, image, ends = f"joint_blocks.{number}.{stream}", stream == "x_block", number == 1 and stream != "x_block"
        dual = number == 0 and image
        shapes |= _linear(f"{block}.adaLN_modulation.1", (2 if ends else 9 if dual else 6) * d, d)
        for attention in ("attn", "attn2") if dual else ("attn",):
            shapes |= _linear(f"{block}.{attention}.qkv", 3 * d, d)
            shapes |= {f"{block}.{attention}.ln_{which}.weight": (d,) for which in "qk"}
            shapes |= {} if ends else _linear(f"{block}.{attention}.proj", d, d)
        shapes |= {} if ends else _linear(f"{block}.mlp.fc1", 4 * d, d) | _linear(f"{block}.mlp.fc2", d, 4 * d)
    return shapes


def t5() -> Shapes:
    shapes: dict[str, tuple[int, ...]] = {"shared.weight": (200, 48), "encoder.final_layer_norm.weight": (48,)}
    shapes["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, 4)
    block = "encoder.block.0.layer."
    shapes |= {f"{block}0.SelfAttention.{name}.weight": (32, 48) for name in "qkv"}
    shapes |= {f"{block}1.DenseReluDense.{name}.weight": (64, 48) for name in ("wi_0", "wi_1")}
    shapes |= {f"{block}0.SelfAttention.o.weight": (48, 32), f"{block}1.DenseReluDense.wo.weight": (48, 64)}
    return shapes | {f"{block}{number}.layer_norm.weight": (48,) for number in range(2)}


def _file(shapes: Shapes, **changes: tuple[int, ...]) -> bytes:
    return st.of({name: np.zeros(shape, np.float16) for name, shape in {**shapes, **changes}.items()})


def cases(model: Path) -> Iterator[Case]:
    inspect = ["inspect", "IN/x.safetensors"]
    for kind, shapes in (("sd3", sd3()), ("t5", t5())):
        yield Case(f"transformer/{kind}/right", write("x.safetensors", _file(shapes)), inspect, FINE)
        for name, shape in shapes.items():
            rest = {key: value for key, value in shapes.items() if key != name}
            label = f"transformer/{kind}"
            # What a network is known by, it is known by: without that the file is another one, whose tensors are too few.
            # A norm that is not there is none.
            sole = "relative" in name or ".ln_" in name or "attn2" in name
            told = (name, "encoder.embed_tokens.weight") if name == "shared.weight" else name
            yield Case(f"{label}/missing/{name}", write("x.safetensors", _file(rest)), inspect, ANY if sole else BAD_FILE, [] if sole else [told])
            free = name in ("y_embedder.mlp.0.weight", "context_embedder.weight")  # as wide as its text encoders
            for wrong in ((), (0,) * len(shape), *([] if free else [(*shape[:-1], shape[-1] + 1)])):
                yield Case(f"{label}/shape-{len(wrong)}-{sum(wrong)}/{name}", write("x.safetensors", _file({**shapes, name: wrong})), inspect, BAD_FILE, ["x.safetensors"])
        integers = st.of({name: np.zeros(shape, np.int64) for name, shape in shapes.items()})
        yield Case(f"transformer/{kind}/integers", write("x.safetensors", integers), inspect, BAD_FILE, ["I64"])
        whole = _file(shapes)
        for percent in range(0, 100, 7):
            yield Case(f"transformer/{kind}/cut-{percent}%", write("x.safetensors", whole[: len(whole) * percent // 100]), inspect, BAD_FILE, ["x.safetensors"])
    yield from strange(model)


def strange(model: Path) -> Iterator[Case]:
    """Files that are mixed, or in the wrong place."""
    inspect, alone = ["inspect", "IN/x.safetensors"], ["-m", "IN/x.safetensors", *PICTURE]
    for label, block in (("far", "9999"), ("too-far", "99999999999999999999"), ("negative", "-1"), ("real", "1.5")):
        file = _file({**sd3(), f"joint_blocks.{block}.x_block.attn.qkv.weight": (3, 3)})
        yield Case(f"transformer/mixed/block-{label}", write("x.safetensors", file), inspect, ANY)
    yield Case("transformer/mixed/with-t5-names", write("x.safetensors", _file({**sd3(), **t5()})), inspect, ANY)
    both = {f"{prefix}{name}": shape for prefix in ("", "model.diffusion_model.") for name, shape in sd3().items()}
    yield Case("transformer/mixed/twice", write("x.safetensors", _file(both)), inspect, ANY)
    yield Case("transformer/place/alone", write("x.safetensors", _file(sd3())), alone, BAD_FILE, ["CLIP-L", "--text-encoder"])
    for name, file in (("sd3", _file(sd3())), ("t5", _file(t5()))):
        for flag in ("--text-encoder", "--vae", "--lora", "--unet"):
            words = ["-m", str(model), flag, "IN/x.safetensors", *PICTURE]
            yield Case(f"transformer/place/{name}-as{flag}", write("x.safetensors", file), words, BAD)
    for name, file in (("t5", _file(t5())), ("cut", _file(t5())[:500]), ("empty", b"")):
        words = ["-m", "IN/x.safetensors", "--text-encoder", "IN/x.safetensors", *PICTURE]
        yield Case(f"transformer/place/both-{name}", write("x.safetensors", file), words, BAD_FILE)


