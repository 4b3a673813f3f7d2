"""The models of the parity run: one for every form of folder and every way of a scheduler config."""

from __future__ import annotations

from .chroma import CHROMA, CHROMA_FILES, ChromaSpec
from .dit import DIT, DiTSpec
from .families import FAMILIES
from .flux import FLUX, FLUX_FILES, FLUX_STEERED, FluxSpec
from .flux2 import FLUX2, FLUX2_FILES, Flux2Spec
from .lumina2 import LUMINA2, LUMINA2_FILES, Lumina2Spec
from .pixart import PIXART, PIXART_FILES, PixArtSpec
from .qwen_image import QWEN_IMAGE, QWEN_IMAGE_FILES, QwenImageSpec
from .schedulers import SCHEDULERS, with_keys
from .sd3 import SD3, SD3_FILES, SD3_STEERED, Sd3Spec
from .tiny import OLD_SCHEDULER, SD15_SCHEDULER, ModelSpec
from .unconditional import UNCONDITIONAL, UnconditionalSpec
from .z_image import Z_IMAGE, Z_IMAGE_FILES, ZImageSpec

_FORCED = ("steps_offset", "clip_sample", "set_alpha_to_one")

# As Stable Diffusion 2.1 says it.
_SD2_SCHEDULER = {
    **{key: value for key, value in SD15_SCHEDULER.items() if key != "skip_prk_steps"},
    "_class_name": "DDIMScheduler",
    "prediction_type": "v_prediction",
}

_DPM_SCHEDULER = {
    "_class_name": "DPMSolverMultistepScheduler",
    "algorithm_type": "dpmsolver++",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "solver_order": 2,
}

_BETAS = {key: OLD_SCHEDULER[key] for key in ("beta_start", "beta_end", "beta_schedule")}
# Folders saved with other schedulers, and with keys that no flag sets: their own scheduler_config.json decides.
SCHEDULER_MODELS = {
    "pndm": {"_class_name": "PNDMScheduler"},
    "dpm-order-3": {"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3, "solver_type": "heun"},
    "dpm-noise": {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver",
                  "final_sigmas_type": "sigma_min", "use_lu_lambdas": True},
    "dpm-single-3": {"_class_name": "DPMSolverSinglestepScheduler", "solver_order": 3, "lower_order_final": True},
    "unipc-3": {"_class_name": "UniPCMultistepScheduler", "solver_order": 3, "solver_type": "bh1",
                "final_sigmas_type": "sigma_min", "disable_corrector": [0]},
    "euler-range": {"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True, "sigma_min": 0.002,
                    "sigma_max": 80.0, "timestep_type": "continuous", "prediction_type": "v_prediction"},
    "heun-clip": {"_class_name": "HeunDiscreteScheduler", "clip_sample_range": 2.0, "use_beta_sigmas": True},
    **{f"{name}-3": {"_class_name": SCHEDULERS[name][0], "solver_order": 3, "use_exponential_sigmas": True}
       for name in with_keys("solver_order", without="final_sigmas_type")},
}  # fmt: skip

MODELS: tuple[
    ModelSpec | UnconditionalSpec | Sd3Spec | FluxSpec | PixArtSpec | DiTSpec | ZImageSpec | Lumina2Spec | QwenImageSpec | Flux2Spec | ChromaSpec, ...
] = (
    ModelSpec("sd1"),
    # Stable Diffusion 2: v-prediction, linear projections, heads a block, gelu.
    ModelSpec("sd2-v", 10, _SD2_SCHEDULER, text={"hidden_act": "gelu"},
              unet={"use_linear_projection": True, "attention_head_dim": (1, 4)}),
    ModelSpec("sample", 20, {**_SD2_SCHEDULER, "prediction_type": "sample"}),
    # VAE factor 8 and a UNet of three blocks: 40 pixels are 5 latents, which do not halve evenly.
    ModelSpec("deep", 30,
              unet={"block_out_channels": (8, 8, 16), "layers_per_block": (1, 2, 1), "sample_size": 6,
                    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
                    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")},
              vae={"block_out_channels": (8, 8, 8, 12), "down_block_types": ("DownEncoderBlock2D",) * 4,
                   "up_block_types": ("UpDecoderBlock2D",) * 4}),
    # The embedded model's form: SentencePiece tokenizer, DPM++ 2M with v-prediction.
    ModelSpec("sentencepiece", 40, _DPM_SCHEDULER, "sentencepiece", text={"max_position_embeddings": 32}),
    # transformers 5's form: tokenizer.json alone, text encoder keys without prefix.
    ModelSpec("tokenizer-json", 50, tokenizer="clip-json", text_prefix=False),
    ModelSpec("fp16", 60, variant="fp16"),
    ModelSpec("sharded", 70, shard_size="100KB"),
    ModelSpec("sharded-fp16", 80, variant="fp16", shard_size="60KB"),
    # Scheduler configs that the pipeline corrects: keys that are there but outdated, and keys that are absent. The
    # correction of an absent key counts for the model's own scheduler only: from_config drops keys that the folder did
    # not have.
    ModelSpec("outdated-config", 90, OLD_SCHEDULER),
    ModelSpec("bare-config", 100, {key: value for key, value in OLD_SCHEDULER.items() if key not in _FORCED}),
    ModelSpec("bare-pndm", 110, {key: value for key, value in SD15_SCHEDULER.items() if key not in _FORCED}),
    # Keys that the assigned class must take over.
    ModelSpec("thresholding", 120, {**OLD_SCHEDULER, "_class_name": "DDPMScheduler", "thresholding": True,
                                    "dynamic_thresholding_ratio": 0.9, "sample_max_value": 3.0}),
    ModelSpec("clip-range", 130, {**{key: value for key, value in SD15_SCHEDULER.items() if key != "clip_sample"},
                                  "clip_sample_range": 2.0, "set_alpha_to_one": True, "timestep_spacing": "trailing"}),
    ModelSpec("zero-snr", 140, {**_SD2_SCHEDULER, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
    ModelSpec("cosine", 150, {**SD15_SCHEDULER, "beta_schedule": "squaredcos_cap_v2", "_class_name": "DDIMScheduler"}),
    *(ModelSpec(name, 500 + 10 * index, {**_BETAS, **keys})
      for index, (name, keys) in enumerate(SCHEDULER_MODELS.items())),
    *FAMILIES,
    *UNCONDITIONAL,
    *SD3,
    *SD3_FILES,
    *SD3_STEERED,
    *FLUX,
    *FLUX_FILES,
    *FLUX_STEERED,
    *FLUX2,
    *FLUX2_FILES,
    *CHROMA,
    *CHROMA_FILES,
    *PIXART,
    *PIXART_FILES,
    *Z_IMAGE,
    *Z_IMAGE_FILES,
    *QWEN_IMAGE,
    *QWEN_IMAGE_FILES,
    *LUMINA2,
    *LUMINA2_FILES,
    *DIT,
)  # fmt: skip
