"""Memory and loading of models whose weights stay in the codes of their files: what a run takes at most, against what it may.

    python tools/codes_bench.py --coded "-m sdxl-q8.gguf" --dense "-m sdxl" -- -W 512 -H 512 --steps 2 [--sdgen build/sdgen]
    python tools/codes_bench.py --coded "-m flux.gguf --text-encoder ..." --activations 1.2 -- -W 256 -H 256 --steps 2
    python tools/codes_bench.py --coded "-m sdxl-q8.gguf" --peer -- -W 256 -H 256 --steps 2

--coded may be given several times; with --peer stable-diffusion.cpp draws the same picture from the first one's file
(tools/bench_sdcpp.py). One contestant is in memory at a time, and they take turns.

Memory (VmHWM) may be 1.10 x (the files and one tile of numbers) plus activations: those of the same picture with dense
weights (--dense), or so many GB (--activations). Which files are read is what the arguments name: files, and all
.safetensors in folders; they have to be stored in 16 bits where they are not codes, as they are computed with. The bound
is printed before the run.

Loading is the wall time of a run, less its text, steps and decoder as -v tells them, less a run of the embedded model
(the program's own start); beside `cat` of the same files, which are in the page cache. Runs and cats take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARGIN = 1.10
TILE = 64 * 15360 * 2  # bytes of a thread: columns that are multiplied at once, of the longest rows there are
STAGES = re.compile(r"(text|denoising|decoding) took ([0-9.]+) s")


@dataclass(frozen=True)
class Run:
    wall: float
    loading: float  # with the program's start
    step: float
    peak: float  # bytes


def files_of(arguments: str) -> list[Path]:
    found: list[Path] = []
    for word in shlex.split(arguments):
        path = Path(word)
        if path.is_file():
            found.append(path)
        elif path.is_dir():
            found += sorted(path.rglob("*.safetensors"))
    return found


def run(sdgen: Path, arguments: str, picture: list[str]) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        command = [str(sdgen), *shlex.split(arguments), "-p", "a lighthouse", "-s", "1", "-v", "--device", "cpu", *picture,
                   "-o", f"{folder}/x.png"]  # fmt: skip
        log = Path(folder) / "log"
        begin = time.perf_counter()
        with log.open("w") as stream:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream)
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        text = log.read_text()
        if status:
            raise SystemExit(f"codes_bench: {shlex.join(command)} failed:\n{text[-2000:]}")
    stages = dict.fromkeys(("text", "denoising", "decoding"), 0.0)
    for stage, seconds in STAGES.findall(text):
        stages[stage] += float(seconds)
    rates = re.findall(r"step \d+/\d+, ([0-9.]+) s/it", text)
    step = float(rates[-1]) if rates else stages["denoising"]
    return Run(wall, wall - sum(stages.values()), step, usage.ru_maxrss * 1024)


def run_peer(model: Path, args: argparse.Namespace) -> Run:
    said = dict(zip(args.picture, args.picture[1:], strict=False))
    numbers = ["--size", said.get("-W", "512"), said.get("-H", "512"), "--steps", said.get("--steps", "20"), "--guidance", said.get("-g", "7.5")]
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        command = [sys.executable, str(ROOT / "tools" / "bench_sdcpp.py"), "draw", str(model), *numbers, f"--threads={args.threads}",
                   f"--save={folder}/x.png"]  # fmt: skip
        with output.open("w") as stream:
            process = subprocess.Popen(command, stdout=stream, env={**os.environ, "PYTHONPATH": str(args.packages)})
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        lines = output.read_text().splitlines()
    if status:
        raise SystemExit("codes_bench: stable-diffusion.cpp failed")
    return Run(wall, 0, min(json.loads(lines[-1])["steps"]), usage.ru_maxrss * 1024)


def cat(files: list[Path]) -> float:
    begin = time.perf_counter()
    with open(os.devnull, "wb") as nowhere:
        subprocess.run(["cat", *files], check=True, stdout=nowhere)
    return time.perf_counter() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coded", required=True, action="append", help="arguments of sdgen that name the model")
    parser.add_argument("--dense", help="the same with dense weights")
    parser.add_argument("--activations", type=float, default=0.0, help="GB, where there is no --dense")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--sdgen", type=Path, default=ROOT / "build" / "sdgen")
    parser.add_argument("--peer", action="store_true", help="stable-diffusion.cpp, too (scripts/setup --rivals)")
    parser.add_argument("--packages", type=Path, default=ROOT / "build" / "rivals" / "sdcpp", help="where it is")
    parser.add_argument("--json", type=Path)
    parser.add_argument("picture", nargs="*", help="further arguments, behind --")
    args = parser.parse_args()
    picture = [*args.picture, "--dtype", args.dtype, "--threads", str(args.threads)]
    files = {coded: files_of(coded) for coded in args.coded}
    bounds: dict[str, float] = {}
    tile = TILE * args.threads
    runs: dict[str, list[Run]] = {coded: [] for coded in args.coded}
    dense: list[Run] = []
    peers: list[Run] = []
    cats: dict[str, list[float]] = {coded: [] for coded in args.coded}
    for number in range(args.repeat):
        if args.dense:
            cat(files_of(args.dense))
            dense.append(run(args.sdgen, args.dense, picture))
        for coded in args.coded:
            if not number:
                bounds[coded] = bound_of(files[coded], tile, args, dense)
            cat(files[coded])
            cats[coded].append(cat(files[coded]))
            runs[coded].append(run(args.sdgen, coded, picture))
        if args.peer:
            peers.append(run_peer(files[args.coded[0]][0], args))
    start = min(run(args.sdgen, f"-m {ROOT / 'models' / 'default'}", ["--steps", "1"]).loading for _ in range(3))
    for coded in args.coded:
        peak, step = max(r.peak for r in runs[coded]), min(r.step for r in runs[coded])
        loading, reading = min(r.loading for r in runs[coded]) - start, min(cats[coded])
        print(f"{coded}\n  memory: {peak / 1e9:.2f} GB: {'within' if peak <= bounds[coded] else 'ABOVE'} {bounds[coded] / 1e9:.2f} GB")
        print(f"  step: {step:.2f} s" + (f": {step / min(r.step for r in dense):.2f} x the dense one" if dense else ""))
        print(f"  loading: {loading:.2f} s behind {start:.2f} s of start: {loading / reading:.2f} x the {reading:.2f} s of cat")
    if peers:
        print(f"stable-diffusion.cpp, {files[args.coded[0]][0].name}: {min(r.step for r in peers):.2f} s a step, "
              f"{max(r.peak for r in peers) / 1e9:.2f} GB")  # fmt: skip
    if args.json:
        result = {"bounds": bounds, "runs": {coded: [vars(r) for r in all_] for coded, all_ in runs.items()},
                  "dense": [vars(r) for r in dense], "peer": [vars(r) for r in peers], "cat": cats, "start": start}  # fmt: skip
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(any(r.peak > bounds[coded] for coded in args.coded for r in runs[coded]))


def bound_of(files: list[Path], tile: int, args: argparse.Namespace, dense: list[Run]) -> float:
    """In bytes; says what it is made of."""
    activations, weights = args.activations * 1e9, sum(file.stat().st_size for file in files)
    if dense:
        dense_weights = sum(file.stat().st_size for file in files_of(args.dense))
        activations = dense[0].peak - dense_weights
        print(f"dense: {dense[0].peak / 1e9:.2f} GB at most, of which {dense_weights / 1e9:.2f} GB are weights and "
              f"{activations / 1e9:.2f} GB all else; {dense[0].step:.2f} s a step")  # fmt: skip
    bound = MARGIN * (weights + tile) + activations
    print(f"bound: {MARGIN} x ({weights / 1e9:.2f} GB of files + {tile / 1e9:.3f} GB of tiles) + {activations / 1e9:.2f} GB of "
          f"activations = {bound / 1e9:.2f} GB", flush=True)  # fmt: skip
    return bound


if __name__ == "__main__":
    sys.exit(main())
