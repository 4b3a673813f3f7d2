"""LoRAs for a transformer, in the spellings of its makers and of trainers, that are not what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from . import safetensors_file as st
from .adapter_cases import floats, lora
from .case import ANY, BAD_FILE, FINE, Case
from .safetensors_cases import PICTURE

Shapes = dict[str, tuple[int, ...]]
WIDTH, CONTEXT = 16, 24


def _linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, into), **({f"{name}.bias": (out,)} if bias else {})}


def flux() -> Shapes:
    """A Flux of a block of each sort, without guidance, by diffusers' names."""
    d = WIDTH
    shapes = {**_linear("x_embedder", d, 16), **_linear("context_embedder", d, CONTEXT), **_linear("norm_out.linear", 2 * d, d),
              **_linear("proj_out", 16, d)}  # fmt: skip
    for name, into in (("timestep", 256), ("text", 32)):
        shapes |= _linear(f"time_text_embed.{name}_embedder.linear_1", d, into)
        shapes |= _linear(f"time_text_embed.{name}_embedder.linear_2", d, d)
    block = "transformer_blocks.0"
    for name in ("norm1", "norm1_context"):
        shapes |= _linear(f"{block}.{name}.linear", 6 * d, d)
    for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
        shapes |= _linear(f"{block}.attn.{name}", d, d)
    shapes |= {f"{block}.attn.{name}.weight": (d,) for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k")}
    for name in ("ff", "ff_context"):
        shapes |= _linear(f"{block}.{name}.net.0.proj", 4 * d, d) | _linear(f"{block}.{name}.net.2", d, 4 * d)
    block = "single_transformer_blocks.0"
    shapes |= _linear(f"{block}.norm.linear", 3 * d, d) | _linear(f"{block}.proj_mlp", 4 * d, d) | _linear(f"{block}.proj_out", d, 5 * d)
    for name in ("to_q", "to_k", "to_v"):
        shapes |= _linear(f"{block}.attn.{name}", d, d)
    return shapes | {f"{block}.attn.{name}.weight": (d,) for name in ("norm_q", "norm_k")}


def t5(vocabulary: int) -> Shapes:
    block = "encoder.block.0.layer."
    shapes: Shapes = {"shared.weight": (vocabulary, CONTEXT), "encoder.final_layer_norm.weight": (CONTEXT,),
                      f"{block}0.SelfAttention.relative_attention_bias.weight": (32, 2)}  # fmt: skip
    shapes |= {f"{block}0.SelfAttention.{name}.weight": (16, CONTEXT) for name in "qkv"}
    shapes |= {f"{block}1.DenseReluDense.{name}.weight": (32, CONTEXT) for name in ("wi_0", "wi_1")}
    shapes |= {f"{block}0.SelfAttention.o.weight": (CONTEXT, 16), f"{block}1.DenseReluDense.wo.weight": (CONTEXT, 32)}
    return shapes | {f"{block}{number}.layer_norm.weight": (CONTEXT,) for number in range(2)}


_TRANSFORMER = {
    "_class_name": "FluxTransformer2DModel", "patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1,
    "attention_head_dim": 16, "num_attention_heads": 1, "joint_attention_dim": CONTEXT, "pooled_projection_dim": 32,
    "axes_dims_rope": [4, 4, 8], "guidance_embeds": False,
}  # fmt: skip
_T5 = {
    "architectures": ["T5EncoderModel"], "model_type": "t5", "d_model": CONTEXT, "d_kv": 8, "d_ff": 32, "num_layers": 1,
    "num_heads": 2, "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}  # fmt: skip
_SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0}
VOCABULARY = 400


def _network(folder: Path, stem: str, config: Mapping[str, object], shapes: Shapes) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / f"{stem}.safetensors").write_bytes(st.of({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}))


def _model(small: Path, data: bytes, folder: Path) -> None:
    """A Flux with the other parts of a Stable Diffusion, and a LoRA."""
    model = folder / "model"
    model.mkdir()
    for part in ("text_encoder", "tokenizer", "vae"):
        (model / part).symlink_to(small / part)
    (model / "tokenizer_2").symlink_to(small.parent / "tokenizers/t5")
    _network(model / "transformer", "diffusion_pytorch_model", _TRANSFORMER, flux())
    _network(model / "text_encoder_2", "model", {**_T5, "vocab_size": VOCABULARY}, t5(VOCABULARY))
    (model / "scheduler").mkdir()
    (model / "scheduler/scheduler_config.json").write_text(json.dumps(_SCHEDULER))
    index = {"_class_name": "FluxPipeline", "scheduler": ["diffusers", _SCHEDULER["_class_name"]],
             "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "T5EncoderModel"],
             "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "T5TokenizerFast"],
             "transformer": ["diffusers", "FluxTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"]}  # fmt: skip
    (model / "model_index.json").write_text(json.dumps(index))
    (folder / "x.safetensors").write_bytes(data)


def loras() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    d, qkv, linear1 = WIDTH, "lora_unet_double_blocks_0_img_attn_qkv", "lora_unet_single_blocks_0_linear1"
    last, processor = "lora_unet_final_layer_adaLN_modulation_1", "double_blocks.0.processor"
    yield "fused", st.of(lora(qkv, 3 * d, d)), FINE
    yield "fused-with-mlp", st.of(lora(linear1, 7 * d, d)), FINE
    yield "swapped", st.of(lora(last, 2 * d, d)), FINE
    yield "t5", st.of(lora("lora_te3_encoder_block_0_layer_0_SelfAttention_q", 16, CONTEXT)), FINE
    yield "peft", st.of({"transformer.proj_out.lora_A.weight": floats(2, d), "transformer.proj_out.lora_B.weight": floats(16, 2)}), FINE
    for name, rows in {"a-row-more": 3 * d + 1, "a-row-less": 3 * d - 1, "a-third": d, "a-row": 1, "none": 0}.items():
        yield f"fused-{name}", st.of(lora(qkv, rows, d)), BAD_FILE
    yield "fused-linear1-of-three", st.of(lora(linear1, 3 * d, d)), BAD_FILE
    yield "fused-input", st.of(lora(qkv, 3 * d, d + 1)), BAD_FILE
    yield "swapped-odd", st.of(lora(last, 2 * d + 1, d)), BAD_FILE
    yield "of-another-block", st.of(lora("lora_unet_double_blocks_1_img_attn_qkv", 3 * d, d)), BAD_FILE
    yield "of-block-huge", st.of(lora("lora_unet_double_blocks_99999999999999999999_img_attn_qkv", 3 * d, d)), BAD_FILE
    yield "of-stable-diffusion-3", st.of(lora("lora_unet_joint_blocks_0_x_block_attn_qkv", 3 * d, d)), BAD_FILE
    yield "of-stable-diffusion", st.of(lora()), BAD_FILE
    yield "control", st.of({"img_in.lora_A.weight": floats(2, 32), "img_in.lora_B.weight": floats(d, 2)}), BAD_FILE
    yield "norm-replaced", st.of({"double_blocks.0.img_attn.norm.query_norm.scale": floats(d), **lora(qkv, 3 * d, d)}), FINE
    yield "norm-replaced-wrong", st.of({"double_blocks.0.img_attn.norm.query_norm.scale": floats(d + 1), **lora(qkv, 3 * d, d)}), BAD_FILE
    for which in ("1", "2"):
        for rows, codes in ((3 * d, FINE), (3 * d + 3, BAD_FILE), (d, BAD_FILE)):
            tensors = {f"{processor}.qkv_lora{which}.down.weight": floats(2, d), f"{processor}.qkv_lora{which}.up.weight": floats(rows, 2)}
            yield f"xlabs-{which}-{rows}", st.of(tensors), codes
    yield "xlabs-3", st.of({f"{processor}.qkv_lora3.down.weight": floats(2, d), f"{processor}.qkv_lora3.up.weight": floats(3 * d, 2)}), BAD_FILE
    bias = {"double_blocks.0.img_attn.qkv.lora_A.weight": floats(2, d), "double_blocks.0.img_attn.qkv.lora_B.weight": floats(3 * d, 2)}
    yield "bias", st.of({**bias, "double_blocks.0.img_attn.qkv.lora_B.bias": floats(3 * d)}), FINE
    yield "bias-wrong", st.of({**bias, "double_blocks.0.img_attn.qkv.lora_B.bias": floats(d)}), BAD_FILE
    for name, shape, codes in (("rows", (3 * d, 1), FINE), ("columns", (1, d), ANY), ("wrong", (d, 1), BAD_FILE), ("scalar", (), BAD_FILE)):
        yield f"dora-{name}", st.of({**lora(qkv, 3 * d, d), f"{qkv}.dora_scale": floats(*shape, value=1.0)}), codes | {5}
    for name, shape, codes in (("blocks", (3 * d // 4, 4, 4), FINE), ("over-bounds", (2, 3 * d // 2, 3 * d // 2), FINE),
                               ("stages", (2, 3 * d // 2, 2, 2), FINE), ("short", (4, 4, 4), BAD_FILE),
                               ("stages-wrong", (9, 3 * d // 2, 2, 2), BAD_FILE)):  # fmt: skip
        yield f"oft-{name}", st.of({f"{qkv}.oft_blocks": floats(*shape)}), codes
    lokr = {f"{linear1}.lokr_w1": floats(7, 2), f"{linear1}.lokr_w2": floats(d, d // 2)}
    yield "lokr", st.of(lokr), FINE
    yield "lokr-of-the-layer-alone", st.of({**lokr, f"{linear1}.lokr_w1": floats(1, 2)}), BAD_FILE
    yield "difference-of-a-third", st.of({f"{qkv}.diff": floats(d, d)}), BAD_FILE
    yield "twice", st.of({**lora(qkv, 3 * d, d), "transformer.transformer_blocks.0.attn.to_q.lora_A.weight": floats(2, d),
                          "transformer.transformer_blocks.0.attn.to_q.lora_B.weight": floats(d, 2)}), FINE  # fmt: skip


def cases(model: Path) -> Iterator[Case]:
    words = ["-m", "IN/model", *PICTURE, "-W", "32", "-H", "32", "--guidance-scale", "0"]
    for name, data, codes in loras():
        use = [*words, "--lora"]
        make = partial(_model, model, data)
        yield Case(f"transformer-lora/{name}", make, [*use, "IN/x.safetensors"], codes, [("x.safetensors", "NaN")])
        yield Case(f"transformer-lora-inspect/{name}", make, ["inspect", "IN/x.safetensors"], ANY, ["x.safetensors"])
