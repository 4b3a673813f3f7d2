"""Trains a LoRA and a ControlNet for the embedded model, so that both can be seen at work without a download.

    scripts/setup --train --parity
    python tools/train_adapters.py [--steps-lora 1000] [--steps-controlnet 900] [--out build/adapters]

Writes OUT/ink.safetensors, a style in diffusers' names (greys on paper, whatever colours the prompt names), and
OUT/outline, a ControlNet folder that gets the edges of the picture (`sdgen canny`). Both learn from the embedded
model's own glyphs, that the LoRA sees as ink prints, and the ControlNet at places all over the picture, of which captions
say nothing.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn
from torch.nn import functional

from default_model.captions import caption
from default_model.concepts import COLOURS, Concept, load_concepts
from default_model.export import load_pipeline
from default_model.render import Renderer
from default_model.scenes import ALONE, PICTURE, Item, Scene

ROOT = Path(__file__).parents[1]
BATCH = 32
PLACES = 3  # of every thing, in the ControlNet's set
EDGES = (100, 200)  # the thresholds of `sdgen canny`


@dataclass
class Set:
    """What an adapter learns from, row by row."""

    latents: Tensor  # [n, C, h, w]
    scenes: list[Scene]
    edges: Tensor | None = None  # uint8 [n, 1, H, W]


def ink(picture: np.ndarray) -> np.ndarray:
    """float32 [H, W, 3] in 0..1 as a print: dark greys on paper."""
    grey = picture @ np.asarray([0.299, 0.587, 0.114], np.float32)
    tone = np.clip((grey - grey.min()) / max(float(np.ptp(grey)), 1e-3), 0, 1)[..., None]
    return tone * np.asarray([0.96, 0.93, 0.86], np.float32) + (1 - tone) * np.asarray([0.08, 0.08, 0.12], np.float32)


def outline(picture: np.ndarray) -> np.ndarray:
    return cv2.Canny(np.rint(picture * 255).astype(np.uint8), *EDGES)


@torch.no_grad()
def build_set(pipe: StableDiffusionPipeline, things: int, renderer: Renderer, rng: np.random.Generator, controlled: bool) -> Set:
    pictures, edges, scenes = [], [], []
    for thing in range(things):
        for _ in range(PLACES if controlled else 1):
            colour = int(rng.integers(len(COLOURS)))
            edge = int(rng.integers(*ALONE[None]))
            x, y = rng.uniform(edge / 2, PICTURE - edge / 2, 2) if controlled else (PICTURE / 2, PICTURE / 2)
            scenes.append(Scene((Item(thing, edge, x, y),), colour))
            picture = renderer(scenes[-1])
            pictures.append(picture if controlled else ink(picture))
            edges.append(outline(picture))
    inputs = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) * 2 - 1
    latents = [pipe.vae.encode(part).latent_dist.mean * pipe.vae.config.scaling_factor for part in inputs.split(32)]
    return Set(torch.cat(latents), scenes, torch.from_numpy(np.stack(edges))[:, None] if controlled else None)


class Batches:
    """Noisy latents with their conditioning, and what the network is to say about them."""

    def __init__(self, pipe: StableDiffusionPipeline, concepts: list[Concept], data: Set, rng: np.random.Generator) -> None:
        self.pipe, self.concepts, self.data, self.rng = pipe, concepts, data, rng
        bars = pipe.scheduler.alphas_cumprod
        self.alpha, self.sigma = bars.sqrt(), (1 - bars).sqrt()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]]:
        while True:
            rows = self.rng.integers(len(self.data.scenes), size=BATCH)
            x0 = self.data.latents[rows]
            t = torch.from_numpy(self.rng.integers(len(self.alpha), size=BATCH))
            noise = torch.randn(x0.shape)
            alpha, sigma = self.alpha[t].view(-1, 1, 1, 1), self.sigma[t].view(-1, 1, 1, 1)
            texts = [caption(self.data.scenes[row], self.concepts, self.rng) for row in rows]
            with torch.no_grad():
                context, _ = self.pipe.encode_prompt(texts, "cpu", 1, False)
            edges = None if self.data.edges is None else self.data.edges[rows].expand(-1, 3, -1, -1).float() / 255
            yield alpha * x0 + sigma * noise, t, context, alpha * noise - sigma * x0, edges


def train(name: str, parameters: list[nn.Parameter], batches: Batches, answer: Callable[..., Tensor], rate: float, steps: int) -> None:
    """Adam on the squared error of v."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    mean = 0.0
    for step, (noisy, t, context, wanted, edges) in enumerate(islice(batches, steps)):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, step / 50) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
        loss = functional.mse_loss(answer(noisy, t, context, edges), wanted)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 49:
            print(f"{name}: {step + 1} steps, loss {mean:.4f}", flush=True)


def train_lora(pipe: StableDiffusionPipeline, batches: Batches, steps: int, file: Path) -> None:
    layers = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
    unet = copy.deepcopy(pipe.unet).requires_grad_(False)
    unet.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=layers))
    trained = [p for p in unet.parameters() if p.requires_grad]
    train("lora", trained, batches, lambda x, t, context, _: unet(x, t, context).sample, 1e-3, steps)
    found = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(
        file.parent, {name: value.half() for name, value in found.items()}, weight_name=file.name, safe_serialization=True
    )


def train_controlnet(pipe: StableDiffusionPipeline, batches: Batches, steps: int, folder: Path) -> None:
    levels = (16, 32, 64, 96, 128)  # halved four times: a latent is 16 pixels
    net = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=levels)
    pipe.unet.requires_grad_(False)

    def answer(x: Tensor, t: Tensor, context: Tensor, edges: Tensor) -> Tensor:
        down, mid = net(x, t, context, controlnet_cond=edges, return_dict=False)
        return pipe.unet(x, t, context, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample

    train("controlnet", list(net.parameters()), batches, answer, 5e-4, steps)
    net.half().save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "default")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "adapters")
    parser.add_argument("--steps-lora", type=int, default=1000)
    parser.add_argument("--steps-controlnet", type=int, default=900)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    concepts = load_concepts()
    renderer = Renderer(concepts)
    args.out.mkdir(parents=True, exist_ok=True)
    pipe = load_pipeline(args.model, torch.device("cpu"))
    if args.steps_lora > 0:
        data = build_set(pipe, len(concepts), renderer, rng, controlled=False)
        train_lora(pipe, Batches(pipe, concepts, data, rng), args.steps_lora, args.out / "ink.safetensors")
    if args.steps_controlnet > 0:
        data = build_set(pipe, len(concepts), renderer, rng, controlled=True)
        train_controlnet(pipe, Batches(pipe, concepts, data, rng), args.steps_controlnet, args.out / "outline")


if __name__ == "__main__":
    main()
