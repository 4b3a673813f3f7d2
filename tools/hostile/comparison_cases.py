"""What lies to `sdgen compare` and `sdgen verify`: pictures, manifests that lead elsewhere, records that ask for the impossible."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from .case import BAD_FILE, FINE, Case, Make, write
from .picture_cases import chunk, head, jpegs, no_files, others, photo, png, pngs

READ_OR_NOT = frozenset({0, 3})
UNLIKE = frozenset({1})
PIXEL = chunk(b"IDAT", zlib.compress(bytes(4)))
RECORD = {"sdgen": "0.1.0", "prompt": "a fox", "seed": 7, "steps": 1, "width": 16, "height": 16, "scheduler_used": "ddim", "hashes": {}}


def manifests() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """Against the folder that they are in, which has x.png."""
    good = json.dumps({"file": "x.png"}).encode() + b"\n"
    yield "right", good, FINE
    yield "other-bytes", json.dumps({"file": "x.png", "sha256": "0" * 64}).encode() + b"\n", UNLIKE
    yield "missing", good + json.dumps({"file": "gone.png"}).encode() + b"\n", UNLIKE
    yield "torn", good + b'{"file":"x.p', FINE
    yield "empty", b"", BAD_FILE
    yield "blank", b"\n\n", BAD_FILE
    for label, name in {
        "above": "../x.png", "far-above": "a/../../../../etc/passwd", "absolute": "/etc/passwd", "folder": "a/", "dots": "..", "none": "", "nul": "x\0.png",
        "device": "/dev/zero", "control": "\x1b]0;x\x07", "turned": "\u202egnp.x"}.items():  # fmt: skip
        codes = UNLIKE if label in ("control", "turned") else BAD_FILE
        yield f"name-{label}", good + json.dumps({"file": name}).encode() + b"\n", codes
    for label, line in {
        "list": b"[]", "number": b"1", "text": b'"x.png"', "no-file": b"{}", "file-of-a-number": b'{"file":1}', "cut": b'{"file":', "nan": b'{"file":"x.png","a":NaN}',
        "twice": b'{"file":"a.png","file":"x.png"}', "latin1": b'{"file":"\xe9.png"}', "deep": b'{"file":"x.png","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "many": b'{"file":"x.png","a":[' + b"1," * 1_000_000 + b"1]}", "zeros": bytes(1000), "picture": photo("PNG")}.items():  # fmt: skip
        yield f"line-{label}", line + b"\n", BAD_FILE


def records() -> Iterator[tuple[str, dict]]:
    """None of which can be drawn."""
    yield "model-gone", {"model": "no-such-model"}
    yield "model-of-the-system", {"model": "/etc/passwd"}
    yield "model-of-zeros", {"model": "/dev/zero"}
    yield "no-sdgen", {"sdgen": None, "steps": {}}
    yield "steps-of-a-text", {"steps": "many"}
    yield "steps-of-a-list", {"steps": [1, 2]}
    yield "too-many-steps", {"steps": 10**9}
    yield "too-large", {"width": 10**6, "height": 10**6}
    yield "deep", {"prompt": [[[["x"]]]]}
    yield "init-image-of-zeros", {"init_image": "/dev/zero"}
    yield "init-image-of-the-system", {"init_image": "/etc/passwd"}
    yield "lora-gone", {"lora": "gone.safetensors"}
    yield "hashes-of-nothing", {"hashes": [], "model": "gone"}
    yield "hashes-of-lists", {"hashes": {"model": [[]], "lora": {"a": 1}}, "model": "gone"}


def with_picture(name: str, data: bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / "x.png").write_bytes(photo("PNG"))
        (folder / name).write_bytes(data)

    return make


def cases(model: Path) -> Iterator[Case]:
    for label, files in {"png": pngs(), "jpeg": jpegs()}.items():
        for name, data, codes in files:
            expected = codes if len(codes) == 1 else READ_OR_NOT
            yield Case(f"compare/{label}/{name}", write("x.png", data), ["compare", "IN/x.png", "IN/x.png", "-o", "d.png"], expected)
            yield Case(f"verify/{label}/{name}", write("x.png", data), ["verify", "IN/x.png"], BAD_FILE)
    for name, data in others():
        yield Case(f"compare/other/{name}", write("x.png", data), ["compare", "IN", "IN"], BAD_FILE)
    for name, make in no_files():
        yield Case(f"compare/other/{name}", make, ["compare", "IN/x.png", "IN/x.png"], BAD_FILE)
        yield Case(f"verify/other/{name}", make, ["verify", "IN/x.png"], BAD_FILE)
    for name, data, codes in manifests():
        yield Case(f"compare/manifest/{name}", with_picture("m.jsonl", data), ["compare", "IN/m.jsonl", "IN"], codes)
        yield Case(f"verify/manifest/{name}", with_picture("m.jsonl", data), ["verify", "IN/m.jsonl"], BAD_FILE)
    for name, values in records():
        record = json.dumps({**RECORD, "model": str(model), **values})
        line = json.dumps({"file": "x.png", **json.loads(record)}).encode() + b"\n"
        inside = png(head(1, 1), chunk(b"tEXt", b"sdgen\0" + record.encode()), PIXEL)
        yield Case(f"verify/record/{name}", write("x.png", inside), ["verify", "IN/x.png"], BAD_FILE)
        yield Case(f"verify/line/{name}", with_picture("manifest.jsonl", line), ["verify", "IN"], BAD_FILE)

