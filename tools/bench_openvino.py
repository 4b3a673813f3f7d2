"""OpenVINO as a rival of tools/bench.py: a Stable Diffusion folder's networks, converted, checked and asked for pictures.

    python tools/bench_openvino.py convert MODEL --converted FOLDER [--codes none|int8|int8-full]
    python tools/bench_openvino.py check MODEL --converted FOLDER --precision PRECISION [--codes CODES] --size W H
    python tools/bench_openvino.py serve|draw MODEL ...   (what bench.py starts)

Needs PYTHONPATH=build/rivals/openvino (scripts/setup --rivals). OpenVINO computes text encoders, U-Net and decoder with static shapes and the
latency hint; tokenizer and scheduler are diffusers'. Codes `int8` are nncf's weights-only compression of all networks, as optimum-intel's pipelines
have it for large models; with `int8-full` the U-Net's products and convolutions are in whole numbers too (nncf.quantize,
calibrated with steps of one picture). `check` prints each network's relative error beside diffusers in float32, and which kernels run.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import openvino
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from openvino.frontend.pytorch import patch_model
from PIL import Image
from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection

import bench_worker

CODES = ("none", "int8", "int8-full")
PRECISIONS = {"default": None, "float32": "f32", "bfloat16": "bf16", "float16": "f16"}
TOKENS = 77
TEXTS = ("text_encoder", "text_encoder_2")
CALIBRATION = 4  # steps


def config_of(model: Path, part: str) -> dict[str, Any]:
    file = model / part / "config.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


class Text(torch.nn.Module):
    """Token ids to what the U-Net wants: the last layer, or the layer before it with what is pooled."""

    def __init__(self, network: Any, before_last: bool) -> None:
        super().__init__()
        self.network, self.before_last = network, before_last

    def forward(self, ids: torch.Tensor) -> Any:
        found = self.network(ids, output_hidden_states=self.before_last)
        return (found.hidden_states[-2], found[0]) if self.before_last else found[0]


class Unet(torch.nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, sample: torch.Tensor, t: torch.Tensor, context: torch.Tensor, pooled: Any = None, sizes: Any = None
    ) -> Any:
        more = None if pooled is None else {"text_embeds": pooled, "time_ids": sizes}
        return self.network(sample, t, context, added_cond_kwargs=more, return_dict=False)[0]


class Decoder(torch.nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.network.decode(latents, return_dict=False)[0]


def network_of(model: Path, part: str, dtype: torch.dtype) -> torch.nn.Module:
    """diffusers' own."""
    if part == "unet":
        return Unet(UNet2DConditionModel.from_pretrained(model / part, torch_dtype=dtype)).eval()
    if part == "vae":
        return Decoder(AutoencoderKL.from_pretrained(model / part, torch_dtype=dtype)).eval()
    kind = CLIPTextModelWithProjection if part == TEXTS[1] else CLIPTextModel
    return Text(kind.from_pretrained(model / part, torch_dtype=dtype), is_xl(model)).eval()


def is_xl(model: Path) -> bool:
    return (model / TEXTS[1]).exists()


def parts_of(model: Path) -> tuple[str, ...]:
    return (*(part for part in TEXTS if (model / part).exists()), "unet", "vae")


def shapes_of(model: Path, part: str, size: tuple[int, int], pictures: int = 1) -> list[list[int]]:
    """Of a part's inputs: a guided step is two rows a picture, a prompt one."""
    width, height = size[0] // 8, size[1] // 8
    if part in TEXTS:
        return [[1, TOKENS]]
    if part == "vae":
        return [[pictures, 4, height, width]]
    rows, context = 2 * pictures, config_of(model, "unet")["cross_attention_dim"]
    pooled = [[rows, config_of(model, TEXTS[1])["projection_dim"]], [rows, 6]] if is_xl(model) else []
    return [[rows, 4, height, width], [], [rows, TOKENS, context], *pooled]


def example(model: Path, part: str, size: tuple[int, int]) -> list[torch.Tensor]:
    """Inputs of ordinary size, the same each time."""
    torch.manual_seed(0)
    if part in TEXTS:
        return [torch.randint(1000, 40000, (1, TOKENS))]
    made = [torch.randn(shape) for shape in shapes_of(model, part, size)]
    if part == "unet":
        made[1] = torch.tensor(601.0)
        made[4:] = [torch.tensor([[size[1], size[0], 0, 0, size[1], size[0]]] * 2, dtype=torch.float32)] * len(made[4:])
    return made


def convert(args: argparse.Namespace) -> None:
    """Writes the networks, with shapes that are open. Matrices stay in the folder's 16 bits, as optimum-intel writes them; what else is in
    float32 stays too: rounded frequencies of the time would be another network."""
    folder = folder_of(args)
    if folder.exists():
        return
    args.batch_size = 1
    unfinished = folder.with_name(f"{folder.name}-unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    for part in parts_of(args.model):
        if args.codes == "none":
            source = network_of(args.model, part, torch.float16)
            patch_model.__make_16bit_traceable(source)
            with torch.no_grad():
                network = openvino.convert_model(source, example_input=tuple(example(args.model, part, (256, 256))))
        else:
            network = openvino.Core().read_model(folder_of(args, "none") / f"{part}.xml")
            network = coded(args, part, network)
        openvino.save_model(network, unfinished / f"{part}.xml", compress_to_fp16=False)
        del network
    unfinished.rename(folder)


def coded(args: argparse.Namespace, part: str, network: openvino.Model) -> openvino.Model:
    import nncf  # takes seconds

    if args.codes == "int8" or part != "unet":
        return nncf.compress_weights(network, mode=nncf.CompressWeightsMode.INT8_ASYM)
    fixed(args, part, network)
    advanced = nncf.AdvancedQuantizationParameters(disable_bias_correction=True)
    return nncf.quantize(network, nncf.Dataset(list(calls_of_a_picture(args))), subset_size=CALIBRATION,
                         model_type=nncf.ModelType.TRANSFORMER, advanced_parameters=advanced)  # fmt: skip


def calls_of_a_picture(args: argparse.Namespace) -> Iterator[list[np.ndarray]]:
    """What the U-Net is asked in the steps of a picture."""
    asked: list[list[np.ndarray]] = []
    plain = argparse.Namespace(**{**vars(args), "codes": "none", "precision": "float32", "steps": CALIBRATION})
    OpenVino(plain, lambda inputs: asked.append([x.copy() for x in inputs])).picture(*args.size)
    yield from asked


def folder_of(args: argparse.Namespace, codes: str | None = None) -> Path:
    codes = codes or args.codes
    return args.converted / (args.model.name if codes == "none" else f"{args.model.name}-{codes}")


def fixed(args: argparse.Namespace, part: str, network: openvino.Model) -> openvino.Model:
    shapes = shapes_of(args.model, part, args.size, args.batch_size)
    if len(network.inputs) != len(shapes):
        raise SystemExit(f"bench_openvino: {part} has {len(network.inputs)} inputs, not {len(shapes)}")
    network.reshape({at: openvino.PartialShape(shape) for at, shape in enumerate(shapes)})
    return network


def compiled(args: argparse.Namespace, part: str) -> openvino.CompiledModel:
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": args.threads}
    if precision := PRECISIONS[args.precision]:
        config["INFERENCE_PRECISION_HINT"] = precision
    core = openvino.Core()
    network = core.read_model(folder_of(args) / f"{part}.xml")
    return core.compile_model(fixed(args, part, network), "CPU", config)


class OpenVino:
    """Loads for a size when the first picture of it is asked for."""

    def __init__(
        self, args: argparse.Namespace, heard: Callable[[list[np.ndarray]], None] = lambda inputs: None
    ) -> None:
        self.args, self.heard, self.loaded, self.load = args, heard, (0, 0), 0.0

    def read(self) -> None:
        args, begin = self.args, time.perf_counter()
        self.xl = is_xl(args.model)
        self.networks = {part: compiled(args, part) for part in parts_of(args.model)}
        self.tokenizers = [AutoTokenizer.from_pretrained(args.model / part.replace("text_encoder", "tokenizer"))
                           for part in self.networks if part in TEXTS]  # fmt: skip
        self.scheduler = EulerDiscreteScheduler.from_pretrained(args.model / "scheduler")
        self.factor = config_of(args.model, "vae").get("scaling_factor", 0.18215)
        self.loaded, self.load = args.size, time.perf_counter() - begin

    def ask(self, part: str, *inputs: torch.Tensor) -> list[torch.Tensor]:
        arrays = [x.numpy() for x in inputs]
        if part == "unet":
            self.heard(arrays)
        found = self.networks[part](arrays)
        return [torch.from_numpy(found[at]) for at in range(len(found))]

    def conditions(self) -> list[torch.Tensor]:
        """The U-Net's inputs beside latents and time; Stable Diffusion XL's empty prompt is zeros."""
        texts = (self.args.prompt,) if self.xl else ("", self.args.prompt)
        rows = []
        for text in texts:
            found = [self.ask(part, one(text, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids)
                     for part, one in zip(TEXTS, self.tokenizers, strict=False)]  # fmt: skip
            rows.append([torch.cat([layers for layers, *_ in found], dim=-1), *found[-1][1:]])
        if self.xl:
            rows.insert(0, [torch.zeros_like(x) for x in rows[0]])
        pictures, (width, height) = self.args.batch_size, self.args.size
        both = [torch.cat(x).repeat_interleave(pictures, 0) for x in zip(*rows, strict=True)]
        sizes = torch.tensor([[height, width, 0, 0, height, width]] * (2 * pictures), dtype=torch.float32)
        return [*both, *([sizes] if self.xl else [])]

    def picture(self, width: int, height: int) -> dict[str, Any]:
        if self.loaded != (width, height):
            self.args.size = (width, height)
            self.read()
        begin = time.perf_counter()
        more = self.conditions()
        ends = [time.perf_counter()]
        text = ends[0] - begin
        self.scheduler.set_timesteps(self.args.steps)
        x = (
            torch.randn(self.args.batch_size, 4, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
            * self.scheduler.init_noise_sigma
        )
        for t in self.scheduler.timesteps:
            [rows] = self.ask("unet", self.scheduler.scale_model_input(x, t).repeat(2, 1, 1, 1), t.float(), *more)
            without, with_ = rows.chunk(2)
            x = self.scheduler.step(without + self.args.guidance * (with_ - without), t, x).prev_sample
            ends.append(time.perf_counter())
        [picture] = self.ask("vae", x / self.factor)
        end = time.perf_counter()
        if not torch.isfinite(picture).all():
            raise SystemExit("bench_openvino: the picture is not finite")
        self.image = picture
        return {"text": text, "steps": [after - before for before, after in pairwise(ends[1:])], "decode": end - ends[-1],
                "total": end - begin, "load": self.load}  # fmt: skip


def draw(args: argparse.Namespace) -> None:
    rival = OpenVino(args)
    rival.picture(*args.size)
    pixels = (rival.image[0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255
    Image.fromarray(pixels.round().byte().numpy()).save(args.save)


def kernels(network: openvino.CompiledModel) -> dict[str, int]:
    """How many of the products, convolutions and attentions run in which kernel."""
    counts: collections.Counter[str] = collections.Counter()
    for node in network.get_runtime_model().get_ops():
        known = node.get_rt_info()
        kind, how = (known[key].astype(str) if key in known else "" for key in ("layerType", "primitiveType"))
        if any(
            word in kind
            for word in ("Convolution", "FullyConnected", "MatMul", "Attention", "SDPA", "Subgraph", "GatherMatmul")
        ):
            counts[f"{kind} {how}"] += 1
    return dict(counts.most_common())


def check(args: argparse.Namespace) -> None:
    args.batch_size = 1
    for part in parts_of(args.model):
        inputs = example(args.model, part, args.size)
        network = compiled(args, part)
        found = network([x.numpy() for x in inputs])
        with torch.no_grad():
            right = network_of(args.model, part, torch.float32)(*inputs)
        rights = right if isinstance(right, tuple) else (right,)
        errors = [float((torch.from_numpy(found[at]) - one).norm() / one.norm()) for at, one in enumerate(rights)]
        precision = network.get_property("INFERENCE_PRECISION_HINT")
        print(
            json.dumps(
                {"part": part, "precision": str(precision), "relative error": errors, "kernels": kernels(network)}
            ),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("convert", "check", "serve", "draw"))
    parser.add_argument("model", type=Path)
    parser.add_argument("--converted", type=Path, required=True, help="a folder for OpenVINO's files")
    parser.add_argument("--codes", choices=CODES, default="none")
    parser.add_argument("--precision", choices=PRECISIONS, default="default", help="default: what OpenVINO chooses")
    parser.add_argument("--size", type=int, nargs=2, default=(512, 512), metavar=("W", "H"))
    parser.add_argument("--batch-size", type=int, default=1, help="pictures at once")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--save", type=Path, metavar="FILE", help="draw: where the picture goes")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--prompt", default="a red apple on a blue background")
    args = parser.parse_args()
    args.size = tuple(args.size)
    {"convert": convert, "check": check, "serve": lambda args: bench_worker.serve(OpenVino(args)), "draw": draw}[args.what](args)


if __name__ == "__main__":
    main()
