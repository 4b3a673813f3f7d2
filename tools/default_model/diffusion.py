"""The text encoder and the UNet, trained together on cached latents to predict v."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from .autoencoder import CHANNELS, LATENT, encode_pictures
from .captions import caption
from .concepts import Concept
from .fit import FitOptions, autocast, fit
from .fused import fuse
from .naming import Naming, named_by, train_names
from .render import Renderer
from .scenes import PICTURE, Scene, random_scene
from .tokens import END, LENGTH, PAD, Tokens

WIDTH = 192  # of the text encoder
# Edges of the training's pictures in pixels, and their parts of the batches; a batch has pictures of one size
SHARES = {PICTURE: 0.84, 96: 0.08, 192: 0.08}
BATCH = 128  # pictures of the native size in a batch; of others as many as have as many pixels, but no more than this
POOL_START, POOL_MAX = 54_000, 180_000  # pictures in all latent pools
POOL_GROWTH = 5  # pictures added per step
ENCODED_AT_ONCE = 48
NAMING = 0.02  # weight of what the text encoder is asked beside the UNet's error
# Times above 400, where the text alone decides what is drawn, are learned from twice as densely as those below at first. (Weights by
# signal-to-noise ratio, as min-SNR has them, do the opposite: with them the pictures had colours, and no shapes.)
# At the end details count as much: the part of the noisy times falls.
NOISY, NOISY_PART = 400, (0.75, 0.5)
NOISE = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.02}


def build_text_encoder(vocabulary: int) -> CLIPTextModel:
    """An untrained text encoder, 2 layers deep."""
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=3,
        max_position_embeddings=LENGTH,
        hidden_act="quick_gelu",
        pad_token_id=PAD,
        bos_token_id=END,
        eos_token_id=END,
    )
    config._attn_implementation = "eager"  # faster to train than the fused kernel, as in fused.py
    return CLIPTextModel(config)


def build_unet() -> UNet2DConditionModel:
    """An untrained UNet on 8x8 and 4x4, with a transformer at both sizes."""
    return UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(96, 192),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        mid_block_type="UNetMidBlock2DCrossAttn",
        layers_per_block=1,
        transformer_layers_per_block=1,
        attention_head_dim=(3, 3),  # the number of heads, whatever it is called
        use_linear_projection=True,
        cross_attention_dim=WIDTH,
    )


class Networks(nn.Module):
    """What learns to draw: text encoder and UNet, saved and averaged as one, and the classifiers beside the encoder."""

    def __init__(self, vocabulary: int, concepts: int) -> None:
        super().__init__()
        self.text_encoder = build_text_encoder(vocabulary)
        self.unet = build_unet()
        self.naming = Naming(WIDTH, concepts)

    def forward(self, noisy: Tensor, times: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """v of noisy latents [n, CHANNELS, h, w] at times [n] for token ids [n, LENGTH], and the states of the text."""
        states = self.text_encoder(ids).last_hidden_state
        return self.unet(noisy, times, states).sample, states


class LatentPool:
    """Latents of rendered pictures of one size, to be captioned anew each time. Grows while training goes on.

    The latents lie in `folder`/latents-SIZE.f16, so that a resumed run need not encode them again.
    """

    def __init__(
        self,
        renderer: Renderer,
        concepts: list[Concept],
        autoencoder: AutoencoderKL,
        device: torch.device,
        seed: int,
        folder: Path,
        size: int = PICTURE,
    ) -> None:
        self.renderer, self.concepts, self.autoencoder = renderer, concepts, autoencoder
        self.device, self.seed, self.size = device, seed, size
        path = folder / f"latents-{size}.f16"
        self.count_file = path.with_suffix(".json")
        count = json.loads(self.count_file.read_text()) if self.count_file.exists() else 0
        edge = size * LATENT // PICTURE
        shape = (int(POOL_MAX * SHARES[size]), CHANNELS, edge, edge)
        self.latents = np.memmap(path, np.float16, "r+" if path.exists() else "w+", shape=shape)
        self.scenes = [self.scene(index) for index in range(count)]

    def scene(self, index: int) -> Scene:
        """What is in picture `index`; things take turns, all else is random."""
        rng = np.random.default_rng((self.seed, 2, self.size, index))
        return random_scene(index % len(self.concepts), len(self.concepts), rng)

    def encode(self, scenes: list[Scene]) -> Tensor:
        """Latents [n, CHANNELS, h, w] of the scenes."""
        pictures = torch.from_numpy(np.stack([self.renderer(scene, size=self.size) for scene in scenes]))
        return encode_pictures(self.autoencoder, pictures.permute(0, 3, 1, 2) * 2 - 1, self.device)

    def grow(self, count: int) -> None:
        """Adds pictures up to `count` of them."""
        while (start := len(self.scenes)) < count:
            made = [self.scene(index) for index in range(start, min(start + ENCODED_AT_ONCE, count))]
            self.latents[start : start + len(made)] = self.encode(made).numpy().astype(np.float16)
            self.scenes += made

    def save(self) -> None:
        """Notes how many latents are there, for a later run."""
        self.latents.flush()
        self.count_file.write_text(json.dumps(len(self.scenes)))

    def batch(self, step: int, rng: np.random.Generator) -> tuple[Tensor, list[str], Tensor]:
        """Random latents [n, CHANNELS, h, w], captions, and what they name, from a pool that has a size for every step."""
        wanted = int((POOL_START + POOL_GROWTH * step) * SHARES[self.size])
        # some at once, so that growing by a few is cheap
        size = min(-(-wanted // ENCODED_AT_ONCE) * ENCODED_AT_ONCE, len(self.latents))
        self.grow(size)
        rows = rng.integers(size, size=min(BATCH, BATCH * PICTURE**2 // self.size**2))
        captions = [caption(self.scenes[row], self.concepts, rng) for row in rows]
        named = named_by([self.scenes[row] for row in rows], captions, len(self.concepts))
        return torch.from_numpy(self.latents[rows].astype(np.float32)), captions, named


def random_times(count: int, fraction: float, rng: np.random.Generator) -> Tensor:
    """Times [count] int64 after a fraction of the training, one from each of `count` equal parts of their distribution: a steadier
    loss."""
    u = (np.arange(count) + rng.random(count)) / count
    part = NOISY_PART[0] + fraction * (NOISY_PART[1] - NOISY_PART[0])
    times = np.where(u < part, NOISY + u / part * (1000 - NOISY), (u - part) / (1 - part) * NOISY)
    return torch.from_numpy(times).long()


def train_networks(
    pools: dict[int, LatentPool],
    tokens: Tokens,
    device: torch.device,
    seed: int,
    naming_options: FitOptions,
    options: FitOptions,
    folder: Path,
    grade: Callable[[Networks], dict[str, float]],
    start: dict[str, Tensor] | None = None,
) -> tuple[Networks, dict[str, float]]:
    """Trains (or resumes) the text encoder alone, then it and the UNet on a pool for each size; from `start`'s parameters where
    they are given. `grade`'s figures join the log at every checkpoint.

    Returns:
        The networks with their EMA parameters, and `fit`'s summary.
    """
    torch.manual_seed(seed)
    net = Networks(tokens.processor.vocab_size(), len(pools[PICTURE].concepts))
    if start:
        wrong = net.load_state_dict(start, strict=False)
        if unknown := [*wrong.unexpected_keys, *(key for key in wrong.missing_keys if not key.startswith("naming."))]:
            raise ValueError(f"the model to start with has other parameters: {unknown[:3]} ...")
    train_names(net.text_encoder, net.naming, tokens, pools[PICTURE].concepts, naming_options, folder, device, seed)
    if device.type == "cpu":
        fuse(net.unet)
    net.to(device, memory_format=torch.channels_last)
    if options.fraction(0, 0.0) < 1:  # not in the first steps' time
        for pool in pools.values():
            pool.grow(int(POOL_START * SHARES[pool.size]))
            pool.save()
    schedule = DDPMScheduler(prediction_type="v_prediction", **NOISE)

    def step_loss(step: int, fraction: float) -> dict[str, Tensor | float]:
        rng = np.random.default_rng((seed, 4, step))
        pool = pools[int(rng.choice(list(SHARES), p=list(SHARES.values())))]
        clean, captions, named = pool.batch(step, rng)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
        times = random_times(len(clean), fraction, rng)
        noisy = schedule.add_noise(clean, noise, times).to(device, memory_format=torch.channels_last)
        target = schedule.get_velocity(clean, noise, times).to(device)
        ids = tokens(captions).to(device)
        with autocast(device):
            made, states = net(noisy, times.to(device), ids)
        error = F.mse_loss(made.float(), target)
        names, right = net.naming(states, ids, named.to(device))
        return {"loss": error + NAMING * names, "error": error, "names": names, "right": right, "samples": len(clean)}

    def at_checkpoint(step: int) -> dict[str, float]:
        for pool in pools.values():
            pool.save()
        return grade(net.eval())

    summary = fit("networks", net, step_loss, options, folder, at_checkpoint)
    return net.eval().requires_grad_(False), summary
