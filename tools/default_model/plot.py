"""The training's logs as one figure: the autoencoder's signal-to-noise ratio, the loss of v, the grade, over minutes."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

from .fit import read_log

GRADES = {"one": "one thing", "aside": "of a size or at a side", "two": "two things", "colour": "background"}


def plot(folder: Path, path: Path) -> None:
    """Draws the logs in `folder` into a PNG."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    rows = read_log(folder / "autoencoder.csv")
    axes[0].plot([row["minutes"] for row in rows], [row["psnr"] for row in rows])
    axes[0].set(title="autoencoder: training pictures", ylabel="PSNR, dB")
    rows = read_log(folder / "networks.csv")
    axes[1].semilogy([row["minutes"] for row in rows], [row["loss"] for row in rows])
    axes[1].set(title="text encoder and U-Net", ylabel="mean squared error of v")
    graded = [row for row in rows if "one" in row]
    for key, label in GRADES.items():
        axes[2].plot([row["minutes"] for row in graded], [100 * row[key] for row in graded], marker=".", label=label)
    axes[2].set(title="grade of every sixteenth prompt", ylabel="% right", ylim=(0, 101))
    axes[2].legend()
    for axis in axes:
        axis.set_xlabel("minutes")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=90)
    plt.close(figure)
    Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
