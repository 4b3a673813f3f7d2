"""Writes a full-size random model: real architecture, configs and tokenizers, values that mean nothing.

    python tools/make_random_model.py MODEL OUT [--layout folder|single|gguf] [--dtype float16] [--encoding Q8_0] [--seed N]

For measuring loading, memory and speed, and for full_size_parity.py. OUT is a diffusers folder, or with --layout single
a .safetensors in the original layout that holds the same values (not of transformers; their T5 has 2 of its 24 layers).
MODEL is sd15, sd21, sdxl, refiner, sd35-medium, sd35-large, pixart-sigma, flux-dev (2 layers of each kind), flux-dev-whole, flux2-klein
(the same), flux2-klein-whole or another that --help lists. With --layout gguf, OUT is a whole sd15 or sdxl in the original layout, the
transformer alone, or a whole T5 or Qwen3 (t5xxl, qwen3-4b), written a tensor at a time. In float16 SD 1.5 takes 2.1 GB, SDXL 6.9 GB; memory: the
largest component, once. The values are scaled so that activations stay finite and pictures are not flat.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

from reference.encoding_fixtures import FACTORS
from reference.full_size import FULL_SIZE
from reference.full_size_gguf import GGUF_MODELS, write_gguf
from reference.full_size_transformers import TRANSFORMER_MODELS, write_model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=tuple(dict.fromkeys((*FULL_SIZE, *TRANSFORMER_MODELS, *GGUF_MODELS))))
    parser.add_argument("out", type=Path)
    parser.add_argument("--layout", choices=("folder", "single", "gguf"), default="folder")
    parser.add_argument("--dtype", choices=("float16", "float32", "bfloat16"), default="float16")
    parser.add_argument("--encoding", choices=tuple(FACTORS), default="Q8_0", help="of gguf's blocks (default: Q8_0)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out} is there already")
    if args.layout == "gguf":
        if args.model not in GGUF_MODELS:
            parser.error(f"{args.model} has no GGUF layout here")
        write_gguf(args.out, args.model, args.encoding, args.seed)
        return 0
    if args.model not in (*FULL_SIZE, *TRANSFORMER_MODELS):
        parser.error(f"{args.model} has no layout but gguf here")
    if args.layout == "single" and args.model in TRANSFORMER_MODELS:
        parser.error(f"{args.model} has no single-file layout here")
    with torch.no_grad():
        write_model(args.out, args.model, args.layout, args.seed, getattr(torch, args.dtype))
    return 0


if __name__ == "__main__":
    sys.exit(main())
