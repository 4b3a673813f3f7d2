"""Programs other than diffusers that tools/bench.py has sdgen take turns with: OpenVINO and stable-diffusion.cpp.

Each is a worker as bench.py's own: it says what loading took, and answers "picture WIDTH HEIGHT". OpenVINO computes the three
networks, and diffusers does all that is around them; stable-diffusion.cpp does everything by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

OPENVINO = ("openvino-float32", "openvino-bfloat16", "openvino-int8")
SDCPP = "sdcpp"
RIVALS = (*OPENVINO, SDCPP)
TOKENS = 77


def convert_for_openvino(model: Path, folder: Path, size: tuple[int, int], compress: bool) -> None:
    """Writes the networks of a Stable Diffusion folder for pictures of one size: a guided step is two rows."""
    import openvino
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32, local_files_only=True, safety_checker=None)
    width, height = size[0] // 8, size[1] // 8

    class Text(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return pipe.text_encoder(ids)[0]

    class Unet(torch.nn.Module):
        def forward(self, sample: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
            return pipe.unet(sample, t, context, return_dict=False)[0]

    class Decoder(torch.nn.Module):
        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return pipe.vae.decode(latents, return_dict=False)[0]

    context = pipe.text_encoder.config.hidden_size
    inputs = {
        "text": (Text(), pipe.text_encoder, [torch.zeros(1, TOKENS, dtype=torch.long)]),
        "unet": (Unet(), pipe.unet, [torch.zeros(2, 4, height, width), torch.tensor(1.0), torch.zeros(2, TOKENS, context)]),
        "decoder": (Decoder(), pipe.vae, [torch.zeros(1, 4, height, width)]),
    }
    unfinished = folder.with_name(f"{folder.name}-unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for name, (wrapper, network, example) in inputs.items():
            wrapper.network = network
            shapes = [tuple(x.shape) for x in example]
            network_file = openvino.convert_model(wrapper.eval(), example_input=tuple(example), input=shapes)
            if compress and name == "unet":
                import nncf

                network_file = nncf.compress_weights(network_file, mode=nncf.CompressWeightsMode.INT8_SYM)
            openvino.save_model(network_file, unfinished / f"{name}.xml", compress_to_fp16=False)
    unfinished.rename(folder)


class OpenVino:
    """Static shapes, as many threads as all others. Its files are made for a size when the first picture of it is asked for."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.how = args, args.worker.partition("-")[2]
        self.load, self.size = 0.0, (0, 0)

    def read(self, size: tuple[int, int]) -> None:
        import openvino
        from diffusers import EulerDiscreteScheduler
        from transformers import CLIPTokenizer

        model, begin = self.args.model, time.perf_counter()
        folder = converted(self.args, self.how, size)
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.args.threads,
                  "INFERENCE_PRECISION_HINT": "bf16" if self.how == "bfloat16" else "f32"}  # fmt: skip
        core = openvino.Core()
        self.networks = {name: core.compile_model(folder / f"{name}.xml", "CPU", config) for name in ("text", "unet", "decoder")}
        self.tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
        self.scheduler = EulerDiscreteScheduler.from_pretrained(model / "scheduler")
        self.factor = json.loads((model / "vae" / "config.json").read_text()).get("scaling_factor", 0.18215)
        self.size, self.load = size, time.perf_counter() - begin

    def picture(self, width: int, height: int) -> dict[str, Any]:
        import torch

        if self.size != (width, height):
            self.read((width, height))

        def ask(name: str, *inputs: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(self.networks[name]([x.numpy() for x in inputs])[0])

        begin = time.perf_counter()
        ids = [self.tokenizer(text, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids
               for text in ("", self.args.prompt)]  # fmt: skip
        context = torch.cat([ask("text", one) for one in ids])
        ends = [time.perf_counter()]
        text = ends[0] - begin
        self.scheduler.set_timesteps(self.args.steps)
        x = torch.randn(1, 4, height // 8, width // 8, generator=torch.Generator().manual_seed(0)) * self.scheduler.init_noise_sigma
        for t in self.scheduler.timesteps:
            without, with_ = ask("unet", self.scheduler.scale_model_input(x, t).repeat(2, 1, 1, 1), t.float(), context).chunk(2)
            x = self.scheduler.step(without + self.args.guidance * (with_ - without), t, x).prev_sample
            ends.append(time.perf_counter())
        picture = ask("decoder", x / self.factor)
        end = time.perf_counter()
        if not torch.isfinite(picture).all():
            raise SystemExit("bench_rivals: the picture is not finite")
        return {"text": text, "steps": [after - before for before, after in pairwise(ends[1:])], "decode": end - ends[-1],
                "total": end - begin, "load": self.load}  # fmt: skip


def converted(args: argparse.Namespace, how: str, size: tuple[int, int]) -> Path:
    """OpenVINO's files; float32 and bfloat16 share them."""
    coded = how == "int8"
    return args.converted / f"{args.model.name}-{size[0]}x{size[1]}{'-int8' if coded else ''}"


class StableDiffusionCpp:
    """The same folder, its weights as they are stored. What it takes for the text is not told."""

    def __init__(self, args: argparse.Namespace) -> None:
        from stable_diffusion_cpp import StableDiffusion

        begin = time.perf_counter()
        self.args = args
        self.model = StableDiffusion(model_path=str(args.model), n_threads=args.threads, verbose=False)
        self.load = time.perf_counter() - begin

    def picture(self, width: int, height: int) -> dict[str, Any]:
        ends: list[tuple[int, float]] = []
        begin = time.perf_counter()
        self.model.generate_image(
            self.args.prompt, width=width, height=height, sample_steps=self.args.steps, cfg_scale=self.args.guidance, seed=0,
            sample_method="euler", progress_callback=lambda step, *_: ends.append((step, time.perf_counter())))  # fmt: skip
        end = time.perf_counter()
        steps = [after - before for (one, before), (other, after) in pairwise(ends) if 0 < one == other - 1 < self.args.steps]
        last = max(at for step, at in ends if step == self.args.steps)
        return {"text": float("nan"), "steps": steps, "decode": end - last, "total": end - begin, "load": self.load}


def serve(args: argparse.Namespace) -> None:
    """Answers each line of stdin with a line of JSON."""
    rival = StableDiffusionCpp(args) if args.worker == SDCPP else OpenVino(args)
    print(json.dumps({"load": rival.load}), flush=True)
    for line in sys.stdin:
        _, width, height = line.split()
        print(json.dumps(rival.picture(int(width), int(height))), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worker", choices=(*RIVALS, "convert", "convert-int8"))
    parser.add_argument("model", type=Path)
    parser.add_argument("--converted", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--prompt", default="a red apple on a blue background")
    parser.add_argument("--size", type=int, nargs=2, default=(512, 512))
    args = parser.parse_args()
    if args.worker.startswith("convert"):
        how = args.worker.partition("-")[2]
        convert_for_openvino(args.model, converted(args, how, tuple(args.size)), tuple(args.size), how == "int8")
    else:
        serve(args)


if __name__ == "__main__":
    main()
