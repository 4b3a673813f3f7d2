"""Tiny models of every released family, with the families' own block structure, conditioning and scheduler configs.

The FULL ones also obey the rules by which single files are read, where no config says the numbers: SD 1 has 8 heads a
level, all others 64 channels a head, text encoders too; groups of 32; CLIP's own vocabulary and 77 positions; size ids
of 256 sines; OpenCLIP's first layers numbered past 9 (diffusers knows SDXL by that key) and SD 2's at 24, of which the
last is not used. The SMALL ones break these rules: folders say everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .taesd import TINY_VAE
from .tiny import SD15_SCHEDULER, ModelSpec

# scheduler_config.json of Stable Diffusion 2.1 (768-v), key by key.
SD21_SCHEDULER: Mapping[str, Any] = {
    **SD15_SCHEDULER, "_class_name": "DDIMScheduler", "_diffusers_version": "0.8.0", "prediction_type": "v_prediction",
}  # fmt: skip
SD21_BASE_SCHEDULER: Mapping[str, Any] = {**SD15_SCHEDULER, "prediction_type": "epsilon"}  # PNDM

# Of SDXL base 1.0 and of the refiner, keys included that EulerDiscreteScheduler does not have.
SDXL_SCHEDULER: Mapping[str, Any] = {
    "_class_name": "EulerDiscreteScheduler",
    "_diffusers_version": "0.19.0.dev0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
TURBO_SCHEDULER: Mapping[str, Any] = {
    **SDXL_SCHEDULER, "_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing",
}  # fmt: skip
LCM_SCHEDULER: Mapping[str, Any] = {
    **{key: value for key, value in SDXL_SCHEDULER.items() if key not in ("interpolation_type", "use_karras_sigmas")},
    "_class_name": "LCMScheduler",
    "clip_sample_range": 1.0,
    "dynamic_thresholding_ratio": 0.995,
    "original_inference_steps": 50,
    "rescale_betas_zero_snr": False,
    "thresholding": False,
    "timestep_scaling": 10.0,
}
# What v_pred and ztsnr keys in a single file mean, said to the scheduler that SDXL's files get anyway: a zero terminal
# SNR wants the first step to be at the last time (Lin et al., 2023, section 3.3).
SDXL_V_SCHEDULER: Mapping[str, Any] = {
    **SDXL_SCHEDULER, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
}  # fmt: skip

FULL_VAE: Mapping[str, Any] = {
    "block_out_channels": (32, 32, 64, 64), "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4, "layers_per_block": 2, "norm_num_groups": 32, "sample_size": 64,
}  # fmt: skip
FULL_XL_VAE: Mapping[str, Any] = {**FULL_VAE, "scaling_factor": 0.13025, "force_upcast": True}

_SD_BLOCKS: Mapping[str, Any] = {
    "layers_per_block": 2, "norm_num_groups": 32, "sample_size": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}  # fmt: skip
_XL_BLOCKS: Mapping[str, Any] = {
    "layers_per_block": 2, "norm_num_groups": 32, "sample_size": 8, "use_linear_projection": True,
    "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
    "addition_time_embed_dim": 256,
}  # fmt: skip

# eos_token_id 2 is what the released configs of CLIP-L say, and of SDXL's second encoder: it pools at the largest id.
_CLIP_L: Mapping[str, Any] = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2, "eos_token_id": 2,
}  # fmt: skip
_SD2_TEXT: Mapping[str, Any] = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 23, "num_attention_heads": 2,
    "hidden_act": "gelu", "projection_dim": 512,
}  # fmt: skip
_XL_TEXT: Mapping[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 1, "eos_token_id": 2,
}  # fmt: skip
_XL_TEXT_2: Mapping[str, Any] = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 11, "num_attention_heads": 2,
    "hidden_act": "gelu", "projection_dim": 128, "eos_token_id": 2,
}  # fmt: skip

_SD15 = ModelSpec(
    "sd15", 200, tokenizer="clip-full", text=_CLIP_L, vae=FULL_VAE, exact=True,
    unet={**_SD_BLOCKS, "block_out_channels": (32, 64, 64, 64), "attention_head_dim": 8},
)  # fmt: skip
_SD21 = ModelSpec(
    "sd21", 210, SD21_SCHEDULER, "clip-full", text=_SD2_TEXT, vae=FULL_VAE, exact=True, pad="!",
    unet={**_SD_BLOCKS, "block_out_channels": (64, 64, 64, 128), "attention_head_dim": (1, 1, 1, 2),
          "use_linear_projection": True, "upcast_attention": True},
)  # fmt: skip
_SDXL = ModelSpec(
    "sdxl", 230, SDXL_SCHEDULER, "clip-full", text=_XL_TEXT, text_2=_XL_TEXT_2, vae=FULL_XL_VAE, exact=True,
    pipeline="StableDiffusionXLPipeline",
    unet={**_XL_BLOCKS, "block_out_channels": (64, 64, 128), "attention_head_dim": (1, 1, 2),
          "transformer_layers_per_block": (1, 1, 2)},
)  # fmt: skip

# The base of a random pair leaves large latents, beside which the refiner's small conditioning would not show.
_REFINER_LOOK = {"conv_in.weight": 0.25, "add_embedding.linear_2.weight": 3.0}

# ComfyUI takes an SD 2 model for a v model where this tensor deviates by more than 0.09.
_EPSILON_LOOK = {"up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias": 0.2}

FULL: tuple[ModelSpec, ...] = (
    _SD15,
    _SD21,
    replace(_SD21, name="sd21-base", seed=220, scheduler=SD21_BASE_SCHEDULER,
            scaled=_EPSILON_LOOK),
    # The same in a single file: its scheduler is the one of all SD 2's files, with --prediction-type epsilon.
    replace(_SD21, name="sd21-epsilon", seed=220, scheduler={**SD21_SCHEDULER, "prediction_type": "epsilon"},
            scaled=_EPSILON_LOOK),
    _SDXL,
    ModelSpec("refiner", 240, SDXL_SCHEDULER, "clip-full", text=None,
              text_2={**_XL_TEXT_2, "eos_token_id": 49407}, vae=FULL_XL_VAE, exact=True,
              pipeline="StableDiffusionXLImg2ImgPipeline",
              unet={**_XL_BLOCKS, "block_out_channels": (64, 64, 128, 128), "attention_head_dim": (1, 1, 2, 2),
                    "transformer_layers_per_block": 2,
                    "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2, "DownBlock2D"),
                    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 2, "UpBlock2D")},
              scaled=_REFINER_LOOK,
              index={"requires_aesthetics_score": True, "force_zeros_for_empty_prompt": False}),
    replace(_SDXL, name="sdxl-v", seed=250, scheduler=SDXL_V_SCHEDULER),
    # SSD-1B: transformers of other depth on the way up, a middle of one resnet without attention.
    replace(_SDXL, name="ssd1b", seed=260,
            unet={**_SDXL.unet, "transformer_layers_per_block": [1, [1, 1], [2, 2]],
                  "reverse_transformer_layers_per_block": [[2, 2, 3], [2, 1, 1], 1],
                  "mid_block_type": "UNetMidBlock2D"}),
    replace(_SD15, name="inpaint", seed=270, pipeline="StableDiffusionInpaintPipeline",
            unet={**_SD15.unet, "in_channels": 9}),
    replace(_SD15, name="lcm-full", seed=275, scheduler=LCM_SCHEDULER,
            pipeline="LatentConsistencyModelPipeline", unet={**_SD15.unet, "time_cond_proj_dim": 32}),
    replace(_SD21, name="depth", seed=280, pipeline="StableDiffusionDepth2ImgPipeline", scheduler=SD21_BASE_SCHEDULER,
            unet={**_SD21.unet, "in_channels": 5}),
)  # fmt: skip

_SMALL_XL = ModelSpec(
    "sdxl-small", 300, SDXL_SCHEDULER, pipeline="StableDiffusionXLPipeline",
    text={"num_hidden_layers": 3},
    text_2={"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "hidden_act": "gelu",
            "projection_dim": 40},
    unet={**_XL_BLOCKS, "block_out_channels": (8, 16, 24), "attention_head_dim": (1, 2, 3), "norm_num_groups": 4,
          "layers_per_block": 1, "transformer_layers_per_block": (1, 2, 2), "addition_time_embed_dim": 16},
    vae={"scaling_factor": 0.13025, "force_upcast": True, "latents_mean": None, "latents_std": None},
)  # fmt: skip

SMALL: tuple[ModelSpec, ...] = (
    # Encodes an empty negative prompt whether or not one is given.
    replace(_SMALL_XL, index={"force_zeros_for_empty_prompt": False}),
    replace(_SMALL_XL, name="sdxl-fp16", seed=310, variant="fp16", tokenizer="clip-json", text_prefix=False),
    replace(_SMALL_XL, name="sdxl-sharded", seed=320, variant="fp16", shard_size="150KB"),
    replace(_SMALL_XL, name="refiner-small", seed=325, text=None, pipeline="StableDiffusionXLImg2ImgPipeline",
            scaled=_REFINER_LOOK, index={"requires_aesthetics_score": True, "force_zeros_for_empty_prompt": False}),
    replace(_SMALL_XL, name="turbo", seed=330, scheduler=TURBO_SCHEDULER),
    # KOALA: one layer a block, no middle block at all.
    replace(_SMALL_XL, name="koala", seed=340, unet={**_SMALL_XL.unet, "mid_block_type": None}),
    replace(_SMALL_XL, name="lcm-sdxl", seed=350, scheduler=LCM_SCHEDULER,
            unet={**_SMALL_XL.unet, "time_cond_proj_dim": 32}),
    replace(_SMALL_XL, name="sdxl-inpaint", seed=355, pipeline="StableDiffusionXLInpaintPipeline",
            unet={**_SMALL_XL.unet, "in_channels": 9}),
    ModelSpec("sd1-inpaint", 356, pipeline="StableDiffusionInpaintPipeline", unet={"in_channels": 9}),
    ModelSpec("lcm", 360, LCM_SCHEDULER, unet={"time_cond_proj_dim": 32}),
    # As Stable Diffusion 1.5's folder was published: a safety checker, the VAE's old attention names.
    ModelSpec("sd15-old", 370, safety_checker=True, old_vae_names=True),
    ModelSpec("taesd", 380, vae={"_class_name": "AutoencoderTiny", **TINY_VAE}),
)  # fmt: skip

FAMILIES: tuple[ModelSpec, ...] = FULL + SMALL
