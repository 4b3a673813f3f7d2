"""GGUF files that are not what they say: as a model, as a text encoder, for `inspect`."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from .case import ANY, BAD, BAD_FILE, Case, write
from .safetensors_cases import PICTURE

# Numbers of types: float32, blocks of 32 that take 34 bytes, of 256 that take 144, and one that sdgen does not read.
F32, Q8_0, Q4_K, IQ2_XS = 0, 8, 12, 17
SIZES = {F32: (1, 4), Q8_0: (32, 34), Q4_K: (256, 144), IQ2_XS: (256, 74)}

Tensors = Mapping[str, tuple[tuple[int, ...], int]]  # shape, as torch has it, and type


def text(value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


def gguf(tensors: Tensors, entries: tuple[bytes, ...] = (), **wrong: int) -> bytes:
    """`wrong`: version, count, said, rank, offset or padding that is not so."""
    infos, data = b"", b""
    for name, (shape, kind) in tensors.items():
        block, size = SIZES.get(kind, (1, 1))
        count = 1
        for side in shape:
            count *= side
        infos += text(name) + struct.pack("<I", wrong.get("rank", len(shape)))
        infos += b"".join(struct.pack("<Q", side & (2**64 - 1)) for side in reversed(shape))
        infos += struct.pack("<IQ", kind, wrong.get("offset", len(data)))
        data += bytes(min(count // block * size, 1 << 20))
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", wrong.get("version", 3), wrong.get("count", len(tensors)), wrong.get("said", len(entries)))
    head += b"".join(entries) + infos
    return head + bytes(-len(head) % 32 + wrong.get("padding", 0)) + data


def _t5(kind: int) -> Tensors:
    block = "enc.blk.0."
    return {
        "token_embd.weight": ((64, 256), kind), "enc.output_norm.weight": ((256,), F32), f"{block}attn_rel_b.weight": ((32, 4), F32),
        **{f"{block}attn_{name}.weight": ((256, 256), kind) for name in "qkvo"},
        **{f"{block}ffn_{name}.weight": ((256, 256), kind) for name in ("gate", "up", "down")},
        f"{block}attn_norm.weight": ((256,), F32), f"{block}ffn_norm.weight": ((256,), F32),
    }  # fmt: skip


def damaged() -> Iterator[tuple[str, bytes]]:
    """What no reader of the format takes."""
    good = gguf(_t5(Q8_0))
    for share in range(1, 40):
        yield f"cut-{share}", good[: max(5, len(good) * share // 40)]
    for size in range(5, 200, 13):
        yield f"head-{size}", good[:size]
    one: Tensors = {"a": ((4, 32), Q8_0)}
    for version in (0, 1, 4, 0x03000000, 0xFFFFFFFF):
        yield f"version-{version}", gguf(one, version=version)
    for count in (2, 200_001, 2**63, 2**64 - 1):
        yield f"tensors-{count}", gguf(one, count=count)
        yield f"entries-{count}", gguf(one, said=count)
    for rank in (0, 5, 2**31):
        yield f"rank-{rank}", gguf(one, rank=rank)
    for offset in (1, 32, 2**40, 2**64 - 32):
        yield f"offset-{offset}", gguf(one, offset=offset)
    yield "padding", gguf(one, padding=64)
    yield "behind", gguf(one) + bytes(64)
    for name, shape in {"huge": (2**31, 2**31, 32), "past-63-bits": (2**63, 32), "no-blocks": (4, 31), "strides": (0, 2**33, 2**30)}.items():
        yield f"shape-{name}", gguf({"a": (shape, Q4_K if name == "strides" else Q8_0)})
    for kind in (4, 9, IQ2_XS, 39, 255, 2**32 - 1):
        yield f"type-{kind}", gguf({"a": ((4, 256), kind)})
    key = text("x")
    for name, entry in {
        "type": key + struct.pack("<I", 13), "string": key + struct.pack("<IQ", 8, 2**62), "list": key + struct.pack("<IIQ", 9, 5, 2**62),
        "strings": key + struct.pack("<IIQ", 9, 8, 2**40), "lists": key + struct.pack("<IIQ", 9, 9, 1),
        "alignment": text("general.alignment") + struct.pack("<II", 4, 3), "no-alignment": text("general.alignment") + struct.pack("<II", 4, 0),
        "key": struct.pack("<Q", 2**63),
    }.items():  # fmt: skip
        yield f"entry-{name}", gguf(one, (entry,))
    twice = text("k") + struct.pack("<II", 4, 1)
    yield "entry-twice", gguf(one, (twice, twice))
    for name, shape in {"short": (4, 16), "negative": (-4, -32), "empty": ()}.items():
        stored = text("comfy.gguf.orig_shape.a") + struct.pack("<IIQ", 9, 5, len(shape)) + struct.pack(f"<{len(shape)}i", *shape)
        yield f"was-{name}", gguf(one, (stored,))
    yield "was-of-none", gguf(one, (text("comfy.gguf.orig_shape.b") + struct.pack("<IIQi", 9, 5, 1, 128),))


def strange() -> Iterator[tuple[str, bytes]]:
    """Legal files that no model is."""
    yield "nothing", gguf({})
    yield "name-with-escapes", gguf({"\x1b]0;title\x07": ((4, 32), Q8_0)})
    yield "name-of-no-letters", gguf({"a": ((4, 32), Q8_0)}, (text(b"\xff\xfe") + struct.pack("<I", 8) + text(b"\xff"),))
    for name in list(_t5(Q8_0)):
        yield f"t5-without-{name}", gguf({key: value for key, value in _t5(Q8_0).items() if key != name})
    yield "t5-of-no-heads", gguf({**_t5(Q8_0), "enc.blk.0.attn_rel_b.weight": ((32, 0), F32)})
    yield "t5-of-zeros", gguf(_t5(Q4_K))
    yield "flux-of-one", gguf({"double_blocks.0.img_attn.qkv.weight": ((768, 256), Q4_K)})


def cases(model: Path) -> Iterator[Case]:
    for name, data in damaged():
        yield Case(f"gguf/inspect-{name}", write("x.gguf", data), ["inspect", "IN/x.gguf"], BAD_FILE, ["x.gguf"])
        yield Case(f"gguf/model-{name}", write("x.gguf", data), ["-m", "IN/x.gguf", *PICTURE], BAD_FILE, ["x.gguf"])
    for name, data in strange():
        yield Case(f"gguf/inspect-{name}", write("x.gguf", data), ["inspect", "IN/x.gguf"], ANY)
        yield Case(f"gguf/model-{name}", write("x.gguf", data), ["-m", "IN/x.gguf", *PICTURE], BAD, ["x.gguf"])
        yield Case(f"gguf/encoder-{name}", write("x.gguf", data), ["-m", str(model), "--text-encoder", "IN/x.gguf", *PICTURE], BAD)
