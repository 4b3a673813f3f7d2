"""ControlNets of transformers that are not what they say: for a tiny Stable Diffusion 3 and a tiny Flux, which are made here."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from reference.control_files import ControlSpec
from reference.flux import FLUX_STEERED
from reference.pictures import backbone, load_pipeline
from reference.sd3 import SD3
from reference.transformer_control_cases import NET, UNION

from . import safetensors_file as st
from .adapter_cases import control_folder
from .case import ANY, BAD, BAD_FILE, FINE, Case, dumped, write
from .config_cases import VALUES, paths, replaced
from .safetensors_cases import PICTURE


def cases() -> Iterator[Case]:
    top = Path(tempfile.mkdtemp(prefix="sdgen-hostile-controls-"))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    for model, net, mode in ((SD3[0], NET, ()), (FLUX_STEERED[0], UNION, ("--control-mode", "tile"))):
        model.build(top / model.name)
        yield from _of_model(top, model.name, load_pipeline(top / model.name), net, mode)


def _of_model(top: Path, name: str, pipe: DiffusionPipeline, spec: ControlSpec, mode: tuple[str, ...]) -> Iterator[Case]:
    with torch.no_grad():
        spec.build(backbone(pipe), pipe.vae_scale_factor).save_pretrained(top / f"{name}-net")
    config = json.loads((top / f"{name}-net/config.json").read_text())
    weights = top / f"{name}-net/diffusion_pytorch_model.safetensors"
    good, tensors = weights.read_bytes(), st.arrays(weights)
    words = ["-m", str(top / name), *PICTURE[2:], "-p", "a fox", "--control-image", "IN/edges.png", "--controlnet"]

    def case(label: str, config: str, weights: bytes, codes: frozenset[int] = BAD_FILE, says: tuple = ("net",), more: tuple = mode) -> Case:
        make = partial(control_folder, config, weights)
        return Case(f"controlnet/{name}/{label}", make, [*words, "IN/net", *more], codes, says)

    text = dumped(config)
    yield case("right", text, good, FINE)
    yield case("weights-cut", text, good[: len(good) // 2])
    yield case("weights-none", text, st.raw(b"{}"))
    for path in paths(config):
        if path[0] not in ("_diffusers_version", "sample_size", "out_channels"):
            for value_name, value in VALUES.items():
                yield case(f"config/{'.'.join(map(str, path))}-{value_name}", dumped(replaced(config, path, value)), good, ANY)
    for tensor in tensors:
        if not tensor.startswith(("transformer_blocks.1.", "transformer_blocks.2.", "single_transformer_blocks.1.")):
            left = {key: value for key, value in tensors.items() if key != tensor}
            yield case(f"tensor-missing/{tensor}", text, st.of(left), says=("net", tensor))
            # The same of a file alone, whose structure is read off its names and shapes.
            file = write("x.safetensors", st.of(left))
            yield Case(f"controlnet-file/{name}/{tensor}", file, ["inspect", "IN/x.safetensors"], ANY, ["x.safetensors"])
    for label, modes in (("many", ("--control-mode", "tile") * 2), ("unknown", ("--control-mode", "edges")), ("huge", ("--control-mode", "9" * 30)),
                         ("999", ("--control-mode", "999"))):  # fmt: skip
        yield case(f"mode-{label}", text, good, BAD, ("--control-mode",), modes)
