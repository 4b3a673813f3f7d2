"""Folders and patterns of input pictures. A wrong one among several fails alone, so that --fail-fast is what shows it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, PngImagePlugin

from .case import ANY, BAD_FILE, BAD_USE, Case, Make
from .picture_cases import photo

MOST = 100_000  # src/cli/picture_list.h


def having(**files: bytes) -> Make:
    """A folder IN/d with these files; `_` in their names stands for a dot."""

    def make(folder: Path) -> None:
        (folder / "d").mkdir()
        for name, data in files.items():
            (folder / "d" / name.replace("_", ".")).write_bytes(data)

    return make


def named(name: str | bytes, data: bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / "d").mkdir()
        with open(os.path.join(os.fsencode(folder / "d"), os.fsencode(name)), "wb") as file:
            file.write(data)

    return make


def forbidden(folder: Path) -> None:
    having(x_png=b"no picture")(folder)  # which is what root finds
    (folder / "d").chmod(0)


def forbidden_member(folder: Path) -> None:
    having(a_png=b"no picture")(folder)
    (folder / "d/a.png").chmod(0)


def huge(folder: Path) -> None:
    (folder / "d").mkdir()
    for number in range(MOST + 1):
        os.close(os.open(folder / f"d/{number}.png", os.O_CREAT | os.O_WRONLY))


def strange_members() -> Iterator[tuple[str, Make]]:
    def in_folder(act: str) -> Make:
        def make(folder: Path) -> None:
            (folder / "d").mkdir()
            place = folder / "d/x.png"
            if act == "pipe":
                os.mkfifo(place)
            else:
                place.symlink_to({"link-to-itself": place, "device": "/dev/zero", "link-to-nowhere": "nowhere"}[act])

        return make

    for act in ("pipe", "link-to-itself", "device", "link-to-nowhere"):
        yield act, in_folder(act)


def alike(folder: Path) -> None:
    (folder / "d").mkdir()
    for name in ("a b.png", "a_b.png"):
        (folder / "d" / name).write_bytes(photo("PNG"))


def recorded(record: object) -> Make:
    def make(folder: Path) -> None:
        (folder / "d").mkdir()
        texts = PngImagePlugin.PngInfo()
        texts.add_text("sdgen", json.dumps(record))
        Image.new("RGB", (8, 8)).save(folder / "d/x.png", pnginfo=texts)

    return make


def cases(model: Path) -> Iterator[Case]:
    good = photo("PNG")
    base = ["-m", str(model), "-p", "a fox", "-s", "1", "--steps", "1", "-W", "32", "-H", "32", "--strength", "1", "--fail-fast"]
    words = [*base, "-i", "IN/d", "-o", "{input}.png"]
    yield Case("folder/empty", having(), words, BAD_FILE, ["no pictures"])
    yield Case("folder/no-pictures", having(a_txt=b"a", b_safetensors=b"b"), words, BAD_FILE, ["none of its 2 files"])
    yield Case("folder/forbidden", forbidden, words, BAD_FILE, [("cannot be read", "x.png")])
    yield Case("folder/forbidden-member", forbidden_member, words, BAD_FILE, ["a.png"])
    yield Case("folder/huge", huge, words, BAD_FILE, ["100001"])
    for name, make in strange_members():
        yield Case(f"folder/{name}", make, words, BAD_FILE, ["x.png"])
    for name in ("a\nb.png", "\x1b[2J.png", "\u202egnp.png", b"\xff\xfe.png", "a" * 251 + ".png", "-i.png"):
        label = name if isinstance(name, str) else repr(name)
        yield Case(f"folder/name-{label[:12]!a}", named(name, b"no picture"), words, BAD_FILE, ["PNG"])
    yield Case("folder/clash-by-ending", having(a_png=good, a_jpg=photo("JPEG")), words, BAD_USE, ["two pictures"])
    yield Case("folder/clash-by-what-is-left-of-a-name", alike, words, BAD_USE, ["two pictures"])
    yield Case("folder/case-apart", having(a_png=b"no", A_png=b"no"), words, BAD_FILE, ["A.png"])
    yield Case("folder/among-inputs", having(a_png=good), [*base, "-i", "IN/d", "-o", "IN/d/{input}-x.png"], BAD_USE, ["among"])
    yield Case("folder/no-partner", having(a_png=good), [*words, "--mask", "IN/d/[b].png"], BAD_FILE, ["--mask"])
    yield Case("folder/pattern-of-nothing", having(a_png=good), [*base, "-i", "IN/d/*.jpg", "-o", "{input}.png"], BAD_FILE, ["*.jpg"])
    many_stars = [*base, "-i", "IN/d/" + "*a" * 60 + "b", "-o", "{input}.png"]
    yield Case("folder/pattern-of-many-stars", named("a" * 240 + ".png", good), many_stars, BAD_FILE, ["pattern"])
    one = ["-m", str(model), "-p", "a fox", "-s", "1", "--steps", "1"]
    yield Case("folder/swept", having(a_png=good), [*one, "--sweep", "init_image=*.png", "-o", "{index}.png"], BAD_USE, ["one picture"])
    again = ["-m", str(model), "--fail-fast", "--from-image", "IN/d", "-o", "{input}.png"]
    yield Case("folder/records/none", having(x_png=good), again, BAD_FILE, ["x.png"])
    yield Case("folder/records/empty", having(), again, BAD_FILE, ["no pictures"])
    for name, value in {"folder": "/etc", "pattern": "/etc/*"}.items():
        record = {"sdgen": "1", "prompt": "a", "seed": 1, "steps": 1, "init_image": value}
        yield Case(f"folder/records/names-a-{name}", recorded(record), again, BAD_FILE, ["init-image"])
    yield Case("folder/records/wrong-value", recorded({"sdgen": "1", "prompt": "a", "seed": 1, "steps": -1}), again, BAD_FILE, ["steps"])
    yield Case("folder/prompts-too", having(x_png=good), [*again, "--prompts", "IN/d/x.png"], ANY - {0}, ["--prompts"])
