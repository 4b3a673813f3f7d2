"""sdgen against diffusers at full size, on random weights: SD 1.5, SD 2.1, SDXL, PixArt-Sigma, SD 3.5 medium, Flux.1 dev,
Z-Image, Lumina-Image 2, Chroma1, FLUX.2 klein 4B, Qwen-Image.

    python tools/full_size_parity.py [--sdgen build/sdgen] [--models sd15 sd21 sdxl pixart-sigma sd35-medium flux-dev z-image lumina2 chroma
                                     flux2-klein qwen-image]
                                     [--layouts folder single] [--work DIR]
    python tools/full_size_parity.py --models sd15 sd21 --lora kohya

For each model: writes it (float16, seed 0), asks diffusers for a picture of 64x64 pixels in 2 steps (float32, CPU), asks
sdgen for the same from the folder and from the single file, wants every 8-bit sample within 1 of 255, and deletes the
model. One form of one model is on the disk at a time: SD 1.5 needs 2 GB there and 6 GB of memory, SDXL 7 GB and 16 GB.
Transformers (folders alone) draw 256x256 pixels; T5 has two of its 24 layers, and SD 3.5 does without;
Flux, Chroma1 and FLUX.2 have two of their layers of two streams, and two of those of one; FLUX.2's language model is as wide between
its layers as Qwen3-4B's, but not within them; Qwen-Image has two of its 60 layers and one of its language model's; Z-Image and Lumina-Image 2 have two and a refiner of each kind.
--reference-only leaves sdgen out. --lora adds a random LoRA of a spelling of reference/lora_files.py, for every layer that
such files change; diffusers then holds the model twice, which SDXL leaves no room for. Exit 1 where one failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
warnings.filterwarnings("ignore", category=FutureWarning)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from reference.full_size_transformers import TRANSFORMER_MODELS, write_model  # noqa: E402
from reference.lora_files import LoraSpec, LoraUse, with_loras, write_lora  # noqa: E402
from reference.parity_run import TOLERANCE, compare  # noqa: E402
from reference.pictures import PictureRequest, load_pipeline, render  # noqa: E402

MEMORY = {"sd15": 6, "sd21": 7, "sdxl": 17, "pixart-sigma": 8, "sd35-medium": 17, "flux-dev": 10, "z-image": 8, "lumina2": 6,
          "chroma": 9, "flux2-klein": 8, "qwen-image": 10}  # GB: with less the machine would only swap pages
MODELS = tuple(MEMORY)
REQUEST = PictureRequest(width=64, height=64, steps=2, seed=3, guidance_scale=5.0, negative_prompt="a blue bird")


def request_of(model: str) -> PictureRequest:
    if model not in TRANSFORMER_MODELS:
        return REQUEST
    if model == "flux2-klein":  # distilled: asked once
        return replace(REQUEST, width=256, height=256, guidance_scale=None, negative_prompt=None)
    if model == "qwen-image":
        return replace(REQUEST, width=256, height=256, guidance_scale=None, true_cfg_scale=3.0)
    return replace(REQUEST, width=256, height=256, true_cfg_scale=2.0 if model == "flux-dev" else None)


def write(place: Path, model: str, layout: str) -> None:
    with torch.no_grad():
        write_model(place, model, layout, 0, torch.float16)


def free_memory() -> float:
    """GB that programs can have."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024 / 1e9


def alone(function: Callable[..., Any], *args: Any) -> Any:
    """Calls it in a process of its own, whose memory is free when sdgen needs it: SDXL leaves no room for two."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def ours(args: argparse.Namespace, place: Path, request: PictureRequest, picture: Path) -> np.ndarray:
    command = [str(args.sdgen.resolve()), f"--model={place}", "--device=cpu", "--dtype=float32", "--quiet"]
    command += [f"--threads={args.threads}", *request.arguments(), f"--output={picture}", "--overwrite"]
    command += [f"--lora={lora_file(place)}", "--strict"] if args.lora else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return np.array(Image.open(picture))


def lora_file(place: Path) -> Path:
    return place.with_name("lora.safetensors")


def reference(model: str, place: Path, threads: int, lora: str | None) -> np.ndarray:
    torch.set_num_threads(threads)
    start = time.monotonic()
    pipe = load_pipeline(place)
    if lora is not None:
        write_lora(pipe, LoraSpec(lora, lora), lora_file(place))
        pipe = with_loras(pipe, [(LoraUse(model, LoraSpec(lora, lora)), lora_file(place))])
    picture = render(pipe, [request_of(model)])[0]
    seconds, deviation = time.monotonic() - start, picture.astype(float).std()
    print(f"{model}: diffusers {seconds:.0f} s, deviation {deviation:.0f} of 255", flush=True)
    return picture


def check(model: str, args: argparse.Namespace, work: Path) -> bool:
    """All layouts of one model; a line for each."""
    passed = True
    if (free := free_memory()) < MEMORY[model]:
        print(f"{model}: FAILED, it needs {MEMORY[model]} GB of memory, {free:.0f} are free", flush=True)
        return False
    try:
        alone(write, work / model, model, "folder")
        right = alone(reference, model, work / model, args.threads, args.lora)
    finally:
        if args.reference_only or "folder" not in args.layouts:
            remove(work / model)
    for layout in () if args.reference_only else args.layouts:
        if layout == "single" and model in TRANSFORMER_MODELS:
            continue
        place = work / (model if layout == "folder" else f"{model}.safetensors")
        try:
            if not place.exists():
                alone(write, place, model, layout)
            # What a single file of SD 2 predicts is guessed from its weights, which are random here.
            told = layout == "single" and model == "sd21"
            request = replace(request_of(model), **({"prediction_type": "v_prediction"} if told else {}))
            start = time.monotonic()
            answer = ours(args, place, request, work / f"{model}-{layout}.png")
            seconds = time.monotonic() - start
            maximum, differing, _ = compare(answer, right)
            good = maximum <= TOLERANCE
            print(f"{model} {layout}: {'passed' if good else 'FAILED'}, largest difference {maximum},",
                  f"{differing:.1%} differ, {seconds:.0f} s", flush=True)  # fmt: skip
            passed &= good
        except subprocess.CalledProcessError as error:
            print(f"{model} {layout}: FAILED, exit {error.returncode}", flush=True)
            passed = False
        finally:
            remove(place)
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdgen", type=Path, default=Path(__file__).parents[1] / "build" / "sdgen")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--layouts", nargs="+", choices=("folder", "single"), default=("folder", "single"))
    parser.add_argument("--work", type=Path, help="a folder with room for a model (default: a temporary one)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lora", choices=("kohya", "kohya-original", "peft", "lycoris"))
    parser.add_argument("--reference-only", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sdgen-full-size-", dir=args.work) as work:
        passed = [check(model, args, Path(work)) for model in args.models]
        return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
