"""Configurations of models in which every value is of the wrong type, negative, huge, null or missing."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from reference.chroma import CHROMA
from reference.dit import DIT
from reference.flux2 import FLUX2
from reference.lumina2 import LUMINA2
from reference.pixart import PIXART
from reference.qwen_image import QWEN_IMAGE
from reference.schedulers import SCHEDULERS, class_defaults, with_keys
from reference.sd3 import SD3
from reference.z_image import Z_IMAGE

from .case import ANY, BAD_FILE, Case, dumped, with_model
from .safetensors_cases import FOLDER, PICTURE

MISSING = object()
VALUES: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "text": "x",
    "real": 1.5,
    "true": True,
    "list": [],
    "object": {},
    "negative": -1,
    "zero": 0,
    "31-bits": 2**31 - 1,
    "62-bits": 2**62,
    "huge": 1e308,
    "infinite": float("inf"),
    "negatives": [-1] * 64,
    "texts": ["x"] * 3,
}

FILES = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
    "unet/config.json",
    "vae/config.json",
]
# Keys that diffusers' schedulers have, beyond those that the model's own has.
SCHEDULER_KEYS: dict[str, Any] = {
    "prediction_type": "epsilon",
    "timestep_spacing": "linspace",
    "rescale_betas_zero_snr": False,
    "thresholding": True,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
    "clip_sample_range": 1.0,
    "use_karras_sigmas": True,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "sigma_min": 0.1,
    "sigma_max": 10.0,
    "final_sigmas_type": "zero",
    "solver_order": 2,
    "lower_order_final": True,
    "algorithm_type": "dpmsolver++",
    "solver_type": "midpoint",
    "lambda_min_clipped": -5.1,
    "variance_type": None,
    "original_inference_steps": 50,
    "timestep_scaling": 10.0,
    "interpolation_type": "linear",
    "timestep_type": "discrete",
    "euler_at_final": False,
    "use_lu_lambdas": False,
    "predict_x0": True,
    "disable_corrector": [],
    "solver_p": None,
    "shift_terminal": None,
    "flow_shift": 1.0,
    "use_flow_sigmas": False,
}


def keys_by_scheduler() -> dict[str, list[str]]:
    """All, the others' too, which it ignores, of one class; of every other class those that no class before it has, or has
    by another default: each reads keys of its own."""
    found = {"dpm++2m": list(SCHEDULER_KEYS)}
    known = set()
    for name in with_keys():
        defaults = {(key, str(value)) for key, value in class_defaults(SCHEDULERS[name][0]).items()}
        found.setdefault(name, sorted(key for key, _ in defaults - known))
        known |= defaults
    return found


def replaced(config: Any, path: list[Any], value: Any) -> Any:
    config = deepcopy(config)
    place = config
    for step in path[:-1]:
        place = place[step]
    if value is MISSING:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return config


def paths(config: Any) -> Iterator[list[Any]]:
    """Every key, and the first element of every list."""
    for key, value in config.items():
        yield [key]
        if isinstance(value, list) and value:
            yield [key, 0]


def mutations(model: Path, file: str, config: Any, words: list[str], label: str, keys: list[str] | None = None) -> Iterator[Case]:
    for path in paths(config):
        if path[0] == "_diffusers_version" or (keys is not None and path[0] not in keys):
            continue
        place = config[path[0]] if len(path) == 1 else config[path[0]][0]
        for name, value in VALUES.items():
            if type(value) is type(place) and value == place:
                continue
            data = dumped(replaced(config, path, value))
            key = ".".join(map(str, path))
            # What the file does not say may be another class's, whose demands are told by its name.
            says = [("model", str(path[0]), "--prompt", "Scheduler")]
            yield Case(f"config/{label}/{key}-{name}", with_model(model, file, data), words, ANY, says=says)


def cases(root: Path) -> Iterator[Case]:
    model = root / "tests" / "fixtures" / "tiny-sd"
    for file in FILES:
        yield from mutations(model, file, json.loads((model / file).read_text()), FOLDER, file)
        yield from broken(model, file)
    file = "scheduler/scheduler_config.json"
    config = {**json.loads((model / file).read_text()), **SCHEDULER_KEYS}
    for scheduler, keys in keys_by_scheduler().items():
        words = ["-m", "IN/model", "-p", "a fox", "-s", "1", "--steps", "4", "-o", "out.png", "--dtype", "float32", "--scheduler", scheduler]
        yield from mutations(model, file, config, words, scheduler, keys)
    own = {"steps": 2, "guidance_scale": 3.0, "negative_prompt": "x", "width": 32, "height": 32, "scheduler": "ddim"}
    yield from mutations(model, "sdgen.json", own, ["-m", "IN/model", "-p", "a fox", "-s", "1", "-o", "out.png"], "sdgen.json")
    yield from broken(model, "sdgen.json")
    yield from unconditional(root / "tests" / "fixtures" / "tiny-ddpm")
    yield from transformers()


def broken(model: Path, file: str) -> Iterator[Case]:
    """Files that are not a configuration at all."""
    optional = file.startswith(("sdgen", "tokenizer/"))  # the vocabulary is what counts
    for name, data in {
        "missing": None,
        "empty": b"",
        "nul": b"{}\0{}",
        "not-utf8": b'{"a":"\xff\xfe"}',
        "cut": b'{"_class_name": "UNet',
        "list": b"[]",
        "number": b"1e400",
        "empty-object": b"{}",
        "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "twice": b'{"sample_size":8,"sample_size":9}',
        "many": dumped({f"k{i}": i for i in range(300_000)}).encode(),
        "long": dumped({"_class_name": "x" * 3_000_000}).encode(),
        "html": b"<html><body>Not found</body></html>",
    }.items():
        codes = ANY if optional or name in ("empty-object", "many") else BAD_FILE
        yield Case(f"config/{file}/file-{name}", with_model(model, file, data), FOLDER, codes, says=[("model", "Scheduler")])


def unconditional(fixture: Path) -> Iterator[Case]:
    """The folder of a DDPMPipeline, whose network has keys of its own."""
    if not (fixture / "config.json").is_file():
        return
    words = ["-m", "IN/model", *PICTURE[2:]]
    for file in ("config.json", "scheduler_config.json", "model_index.json"):
        yield from mutations(fixture, file, json.loads((fixture / file).read_text()), words, f"ddpm-{file}")


def transformers() -> Iterator[Case]:
    """Folders of diffusion transformers, which are made here."""
    top = Path(tempfile.mkdtemp(prefix="sdgen-hostile-models-"))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    common = ["model_index.json", "transformer/config.json", "scheduler/scheduler_config.json"]
    for spec, texts, prompt in (
        (SD3[1], ["text_encoder_2/config.json", "text_encoder_3/config.json", "tokenizer_3/tokenizer_config.json"], "a fox"),
        (PIXART[0], ["text_encoder/config.json"], "a fox"),
        (DIT[0], [], "1"),
        (Z_IMAGE[0], ["text_encoder/config.json", "tokenizer/tokenizer_config.json"], "a fox"),
        (LUMINA2[0], ["text_encoder/config.json"], "a fox"),
        (FLUX2[0], ["text_encoder/config.json", "vae/config.json", "tokenizer/tokenizer_config.json"], "a fox"),
        (CHROMA[0], ["text_encoder/config.json", "tokenizer/tokenizer_config.json"], "a fox"),
        (QWEN_IMAGE[0], ["text_encoder/config.json", "vae/config.json", "tokenizer/tokenizer_config.json"], "a fox"),
    ):
        model = top / spec.name
        spec.build(model)
        words = ["-m", "IN/model", "-p", prompt, *PICTURE[2:]]
        for file in [*common, *texts]:
            yield from mutations(model, file, json.loads((model / file).read_text()), words, f"{spec.name}-{file}")
