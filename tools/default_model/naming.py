"""What a caption says, read off the text encoder's last state: it learns the names before, and beside, the pictures.

A UNet teaches a text encoder slowly, through noise. Taught directly what things, colours, sizes and places captions name, in two
minutes of captions without pictures, the encoder knows all names in both languages when the UNet begins.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel

from .captions import caption
from .concepts import COLOURS, Concept
from .fit import FitOptions, autocast, fit
from .scenes import PLACES, SIZES, Scene, random_scene
from .tokens import END, Tokens

CAPTIONS = 512  # in a batch


def answers(scene: Scene, concepts: int) -> list[int]:
    """What is asked of a caption, as indices: first and second thing (none: `concepts`), colour, the first's size and place, and
    whether one is above the other."""
    first, second = scene.items[0], scene.items[1].concept if len(scene.items) == 2 else concepts
    size = (None, *SIZES).index(first.size)
    place = (None, *PLACES).index(first.place)
    return [first.concept, second, scene.colour, size, place, int(scene.column)]


def named_by(scenes: list[Scene], captions: list[str], concepts: int) -> Tensor:
    """`answers` [n, 6] of scenes with captions, -1 where these are empty."""
    rows = [answers(scene, concepts) if text else [-1] * 6 for scene, text in zip(scenes, captions, strict=True)]
    return torch.tensor(rows)


class Naming(nn.Module):
    """Linear classifiers on the state [n, width] at the end token."""

    def __init__(self, width: int, concepts: int) -> None:
        super().__init__()
        self.counts = [concepts, concepts + 1, len(COLOURS), 1 + len(SIZES), 1 + len(PLACES), 2]
        self.heads = nn.Linear(width, sum(self.counts))

    def forward(self, states: Tensor, ids: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross entropy over what captions are asked, and the part of first things that are named.

        Args:
            states: the text encoder's last, [n, LENGTH, width].
            ids: tokens [n, LENGTH].
            wanted: `answers` [n, 6]; rows of -1 do not count.
        """
        last = states[torch.arange(len(ids)), (ids == END).int().argmax(1)]
        parts = self.heads(last.float()).split(self.counts, -1)
        losses = [F.cross_entropy(part, answer, ignore_index=-1) for part, answer in zip(parts, wanted.T, strict=True)]
        asked = wanted[:, 0] >= 0
        return torch.stack(losses).mean(), (parts[0].argmax(-1) == wanted[:, 0])[asked].float().mean()


def train_names(
    text_encoder: CLIPTextModel,
    naming: Naming,
    tokens: Tokens,
    concepts: list[Concept],
    options: FitOptions,
    folder: Path,
    device: torch.device,
    seed: int,
) -> dict[str, float]:
    """Trains (or resumes) the text encoder and the classifiers on captions alone; `fit`'s summary."""
    net = nn.ModuleDict({"text_encoder": text_encoder, "naming": naming}).to(device)

    def step_loss(step: int, fraction: float) -> dict[str, Tensor | float]:
        rng = np.random.default_rng((seed, 6, step))
        scenes = [random_scene(int(rng.integers(len(concepts))), len(concepts), rng) for _ in range(CAPTIONS)]
        texts = [caption(scene, concepts, rng) for scene in scenes]
        named = named_by(scenes, texts, len(concepts)).to(device)
        ids = tokens(texts).to(device)
        with autocast(device):
            states = text_encoder(ids).last_hidden_state
        loss, right = naming(states, ids, named)
        return {"loss": loss, "right": right, "samples": CAPTIONS}

    return fit("names", net, step_loss, options, folder)
