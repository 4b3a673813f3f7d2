"""What only a machine with an NVIDIA GPU can show: builds, tests the CUDA kernels, compares pictures, measures; one report.

    python tools/gpu_check.py REPORT.md [--build build-gpu] [--torch SITE-PACKAGES/torch] [--skip sdxl ...] [--quick]

Needs nvcc, cmake, ninja, libtorch with CUDA's libraries (this Python's torch, unless --torch names another) and Debian's
-dev packages of scripts/setup. With diffusers installed it is measured too, in the same run, compiled and not; without
it the report says so. Models of full size are made on the spot (tools/make_random_model.py; needs diffusers as well) or
given with --sd15, --sdxl and the like. Every section that fails is in the report with what it said; the exit status is then 1.

Rates are of differences: of runs of 50 and 10 steps, so that neither start nor decoder is in a step, and nothing has to
wait for the device in between.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "a red apple on a blue background"

# What is measured: the side of the pictures, the scheduler ("": the model's own), and the aim.
SPEEDS = {
    "sd15": (512, "euler", "105 steps/s at batch 1 (H200, bfloat16)"),
    "sdxl": (1024, "euler", "2.2 pictures/s of 20 steps at the best batch (H200, bfloat16)"),
    "sd35-medium": (1024, "", "none yet"),
    "sd35-large": (1024, "", "0.15 s a guided step (H200, bfloat16)"),
    "pixart-sigma": (256, "", "none yet"),
    "flux-dev-whole": (1024, "", "0.17 s a step (H200, bfloat16)"),
}

SHARED_WITH_CONTROLNETS = (
    "in_channels", "down_block_types", "mid_block_type", "block_out_channels", "layers_per_block", "act_fn",
    "norm_num_groups", "norm_eps", "cross_attention_dim", "attention_head_dim", "use_linear_projection",
)  # fmt: skip


class Report:
    def __init__(self, path: Path) -> None:
        self.path, self.lines, self.failed = path, ["# sdgen on a GPU", ""], 0

    def say(self, *lines: str) -> None:
        self.lines += lines
        self.path.write_text("\n".join(self.lines) + "\n")
        print("\n".join(lines), flush=True)

    def section(self, name: str, work: Callable[[], None]) -> None:
        self.say(f"## {name}", "")
        begin = time.monotonic()
        try:
            work()
        except subprocess.CalledProcessError as error:
            self.failed += 1
            said = ((error.stdout or "") + (error.stderr or ""))[-3000:]
            self.say(f"FAILED: {' '.join(map(str, error.cmd))} ended with {error.returncode}", "", "```", said, "```")
        except Exception as error:  # a report with a hole is better than none
            self.failed += 1
            self.say(f"FAILED: {type(error).__name__}: {error}")
        self.say("", f"({time.monotonic() - begin:.0f} s)", "")


def run(*command: object, **more: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, **more).stdout


def controlnet_for(model: Path, folder: Path) -> Path:
    """A ControlNet for a diffusers folder: the first half of its U-Net, and random convolutions around it."""
    import torch

    config = json.loads((model / "unet" / "config.json").read_text())
    raw = next((model / "unet").glob("*.safetensors")).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    tensors: dict[str, tuple[str, list[int], bytes]] = {}
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if name.startswith(("conv_in", "time_embedding", "down_blocks", "mid_block")):
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = (entry["dtype"], entry["shape"], raw[begin:end])
    generator = torch.Generator().manual_seed(1)

    def conv(name: str, out: int, into: int, kernel: int) -> None:
        weight = torch.randn((out, into, kernel, kernel), generator=generator) / (into * kernel**2) ** 0.5
        tensors[f"{name}.weight"] = ("F32", list(weight.shape), weight.numpy().tobytes())
        tensors[f"{name}.bias"] = ("F32", [out], bytes(4 * out))

    widths, layers = config["block_out_channels"], config["layers_per_block"]
    vae = json.loads((model / "vae" / "config.json").read_text())
    picture = [8 << i for i in range(len(vae["block_out_channels"]))]
    conv("controlnet_cond_embedding.conv_in", picture[0], 3, 3)
    for i, (into, out) in enumerate(itertools.pairwise(picture)):
        conv(f"controlnet_cond_embedding.blocks.{2 * i}", into, into, 3)
        conv(f"controlnet_cond_embedding.blocks.{2 * i + 1}", out, into, 3)
    conv("controlnet_cond_embedding.conv_out", widths[0], picture[-1], 3)
    skips = [widths[0]]
    for i, width in enumerate(widths):
        skips += [width] * (layers + (i + 1 < len(widths)))
    for i, width in enumerate(skips):
        conv(f"controlnet_down_blocks.{i}", width, width, 1)
    conv("controlnet_mid_block", widths[-1], widths[-1], 1)
    folder.mkdir()
    made = {key: config[key] for key in SHARED_WITH_CONTROLNETS if config.get(key) is not None}
    made |= {"_class_name": "ControlNetModel", "conditioning_embedding_out_channels": picture}
    (folder / "config.json").write_text(json.dumps(made))
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return folder


class Check:
    def __init__(self, args: argparse.Namespace, report: Report, scratch: Path) -> None:
        self.args, self.report, self.scratch = args, report, scratch
        self.sdgen, self.bench = args.build / "sdgen", args.build / "tools" / "sdgen_bench"

    def machine(self) -> None:
        self.report.say("```", run("nvidia-smi").strip(), run("nvcc", "--version").strip().splitlines()[-1], "```")

    def build(self) -> None:
        run("cmake", "-S", ROOT, "-B", self.args.build, "-G", "Ninja", f"-DSDGEN_TORCH={self.args.torch}")
        run("cmake", "--build", self.args.build)
        self.report.say(run(self.sdgen, "--version").strip().splitlines()[0])
        if not (self.args.build / "libsdgen_cuda.so").exists():
            raise RuntimeError("the plugin libsdgen_cuda.so was not built: no nvcc?")

    def operators(self) -> None:
        said = run(self.args.build / "tests" / "core_tests", "--gtest_filter=*Cuda*:UNet.*:Replayed.*:Steered.*")
        self.report.say("```", *[line for line in said.splitlines() if "ran." in line or "PASSED" in line], "```")
        if "there is no CUDA device" in said:
            raise RuntimeError("tests of CUDA were skipped: no device was found")

    def pictures(self) -> None:
        """The same requests on the CPU and on the GPU: in float32 they differ by rounding, in half types by theirs."""
        import numpy as np
        from PIL import Image

        def picture(name: str, *words: str) -> np.ndarray:
            folder = self.scratch / name
            folder.mkdir(exist_ok=True)
            run(self.sdgen, "-p", PROMPT, "-s", "3", "-q", "--overwrite", "-o", folder / "{index}.png", *words)
            pictures = [np.asarray(Image.open(path).convert("RGB"), np.float64) for path in sorted(folder.glob("*.png"))]
            return np.stack(pictures)

        self.report.say("| model | type | largest difference from the CPU's float32 | PSNR |", "|---|---|---|---|")
        for model in ("models/default", "tests/fixtures/tiny-sd"):
            right = picture("cpu", "-m", str(ROOT / model), "--device", "cpu", "--dtype", "float32")
            for dtype in ("float32", "bfloat16", "float16"):
                ours = picture("gpu", "-m", str(ROOT / model), "--device", "cuda", "--dtype", dtype)
                away = np.abs(ours - right)
                psnr = 10 * np.log10(255**2 / max(np.mean(away**2), 1e-12))
                self.report.say(f"| {model} | {dtype} | {away.max():.0f} of 255 | {psnr:.1f} dB |")
                if dtype == "float32" and away.max() > 3:
                    raise RuntimeError(f"{model}: float32 on the GPU is {away.max():.0f} of 255 from the CPU's")
            # What a steered network launches is recorded once with its ControlNet and once without it.
            net = controlnet_for(ROOT / model, self.scratch / f"controlnet-{Path(model).name}")
            words = ("-m", str(ROOT / model), "--controlnet", net, "--control-image", ROOT / "tests/fixtures/images/palette.png",
                     "--control-end", "0.5", "-W", "64", "-H", "64", "--dtype", "float32")  # fmt: skip
            away = np.abs(picture("steered", *words, "--device", "cuda") - picture("steered-cpu", *words, "--device", "cpu"))
            self.report.say(f"| {model} --controlnet | float32 | {away.max():.0f} of 255 | |")
            if away.max() > 3:
                raise RuntimeError(f"{model}: steered by a ControlNet the GPU's picture is {away.max():.0f} of 255 from the CPU's")
            # Three pictures, so that the U-Net comes a second time.
            words = ("-m", str(ROOT / model), "--device", "cuda", "--dtype", "float16", "-b", "3")
            away = np.abs(picture("turns", *words, "--offload") - picture("all", *words))
            self.report.say(f"| {model} --offload | float16 | {away.max():.0f} of 255 from without | |")
            if away.max() > 1:  # not recorded, so cuDNN may choose otherwise
                raise RuntimeError(f"{model}: --offload changes the picture by {away.max():.0f} of 255")

    def speed(self, name: str, model: Path) -> None:
        size, scheduler, aim = SPEEDS[name]
        own = ("--scheduler", scheduler) if scheduler else ()

        def total(steps: int, batch: int) -> float:
            said = json.loads(run(self.bench, "-m", model, "--device", "cuda", "--dtype", "bfloat16", "-W", size, "-H", size,
                                  *own, "-g", "7.5", "--steps", steps, "--batch-size", batch, "--runs",
                                  "3"))  # fmt: skip
            return said["stages"]["total"]["min"]

        self.report.say(f"Aim: {aim}.", "", "| batch | steps/s | pictures/s, 20 steps |", "|---|---|---|")
        for batch in (1,) if self.args.quick else (1, 2, 4, 8, 16):
            step = (total(50, batch) - total(10, batch)) / 40
            self.report.say(f"| {batch} | {1 / step:.1f} | {batch / total(20, batch):.2f} |")
        if importlib.util.find_spec("diffusers") is None:
            self.report.say("", "diffusers is not installed here: not compared")
            return
        rivals = ("bfloat16", "bfloat16-channels_last", "bfloat16-channels_last-compiled")
        if not (model / "unet").exists():  # transformers have no channels to be last
            rivals = ("bfloat16", "bfloat16-compiled")
        said = run(sys.executable, ROOT / "tools" / "bench.py", model, "--sdgen", self.sdgen, "--bench", self.bench, "--device",
                   "cuda", "--sizes", size, "--steps", "20", "--process-rounds", "1", "--together", "--rivals", *rivals)  # fmt: skip
        self.report.say("", "```", said.rstrip(), "```")

    def speed_of(self, name: str) -> None:
        self.speed(name, self.model(name))

    def model(self, name: str) -> Path:
        given = getattr(self.args, name.replace("-", "_"))
        if given:
            return given
        made = self.scratch / name
        run(sys.executable, ROOT / "tools" / "make_random_model.py", name, made)
        return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--build", type=Path, default=ROOT / "build-gpu")
    parser.add_argument("--torch", type=Path, help="the folder of the torch package with CUDA's libraries")
    parser.add_argument("--sd15", type=Path, help="a diffusers folder of Stable Diffusion 1.5")
    parser.add_argument("--sdxl", type=Path, help="a diffusers folder of Stable Diffusion XL")
    parser.add_argument("--sd35-medium", type=Path, help="a diffusers folder of Stable Diffusion 3.5 medium")
    parser.add_argument("--sd35-large", type=Path, help="a diffusers folder of Stable Diffusion 3.5 large")
    parser.add_argument("--pixart-sigma", type=Path, help="a diffusers folder of PixArt-Sigma")
    parser.add_argument("--flux-dev-whole", type=Path, help="a diffusers folder of Flux.1 dev")
    parser.add_argument("--skip", nargs="*", default=[], choices=("build", "operators", "pictures", *SPEEDS))
    parser.add_argument("--quick", action="store_true", help="batch 1 alone")
    args = parser.parse_args()
    args.build = args.build.resolve()
    if not args.torch:
        spec = importlib.util.find_spec("torch")
        if spec is None:
            parser.error("this Python has no torch: name one with --torch")
        args.torch = Path(spec.submodule_search_locations[0])
    report = Report(args.report)
    with tempfile.TemporaryDirectory(prefix="sdgen-gpu-", dir=os.environ.get("TMPDIR")) as scratch:
        check = Check(args, report, Path(scratch))
        report.section("The machine", check.machine)
        for name, work in {
            "build": check.build,
            "operators": check.operators,
            "pictures": check.pictures,
            **{name: partial(check.speed_of, name) for name in SPEEDS},
        }.items():
            if name not in args.skip:
                report.section(name, work)
    report.say(f"{report.failed} sections failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
