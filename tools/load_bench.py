"""Times loading: from the start of the process to the first call of the U-Net, sdgen beside diffusers on the same files.

    python tools/load_bench.py MODEL... [--dtype bfloat16] [--repeat 3] [--config FOLDER] [--sdgen build/sdgen] [--json FILE]

MODEL is a diffusers folder or a single file (for which diffusers needs --config, the same model's folder: it has no
network here). Runs are interleaved; files are read once before, so that both find them in the page cache. Memory is the
process's peak (VmHWM) when the U-Net is called, beside the size of the model's parts in the compute type.

tools/codes_bench.py has loading of weights that stay in their codes, beside cat.
tools/make_random_model.py makes models of full size.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REFERENCE = """
import json, os, sys, time
import torch
path, dtype, config, start = sys.argv[1], getattr(torch, sys.argv[2]), sys.argv[3], float(sys.argv[4])
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
if os.path.isdir(path):
    pipe = DiffusionPipeline.from_pretrained(path, torch_dtype=dtype, local_files_only=True)
else:
    index = json.load(open(os.path.join(config, "model_index.json")))
    cls = StableDiffusionXLPipeline if "XL" in index["_class_name"] else StableDiffusionPipeline
    pipe = cls.from_single_file(path, config=config, torch_dtype=dtype, local_files_only=True)
pipe.set_progress_bar_config(disable=True)
seconds = []
def called(*_):
    seconds.append(time.time() - start)
    seconds.append(int([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1]) * 1024)
pipe.unet.register_forward_pre_hook(called)
pipe("a red fox", negative_prompt="", num_inference_steps=1, height=64, width=64, output_type="latent")
parts = [pipe.unet, pipe.vae, getattr(pipe, "text_encoder", None), getattr(pipe, "text_encoder_2", None)]
size = sum(p.numel() for m in parts if m is not None for p in m.parameters()) * torch.finfo(dtype).bits // 8
print(json.dumps({"seconds": seconds[0], "peak": seconds[1], "size": size}))
"""


def run_reference(model: Path, args: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-c", REFERENCE, str(model), args.dtype, str(args.config or ""), repr(time.time())]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def run_sdgen(model: Path, args: argparse.Namespace) -> dict[str, float]:
    """When the line that ends the text stage comes, and what it says of memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(args.sdgen), "-m", str(model), "-p", "a red fox", "-n", "", "--steps", "1", "-W", "64", "-H", "64",
                   "--seed", "1", "--device", "cpu", "--dtype", args.dtype, "-v", "-o", f"{folder}/x.png"]  # fmt: skip
        start = time.monotonic()
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
            assert process.stderr is not None
            found = {}
            for line in process.stderr:
                if match := re.search(r"text took .* ([0-9.]+) GB of memory", line):
                    found = {"seconds": time.monotonic() - start, "peak": float(match[1]) * 1e9}
        if process.returncode or not found:
            raise SystemExit(f"load_bench: {' '.join(command)} failed")
    return found


def beside_diffusers(args: argparse.Namespace) -> list[dict[str, Any]]:
    results = []
    print(
        "| model | program | start to first U-Net call: min, median | peak memory | of the model |\n|---|---|---|---|---|"
    )
    for model in args.models:
        for file in [model] if model.is_file() else model.rglob("*.safetensors"):
            with file.open("rb") as stream:
                while stream.read(64 << 20):
                    pass
        runs: dict[str, list[dict[str, float]]] = {"sdgen": [], "diffusers": []}
        for _ in range(args.repeat):
            runs["sdgen"].append(run_sdgen(model, args))
            runs["diffusers"].append(run_reference(model, args))
        size = runs["diffusers"][0]["size"]
        for program, found in runs.items():
            seconds, peak = [run["seconds"] for run in found], max(run["peak"] for run in found)
            print(f"| {model.name} {args.dtype} | {program} | {min(seconds):.2f} s, {statistics.median(seconds):.2f} s "
                  f"| {peak / 1e9:.2f} GB | {peak / size:.2f} x {size / 1e9:.2f} GB |", flush=True)  # fmt: skip
            results.append({"model": str(model), "dtype": args.dtype, "program": program, "runs": found, "size": size})
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--sdgen", type=Path, default=Path(__file__).parents[1] / "build" / "sdgen")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--config", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))

    results = beside_diffusers(args)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
