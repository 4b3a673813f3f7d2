"""One comparison of the parity run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .pictures import PictureRequest


@dataclass(frozen=True)
class ParityCase:
    """One run of sdgen, or a line of one: `images` pictures of one request, seeds counting up, `batch_size` in a network
    call."""

    name: str
    model: str
    request: PictureRequest
    images: int = 1
    batch_size: int = 1
    form: str = "folder"  # or a single file's, see original_layout.py
    needs: str | None = None  # a scheduler that sdgen must list, for a model whose own it is; else the case is left out
    always: bool = False  # in every sample

    @property
    def place(self) -> str:
        """Where the model is, for ModelStore."""
        return f"{self.model}@{self.form}"

    @property
    def label(self) -> str:
        return f"{self.model}/{self.name}" if self.form == "folder" else f"{self.model}/{self.form}-{self.name}"

    def requests(self) -> list[PictureRequest]:
        return [replace(self.request, seed=self.request.seed + index) for index in range(self.images)]
