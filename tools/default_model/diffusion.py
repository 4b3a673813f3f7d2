"""The text encoder and the UNet, trained together on cached latents to predict v."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from .autoencoder import encode_pictures
from .captions import caption
from .concepts import COLOURS, WHITE, Concept
from .fit import FitOptions, autocast, fit, save_atomic
from .render import Renderer
from .tokens import END, LENGTH, PAD, Tokens

WIDTH = 256  # of the text encoder
BATCH = 64
POOL_START, POOL_MAX = 2_520, 40_000  # pictures in the latent pool
# background, and whether the caption leaves it out: every colour once, white twice more for captions without colour
GROUNDS = [(colour, False) for colour in range(len(COLOURS))] + 2 * [(WHITE, True)]
POOL_GROWTH = 10  # pictures added per step
ENCODED_AT_ONCE = 32
NOISE = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.02}


def build_text_encoder(vocabulary: int) -> CLIPTextModel:
    """An untrained text encoder, 2 layers deep."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            hidden_act="quick_gelu",
            pad_token_id=PAD,
            bos_token_id=END,
            eos_token_id=END,
        )
    )


def build_unet() -> UNet2DConditionModel:
    """An untrained UNet on 8x8 and 4x4, with transformers of heads 64 wide at both sizes."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        block_out_channels=(128, 128),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        mid_block_type="UNetMidBlock2DCrossAttn",
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 2),  # the number of heads, whatever it is called
        use_linear_projection=True,
        cross_attention_dim=WIDTH,
    )


class Networks(nn.Module):
    """What learns to draw: text encoder and UNet, saved and averaged as one."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.text_encoder = build_text_encoder(vocabulary)
        self.unet = build_unet()

    def forward(self, noisy: Tensor, times: Tensor, ids: Tensor) -> Tensor:
        """v of noisy latents [n, 16, 8, 8] at times [n] for token ids [n, LENGTH]."""
        return self.unet(noisy, times, self.text_encoder(ids).last_hidden_state).sample


class LatentPool:
    """Latents of rendered pictures, with what it takes to caption them anew each time. Grows while training goes on."""

    def __init__(
        self, renderer: Renderer, concepts: list[Concept], autoencoder: AutoencoderKL, device: torch.device, seed: int
    ) -> None:
        self.renderer, self.concepts, self.autoencoder = renderer, concepts, autoencoder
        self.device, self.seed = device, seed
        self.latents = torch.empty(POOL_MAX, 16, 8, 8)
        self.facts: list[tuple[int, int, bool]] = []  # concept, colour, caption without colour

    def render(self, index: int) -> tuple[Tensor, tuple[int, int, bool]]:
        """Picture `index` as [3, 128, 128] in -1..1; concepts and backgrounds take turns, size and place are random."""
        rng = np.random.default_rng((self.seed, 2, index))
        ground, concept = divmod(index, len(self.concepts))
        colour, plain = GROUNDS[ground % len(GROUNDS)]
        picture = self.renderer(self.renderer.draw_at_random(concept, colour, rng))
        return torch.from_numpy(picture).permute(2, 0, 1) * 2 - 1, (concept, colour, plain)

    def grow(self, count: int) -> None:
        """Adds `count` pictures, as far as there is room."""
        last = min(len(self.facts) + count, POOL_MAX)
        while (start := len(self.facts)) < last:
            made = [self.render(index) for index in range(start, min(start + ENCODED_AT_ONCE, last))]
            latents = encode_pictures(self.autoencoder, torch.stack([picture for picture, _ in made]), self.device)
            self.latents[start : start + len(made)] = latents
            self.facts += [fact for _, fact in made]

    def save(self, path: Path) -> None:
        """Writes the pool, so that a resumed run need not encode it again."""
        save_atomic({"latents": self.latents[: len(self.facts)].half(), "facts": self.facts}, path)

    def load(self, path: Path) -> None:
        """Reads what `save` wrote."""
        saved = torch.load(path, map_location="cpu", weights_only=True)
        self.latents[: len(saved["facts"])] = saved["latents"].float()
        self.facts = [tuple(fact) for fact in saved["facts"]]

    def batch(self, count: int, step: int, rng: np.random.Generator) -> tuple[Tensor, list[str]]:
        """Random latents [count, 16, 8, 8] and captions, from what the steps before this one left in the pool."""
        rows = rng.integers(min(len(self.facts), POOL_START + POOL_GROWTH * step), size=count)
        captions = []
        for row in rows:
            concept, colour, plain = self.facts[row]
            captions.append(caption(self.concepts[concept], colour, plain, rng))
        return self.latents[torch.from_numpy(rows)], captions


def train_networks(
    pool: LatentPool, tokens: Tokens, options: FitOptions, folder: Path
) -> tuple[Networks, dict[str, float]]:
    """Trains (or resumes) text encoder and UNet.

    Returns:
        The networks with their EMA parameters, and `fit`'s summary.
    """
    torch.manual_seed(pool.seed)
    net = Networks(tokens.processor.vocab_size()).to(pool.device)
    schedule = DDPMScheduler(prediction_type="v_prediction", **NOISE)
    device = pool.device

    part = BATCH // options.workers

    def step_loss(step: int, fraction: float, worker: int) -> dict[str, Tensor | float]:
        rng = np.random.default_rng((pool.seed, 4, step, worker))
        clean, captions = pool.batch(part, step, rng)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
        # one time from each of `part` equal ranges: a steadier loss than independent draws
        times = torch.from_numpy((np.arange(part) + rng.random(part)) * (1000 / part)).long()
        noisy = schedule.add_noise(clean, noise, times).to(device)
        target = schedule.get_velocity(clean, noise, times).to(device)
        with autocast(device):
            made = net(noisy, times.to(device), tokens(captions).to(device))
        if worker == 0:
            pool.grow(POOL_GROWTH)
        return {"loss": F.mse_loss(made.float(), target), "pool": len(pool.facts), "samples": part}

    summary = fit("networks", net, step_loss, options, folder)
    return net.eval().requires_grad_(False), summary
