"""compel's embeddings beside ours where both mean the same: prompts without weights, of any length. Its weights are
another idea (a blend with the prompt without the words), and so are its places to cut: here it cuts when a chunk is
full, as A1111 does where no comma is near."""

from __future__ import annotations

import torch
from diffusers import DiffusionPipeline

from .parity_run import Outcome
from .weighted_prompts import NO_COMMAS, embed

COMPEL_MODELS = ("sd15", "sd21", "sdxl")
TOLERANCE = 1e-5


def check_compel(label: str, pipe: DiffusionPipeline) -> list[Outcome]:
    from compel import Compel, ReturnedEmbeddingsType
    from compel.embeddings_provider import SplitLongTextMode

    xl = hasattr(pipe, "tokenizer_2")
    kinds = ReturnedEmbeddingsType
    options = {"truncate_long_prompts": False, "split_long_text_mode": SplitLongTextMode.BRUTAL}
    if xl:
        options |= {"requires_pooled": [False, True], "tokenizer": [pipe.tokenizer, pipe.tokenizer_2],
                    "text_encoder": [pipe.text_encoder, pipe.text_encoder_2],
                    "returned_embeddings_type": kinds.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED}  # fmt: skip
    else:
        options |= {"tokenizer": pipe.tokenizer, "text_encoder": pipe.text_encoder,
                    "returned_embeddings_type": kinds.LAST_HIDDEN_STATES_NORMALIZED}  # fmt: skip
    compel, outcomes = Compel(**options), []
    for name, prompt in (("short", "a red fox in the snow"), ("long", NO_COMMAS.strip()), ("empty", "")):
        outcome = Outcome(f"{label}/compel-{name}")
        with torch.no_grad():
            theirs = compel([prompt])
            theirs, pooled = theirs if xl else (theirs, None)
            ours, our_pooled = embed(pipe, [(prompt, 1.0)], 0)
        if ours.shape != theirs.shape:
            outcome.error = f"compel's context is {list(theirs.shape)}, ours {list(ours.shape)}"
        elif (ours - theirs).abs().max() > TOLERANCE:
            outcome.error = f"compel's context differs by {float((ours - theirs).abs().max()):.2g}"
        elif pooled is not None and (our_pooled - pooled).abs().max() > TOLERANCE:
            outcome.error = f"compel's pooled vector differs by {float((our_pooled - pooled).abs().max()):.2g}"
        outcomes.append(outcome)
    return outcomes
