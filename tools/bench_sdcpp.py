"""stable-diffusion.cpp as a rival of tools/bench.py.

    python tools/bench_sdcpp.py serve MODEL   (the worker: bench.py's protocol on stdin and stdout)
    python tools/bench_sdcpp.py draw MODEL --save FILE

MODEL is a diffusers folder or a GGUF file; its weights stay as they are stored. Needs PYTHONPATH=build/rivals/sdcpp (scripts/setup --rivals).
What it takes for the text is not told.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from stable_diffusion_cpp import StableDiffusion

import bench_worker


class StableDiffusionCpp:
    def __init__(self, args: argparse.Namespace) -> None:
        begin = time.perf_counter()
        self.args = args
        self.model = StableDiffusion(model_path=str(args.model), n_threads=args.threads, verbose=args.verbose)
        self.load = time.perf_counter() - begin

    def picture(self, width: int, height: int) -> dict[str, Any]:
        ends: list[tuple[int, float]] = []
        begin = time.perf_counter()
        self.images = self.model.generate_image(
            self.args.prompt, width=width, height=height, sample_steps=self.args.steps, cfg_scale=self.args.guidance, seed=0,
            sample_method="euler", progress_callback=lambda step, *_: ends.append((step, time.perf_counter())))  # fmt: skip
        end = time.perf_counter()
        steps = [
            after - before for (one, before), (other, after) in pairwise(ends) if 0 < one == other - 1 < self.args.steps
        ]
        last = max(at for step, at in ends if step == self.args.steps)
        return {"text": float("nan"), "steps": steps, "decode": end - last, "total": end - begin, "load": self.load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("serve", "draw"))
    parser.add_argument("model", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 512), metavar=("W", "H"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--prompt", default="a red apple on a blue background")
    parser.add_argument("--save", type=Path, metavar="FILE")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    if args.what == "serve":
        bench_worker.serve(StableDiffusionCpp(args))
    else:
        rival = StableDiffusionCpp(args)
        print(json.dumps(rival.picture(*args.size)))
        rival.images[0].save(args.save)


if __name__ == "__main__":
    main()
