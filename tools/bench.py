"""sdgen beside diffusers and others, on the same files in the same run: where the time of a picture goes.

    python tools/bench.py MODEL [--sizes 512 256x384 ...] [--steps 4] [--rounds 3] [--process-steps 20]
                          [--rivals float32 bfloat16 bfloat16-channels_last ...-compiled openvino-f32 openvino-bf16
                          openvino-int8 openvino-int8-f32 openvino-int8-full sdcpp] [--sdgen-quantize bfloat16-int8]
                          [--device cpu] [--batch-size 1] [--together] [--json FILE]

MODEL is a diffusers folder (tools/make_random_model.py makes ones of full size). Every contestant is a process that loads
the model and makes a first picture of every size, which is not counted; then, in each round, each makes one, so that what
else the machine does meets all alike. They take turns, one in memory at a time: a process waits only where --together says
so. `step` is a step of the Euler sampler: of U-Nets and Stable Diffusion 3 a guided one, two rows through the network for each
picture of a batch. The first step of a picture is not counted: of nobody, as that is where each makes what it needs for the size,
and sdgen what the text alone decides; `total` has it.
`process` is a whole command from its start to the written file, in --process-rounds rounds of its own. Shares are of the
machine's own rate at a 4096 x 4096 x 4096 Linear of the same type, measured in the same run. Times are seconds.

OpenVINO (tools/bench_openvino.py) and stable-diffusion.cpp (tools/bench_sdcpp.py), for Stable Diffusion 1, 2 and XL, are packages of
scripts/setup --rivals. OpenVINO's networks are converted before anything is timed. At least one of diffusers' settings runs too: it
says how many products a step has. For what users of AVX2 get, on a machine with more: ONEDNN_MAX_CPU_ISA=AVX2
ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 bind sdgen, diffusers and OpenVINO (bench_openvino.py check tells its kernels),
not stable-diffusion.cpp, which does not run then.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import bench_worker
import measure

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("PYTHONWARNINGS", "ignore")

RIVALS = tuple(f"{dtype}{how}" for dtype in ("float32", "bfloat16", "float16")
               for how in ("", "-channels_last", "-compiled", "-channels_last-compiled"))  # fmt: skip
OTHERS = {
    "openvino-f32": ("bench_openvino.py", "--precision=float32"),
    "openvino-bf16": ("bench_openvino.py", "--precision=bfloat16"),
    "openvino-int8": ("bench_openvino.py", "--codes=int8"),
    "openvino-int8-f32": ("bench_openvino.py", "--codes=int8", "--precision=float32"),
    "openvino-int8-full": ("bench_openvino.py", "--codes=int8-full"),
    "sdcpp": ("bench_sdcpp.py",),
}
BESIDE = {
    "openvino-f32": "float32",
    "openvino-int8-f32": "float32",
    "sdcpp": "float32",
}  # what sdgen computes in; the rest: bfloat16
LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
PROMPT = "a red apple on a blue background"
GUIDANCE = 7.5


class Rival:
    """diffusers, in this process."""

    def __init__(self, args: argparse.Namespace) -> None:
        import torch
        from diffusers import DiffusionPipeline, EulerDiscreteScheduler
        from diffusers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(args.threads)
        torch.manual_seed(0)
        dtype, *how = args.worker.split("-")
        self.args, self.torch, self.dtype = args, torch, getattr(torch, dtype)
        begin = time.perf_counter()
        index = json.loads((args.model / "model_index.json").read_text(encoding="utf-8"))
        without = {part: None for part, kind in index.items() if kind == [None, None]}
        pipe = DiffusionPipeline.from_pretrained(args.model, torch_dtype=self.dtype, local_files_only=True, **without)
        pipe.set_progress_bar_config(disable=True)
        self.part = "unet" if hasattr(pipe, "unet") else "transformer"
        if self.part == "unet":  # transformers' own is Euler's already
            pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
        if hasattr(pipe, "safety_checker"):
            pipe.safety_checker = None
        pipe.to(args.device)
        network = getattr(pipe, self.part)
        network.register_forward_pre_hook(torch._dynamo.disable(self.called), with_kwargs=True)
        if "channels_last" in how:
            network.to(memory_format=torch.channels_last)
            pipe.vae.to(memory_format=torch.channels_last)
        if "compiled" in how:  # as diffusers' guide for speed has it
            setattr(pipe, self.part, torch.compile(network, mode="max-autotune" if args.device != "cpu" else None))
            pipe.vae.decode = torch.compile(pipe.vae.decode)
        self.pipe, self.call = pipe, ((), {})
        self.load = time.perf_counter() - begin
        self.times: dict[str, float] = {}
        pipe.encode_prompt = self.timed("text", pipe.encode_prompt)
        pipe.vae.decode = self.timed("decode", pipe.vae.decode)

    def called(self, network: Any, args: Any, kwargs: Any) -> None:
        """Keeps what the network is asked, without the numbers."""
        torch = self.torch

        def shape(x: Any) -> Any:
            if isinstance(x, dict):
                return {key: shape(value) for key, value in x.items()}
            return torch.empty_like(x, device="meta", dtype=torch.float32) if torch.is_tensor(x) and x.ndim else x

        self.call = tuple(map(shape, args)), shape(kwargs)

    def now(self) -> float:
        if self.args.device != "cpu":
            self.torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = self.now()
            result = function(*args, **kwargs)
            self.times[name] = self.now() - begin
            return result

        return call

    def picture(self, width: int, height: int) -> dict[str, Any]:
        args, ends = self.args, []

        def step_ends(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
            ends.append(self.now())
            return values

        begin = self.now()
        with self.torch.inference_mode():
            self.image = self.pipe(
                PROMPT, width=width, height=height, num_inference_steps=args.steps, guidance_scale=GUIDANCE,
                num_images_per_prompt=args.batch_size, generator=self.torch.Generator().manual_seed(0),
                callback_on_step_end=step_ends).images[0]  # fmt: skip
        total = self.now() - begin
        steps = [after - before for before, after in pairwise(ends)]
        return {**self.times, "steps": steps, "total": total}

    def linear_rate(self) -> float:
        """FLOP/s of a large Linear."""
        torch, n, best = self.torch, 4096, float("inf")
        x, weight = (torch.randn(n, n).to(self.args.device, self.dtype) for _ in range(2))
        with torch.inference_mode():
            for _ in range(6):
                begin = self.now()
                torch.nn.functional.linear(x, weight)
                best = min(best, self.now() - begin)
        return 2 * n**3 / best

    def flops(self) -> float:
        """Of the last step, products alone, counted on a network without numbers."""
        torch = self.torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode

        args, kwargs = self.call
        own = getattr(self.pipe, self.part)
        own = getattr(own, "_orig_mod", own)  # of what is compiled
        with torch.device("meta"):
            network = type(own).from_config(own.config)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            network(*args, **kwargs)
        return float(counter.get_total_flops())


class Contestant:
    """A process that loads the model and draws; there is one at a time, or it waits in memory."""

    def __init__(self, name: str, command: list[str], together: bool, variables: dict[str, str] | None = None) -> None:
        self.name, self.command, self.together, self.variables = name, command, together, variables
        self.process: subprocess.Popen[str] | None = None
        self.loads: list[float] = []
        self.peaks: list[float] = []
        self.warm: set[tuple[int, int]] = set()
        self.pictures: dict[tuple[int, int], list[dict[str, Any]]] = {}
        self.rate = self.flops = 0.0  # of rivals

    def answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, what: str, *numbers: int) -> Any:
        self.process.stdin.write(" ".join([what, *map(str, numbers)]) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def draw(self, size: tuple[int, int], counted: bool) -> None:
        """A picture; before the first of this size of this process, one that does not count."""
        if self.process is None:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                            env=self.variables)  # fmt: skip
            self.loads.append(self.answer()["load"])
        if size not in self.warm:
            first = self.ask("picture", *size)
            self.loads[-1] = first.get("load", self.loads[-1])  # of networks that are made for a size
            self.warm.add(size)
        if counted:
            found = self.undisturbed(size)
            self.pictures.setdefault(size, []).append(found)
            print(f"{self.name} {size}: load {self.loads[-1]:.2f}, text {found['text']:.3f}, steps "
                  f"{' '.join(f'{step:.3f}' for step in found['steps'])}, decode {found['decode']:.3f}, others used {found['others']:.2f} of a core", file=sys.stderr)  # fmt: skip
        if self.name.startswith("diffusers"):
            self.rate = max(self.rate, self.ask("linear_rate"))
            self.flops = self.ask("flops")
        if not self.together:
            self.end()

    def undisturbed(self, size: tuple[int, int]) -> dict[str, Any]:
        """A picture, and how many cores other processes used meanwhile: a figure beside other work is none."""
        everyone, own, begin = busy_seconds(), process_seconds(self.process.pid), time.perf_counter()
        picture = self.ask("picture", *size)
        others = busy_seconds() - everyone - (process_seconds(self.process.pid) - own)
        return {**picture, "others": max(0.0, others / (time.perf_counter() - begin))}

    def peak_memory(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

    def results(self, size: tuple[int, int]) -> dict[str, Any]:
        pictures = self.pictures[size]
        peaks = [*self.peaks, *([self.peak_memory()] if self.process else [])]
        result: dict[str, Any] = {"load": statistics.median(self.loads), "peak_memory_mb": max(peaks)}
        for stage in ("text", "decode", "total"):
            result[stage] = summary([picture[stage] for picture in pictures])
        result["others"] = max(picture["others"] for picture in pictures)
        result["step"] = summary([step for picture in pictures for step in picture["steps"]])
        return result

    def end(self) -> None:
        if self.process is None:
            return
        self.peaks.append(self.peak_memory())
        self.process.stdin.close()
        self.process.wait()
        self.process, self.warm = None, set()


def busy_seconds() -> float:
    """Of all cores since the machine's start, what a hypervisor took away included."""
    user, nice, system, _, _, irq, softirq, steal, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def process_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def summary(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values)}


def worker_command(args: argparse.Namespace, name: str, *more: str) -> list[str]:
    return [sys.executable, __file__, str(args.model), "--worker", name, f"--threads={args.threads}",
            f"--device={args.device}", f"--batch-size={args.batch_size}", *more]  # fmt: skip


def other_command(args: argparse.Namespace, name: str, what: str) -> list[str]:
    tool, *more = OTHERS[name]
    return [sys.executable, str(Path(__file__).with_name(tool)), what, str(args.model), f"--threads={args.threads}",
            f"--guidance={GUIDANCE}", f"--prompt={PROMPT}", *([f"--converted={args.converted}", f"--batch-size={args.batch_size}"] if "openvino" in name else []), *more]  # fmt: skip


def environment(args: argparse.Namespace, name: str) -> dict[str, str]:
    """Where a rival's own packages are found, in front of diffusers'."""
    return (
        {**os.environ, "PYTHONPATH": str(args.packages / name.partition("-")[0])}
        if name in OTHERS
        else dict(os.environ)
    )


def convert_for_others(args: argparse.Namespace) -> None:
    """Writes OpenVINO's files, each in a process of its own; codes are made of the dense ones."""
    size = [str(x) for x in args.sizes[0]]
    wanted = [name for name in args.rivals if "openvino" in name]
    if any("int8" in name for name in wanted):
        wanted.insert(0, "openvino-f32")
    for name in wanted:
        command = [*other_command(args, name, "convert"), "--size", *size]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment(args, name))


def compare_loaded(args: argparse.Namespace) -> list[dict[str, Any]]:
    common = ["-m", str(args.model), "--scheduler", "euler", "--serve", f"--steps={args.steps}",
              f"--guidance-scale={GUIDANCE}", f"--threads={args.threads}", f"--device={args.device}",
              f"--batch-size={args.batch_size}"]  # fmt: skip
    eager = [rival for rival in args.rivals if rival in RIVALS]
    dtypes = sorted({rival.partition("-")[0] for rival in eager})
    contestants = [Contestant(f"sdgen {dtype}", [str(args.bench), *common, "--dtype", dtype], args.together)
                   for dtype in dtypes]  # fmt: skip
    contestants += [Contestant(f"sdgen {how}", [str(args.bench), *common, "--dtype", dtype, "--quantize", codes], args.together)
                    for how in args.sdgen_quantize for dtype, _, codes in [how.partition("-")]]  # fmt: skip
    convert_for_others(args)
    others = [Contestant(name, [*other_command(args, name, "serve"), f"--steps={args.steps}"], args.together, environment(args, name))
              for name in args.rivals if name in OTHERS]  # fmt: skip
    rivals = [Contestant(f"diffusers {name}", worker_command(args, name, f"--steps={args.steps}"), args.together)
              for name in eager]  # fmt: skip
    everyone = sorted(
        (*contestants, *others, *rivals), key=lambda contestant: dtype_of(contestant.name)
    )  # what is compared, side by side
    results = []
    for width, height in args.sizes:
        if args.together:
            for contestant in everyone:
                contestant.draw((width, height), counted=False)
        for _ in range(args.rounds):
            for contestant in everyone:
                contestant.draw((width, height), counted=True)
        rates = {dtype: max(rival.rate for rival in rivals if dtype_of(rival.name) == dtype) for dtype in dtypes}
        loaded = {contestant.name: contestant.results((width, height)) for contestant in everyone}
        for name, result in loaded.items():
            rate = rates.get(dtype_of(name))
            result["step_share_of_linear"] = rivals[0].flops / result["step"]["min"] / rate if rate else float("nan")
        results.append({"width": width, "height": height, "step_gflop": rivals[0].flops / 1e9,
                        "linear_gflops": {k: v / 1e9 for k, v in rates.items()}, "loaded": loaded})  # fmt: skip
        print(table(results[-1]), flush=True)
    for contestant in everyone:
        contestant.end()
    return results


def dtype_of(name: str) -> str:
    """Of a contestant: what sdgen computes in beside it."""
    words = name.split()
    if len(words) == 2:
        return words[1].partition("-")[0]
    return BESIDE.get(name, "bfloat16")


def process_command(args: argparse.Namespace, name: str, out: Path) -> list[str]:
    """A whole command that draws one picture and writes it."""
    width, height = map(str, args.sizes[0])
    if name in OTHERS:
        return [
            *other_command(args, name, "draw"),
            f"--steps={args.process_steps}",
            f"--save={out}",
            "--size",
            width,
            height,
        ]
    program, how = name.split()
    if program == "diffusers":
        return worker_command(
            args, how, f"--steps={args.process_steps}", f"--save={out}", "--sizes", f"{width}x{height}"
        )
    dtype, _, codes = how.partition("-")
    return [str(args.sdgen), "-m", str(args.model), "-p", PROMPT, "-s", "0", "--scheduler", "euler", "-q", "-o", str(out),
            "--overwrite", f"--steps={args.process_steps}", f"--guidance-scale={GUIDANCE}", "--dtype", dtype, "--device",
            args.device, "-W", width, "-H", height, "--threads", str(args.threads), *(["--quantize", codes] if codes else [])]  # fmt: skip


def compare_processes(args: argparse.Namespace) -> dict[str, Any]:
    eager = [f"diffusers {rival}" for rival in args.rivals if rival in RIVALS]
    names = [*(f"sdgen {dtype}" for dtype in sorted({dtype_of(name) for name in eager})),
             *(f"sdgen {how}" for how in args.sdgen_quantize), *eager,
             *(rival for rival in args.rivals if rival in OTHERS)]  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in names}
    convert_for_others(args)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.png"
        for _ in range(args.process_rounds):
            for name in names:
                begin = time.perf_counter()
                subprocess.run(
                    process_command(args, name, out), check=True, stdout=subprocess.DEVNULL, env=environment(args, name)
                )
                times[name].append(time.perf_counter() - begin)
                out.unlink()
    return {"process_steps": args.process_steps, "processes": {name: summary(values) for name, values in times.items()}}


def table(result: dict[str, Any]) -> str:
    lines = []
    if "loaded" in result:
        size = f"{result['width']}x{result['height']}"
        lines.append(f"{size:34}   load   text   step  share decode  total     MB"
                     f"  ({result['step_gflop']:.3g} GFLOP a step)")  # fmt: skip
    for name, r in result.get("loaded", {}).items():
        lines.append(f"{name:34} {r['load']:6.2f} {r['text']['median']:6.3f} {r['step']['median']:6.3f}"
                     f" {r['step_share_of_linear']:6.0%} {r['decode']['median']:6.3f} {r['total']['median']:6.2f}"
                     f" {r['peak_memory_mb']:6.0f}")  # fmt: skip
    for stage in ("step", "decode"):
        for name, r in result.get("loaded", {}).items():
            mine = result["loaded"].get("sdgen " + dtype_of(name), r)
            least, median = (mine[stage][which] / r[stage][which] for which in ("min", "median"))
            if name.startswith("sdgen") and mine is not r:  # in codes
                lines.append(f"{stage}: {name} {1 / median:.2f} of dense weights (of the minima {1 / least:.2f})")
            elif mine is not r:
                lines.append(f"{stage}: {median:.2f} of {name} (of the minima {least:.2f})")
    processes = result.get("processes", {})
    for name, r in processes.items():
        mine = processes.get("sdgen " + dtype_of(name), r)
        lines.append(f"process, {result['process_steps']} steps: {name:34} {r['median']:7.2f} s"
                     f"  sdgen: {mine['median'] / r['median']:.3f}")  # fmt: skip
    return "\n".join(lines)


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height or width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("model", type=Path)
    parser.add_argument("--sdgen", type=Path, default=root / "build" / "sdgen")
    parser.add_argument("--bench", type=Path, default=root / "build" / "tools" / "sdgen_bench")
    parser.add_argument("--sizes", nargs="+", type=size, default=[(512, 512)], help="N or WIDTHxHEIGHT; the first is the "
                        "whole processes' (default: 512)")  # fmt: skip
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="0: only whole processes")
    parser.add_argument("--process-steps", type=int, default=20)
    parser.add_argument("--process-rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument(
        "--rivals", nargs="+", choices=(*RIVALS, *OTHERS), default=("float32", "bfloat16", "bfloat16-channels_last")
    )
    parser.add_argument(
        "--packages", type=Path, default=root / "build" / "rivals", help="where scripts/setup --rivals has put them"
    )
    parser.add_argument(
        "--converted", type=Path, default=root / "build" / "openvino", help="where OpenVINO's files are kept"
    )
    parser.add_argument(
        "--sdgen-quantize", nargs="+", default=[], metavar="DTYPE-TYPE", help="sdgen with --quantize, too, like bfloat16-int8 or float32-q8_0"
    )
    parser.add_argument("--batch-size", type=int, default=1, help="pictures at once, of what is loaded (default: 1)")
    parser.add_argument("--together", action="store_true", help="all stay in memory: less loading, for small models")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", choices=RIVALS, help=argparse.SUPPRESS)
    parser.add_argument("--save", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    others = [rival for rival in args.rivals if rival in OTHERS]
    if len(others) == len(args.rivals):
        parser.error("one of diffusers' settings has to be among the rivals")
    if "sdcpp" in others and any(limit in os.environ for limit in LIMITS):
        parser.error(f"sdcpp is not bound by {' or '.join(LIMITS)}: no ratio means anything")
    if "sdcpp" in others and args.batch_size > 1:
        parser.error("sdcpp draws one picture at a time")
    if args.process_rounds and args.batch_size > 1 and not args.worker:
        parser.error("whole commands draw one picture: --process-rounds 0")
    if args.worker and args.save:
        rival = Rival(args)
        rival.picture(*args.sizes[0])
        rival.image.save(args.save)
    elif args.worker:
        bench_worker.serve(Rival(args))
    else:
        result: dict[str, Any] = {"model": args.model.name, "threads": args.threads, "batch_size": args.batch_size, "steps": args.steps, "machine": measure.machine(),
                                  "commit": measure.commit(), "date": str(datetime.date.today())}  # fmt: skip
        print(f"{result['date']}, {result['machine']}, commit {result['commit'][:9]}")
        if args.rounds:
            result["sizes"] = compare_loaded(args)
        if args.process_rounds:
            result |= compare_processes(args)
            print(table(result))
        if args.json:
            args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
