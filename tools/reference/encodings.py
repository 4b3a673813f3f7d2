"""Weights as people download them: blocks of GGUF, float8 and int8 with and without scales, codes of bitsandbytes.

A model that is to be stored so has weights that its encoding says exactly: `rounded` makes them, and encoding what is rounded
loses nothing. So diffusers' answer is that of the folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .q4_k import q4_k_blocks

# Of ComfyUI: float8 as it is; with a scale and a marker; with a scale and the format's name; int8 with a scale for each row,
# and rotated.
SCALED = ("fp8", "fp8-e5m2", "fp8-old", "fp8-new", "int8", "int8-convrot")
# Of bitsandbytes; nested: whose scales are codes.
BITSANDBYTES = ("nf4", "nf4-nested", "fp4", "bnb-int8")
ENCODINGS = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "BF16", *SCALED, *BITSANDBYTES)
# Those of the models after Flux.1.
NEWER_ENCODINGS = ("Q8_0", "Q4_K", "fp8-new")
ROTATED = 64  # numbers of a group
_FILE, _CODES = "encoding.txt", "codes.safetensors"

# What llama.cpp calls the tensors of T5.
_T5 = {
    "layer.0.SelfAttention.q": "attn_q", "layer.0.SelfAttention.k": "attn_k", "layer.0.SelfAttention.v": "attn_v",
    "layer.0.SelfAttention.o": "attn_o", "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b",
    "layer.0.layer_norm": "attn_norm", "layer.1.DenseReluDense.wi_0": "ffn_gate", "layer.1.DenseReluDense.wi_1": "ffn_up",
    "layer.1.DenseReluDense.wo": "ffn_down", "layer.1.layer_norm": "ffn_norm",
}  # fmt: skip
# And of language models, once what is before "layers" is gone.
_DECODER = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def _is_matrix(name: str, value: Tensor, encoding: str) -> bool:
    """Vectors and small tables stay as they are, and rows that are no whole blocks."""
    if encoding in BITSANDBYTES and name in ("shared.weight", "encoder.embed_tokens.weight"):  # it makes codes of layers alone
        return False
    other = ROTATED if encoding == "int8-convrot" else 1
    row = other if encoding in (*SCALED, *BITSANDBYTES) else gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[encoding]][0]
    return value.ndim == 2 and value.shape[1] % row == 0 and name.endswith(".weight") and "relative_attention" not in name


def _scale(value: Tensor, most: float, rows: bool) -> Tensor:
    """A power of two, so that what is scaled is exact."""
    largest = value.abs().amax(1, keepdim=True) if rows else value.abs().max()
    return torch.exp2(torch.ceil(torch.log2(largest / most) - 1e-4))


def _rotated(value: Tensor) -> Tensor:
    """Which is its own inverse."""
    from comfy_kitchen.backends.eager.quantization import rotate_int8_convrot_weight  # slow to import

    return rotate_int8_convrot_weight(value, ROTATED)


def _bitsandbytes(name: str, value: Tensor, encoding: str) -> tuple[dict[str, Tensor], Tensor]:
    """What is stored of X.weight, and its numbers."""
    from bitsandbytes import functional  # slow to import

    if encoding == "bnb-int8":
        most = 127 * _scale(value, 127, rows=True)
        codes = (value * 127 / most).round().to(torch.int8)
        layer = name.removesuffix(".weight")
        return ({name: codes, f"{layer}.SCB": most.flatten(), f"{layer}.weight_format": torch.tensor(0, dtype=torch.uint8)},
                functional.int8_vectorwise_dequant(codes, most.flatten()))  # fmt: skip
    codes, state = functional.quantize_4bit(value, quant_type=encoding.partition("-")[0], compress_statistics="nested" in encoding)
    stored = {name: codes, **{f"{name}.{key}": part for key, part in state.as_dict(packed=True).items()}}
    return stored, four_bits(codes, state)


def four_bits(codes: Tensor, state: Any) -> Tensor:
    """The numbers of bitsandbytes' codes. As one row: where rows are no whole blocks, its kernel for AVX-512 (0.50.2) takes other
    blocks' scales, and is off by the whole size of the weights."""
    from bitsandbytes import functional  # slow to import

    shape, state.shape = state.shape, torch.Size((1, state.shape.numel()))
    numbers = functional.dequantize_4bit(codes, state).reshape(shape)
    state.shape = shape
    return numbers


def _codes(value: Tensor, encoding: str) -> tuple[Tensor, Tensor | None]:
    if encoding == "int8-convrot":
        value = _rotated(value)
    if encoding.startswith("int8"):
        scale = _scale(value, 127, rows=True)
        return (value / scale).round().to(torch.int8), scale
    dtype = torch.float8_e5m2 if encoding == "fp8-e5m2" else torch.float8_e4m3fn
    if encoding in ("fp8", "fp8-e5m2"):
        return value.to(dtype), None
    scale = _scale(value, 448, rows=False)
    return (value / scale).to(dtype), scale


def _blocks(value: Tensor, encoding: str) -> np.ndarray:
    if encoding == "Q4_K":
        return q4_k_blocks(value.numpy())
    return gguf.quants.quantize(value.numpy(), gguf.GGMLQuantizationType[encoding])


def _rounded(value: Tensor, encoding: str) -> Tensor:
    if encoding in BITSANDBYTES:
        return _bitsandbytes("", value, encoding)[1]
    if encoding not in SCALED:
        kind = gguf.GGMLQuantizationType[encoding]
        return torch.from_numpy(np.array(gguf.quants.dequantize(_blocks(value, encoding), kind), np.float32))
    return _numbers(*_codes(value, encoding), encoding)


def _numbers(codes: Tensor, scale: Tensor | None, encoding: str) -> Tensor:
    numbers = codes.to(torch.float32) * (1 if scale is None else scale)
    return _rotated(numbers) if encoding == "int8-convrot" else numbers


def round_folder(folder: Path, parts: tuple[str, ...], encoding: str) -> None:
    """Rounds the matrices of these parts of a folder, which remembers the encoding."""
    for part in parts:
        (path,) = (folder / part).glob("*.safetensors")
        weights = load_file(path)
        if encoding in BITSANDBYTES:  # scales that are codes would come out as others a second time
            save_file(_stored_codes(weights, encoding), folder / f"{part}-{_CODES}", {"format": "pt"})
        save_file({name: _rounded(value, encoding) if _is_matrix(name, value, encoding) else value
                   for name, value in weights.items()}, path, {"format": "pt"})  # fmt: skip
    (folder / _FILE).write_text(encoding)


def encoding_of(folder: Path) -> str:
    return (folder / _FILE).read_text()


def _stored_codes(weights: Mapping[str, Tensor], encoding: str) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        out |= _bitsandbytes(name, value, encoding)[0] if _is_matrix(name, value, encoding) else {name: value}
    return out


def write_stored_folder(folder: Path, to: Path) -> None:
    """A folder whose parts are in codes of bitsandbytes, as diffusers and transformers save them."""
    encoding = encoding_of(folder)
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns(f"*-{_CODES}", _FILE, "*@*", "*.safetensors~"))
    four = encoding != "bnb-int8"
    said = {"quant_method": "bitsandbytes", "load_in_4bit": four, "load_in_8bit": not four,
            **({"bnb_4bit_quant_type": encoding[:3], "bnb_4bit_use_double_quant": "nested" in encoding,
                "bnb_4bit_compute_dtype": "float32"} if four else {"llm_int8_threshold": 6.0})}  # fmt: skip
    for codes in folder.glob(f"*-{_CODES}"):
        part = to / codes.name.removesuffix(f"-{_CODES}")
        (weights,) = part.glob("*.safetensors")
        shutil.copy(codes, weights)
        config = json.loads((part / "config.json").read_text())
        (part / "config.json").write_text(json.dumps({**config, "quantization_config": said}, indent=2))


def write_stored(path: Path, weights: Mapping[str, Tensor], encoding: str, architecture: str, words: Path | None = None) -> None:
    """`weights`, rounded before; under their names, text encoders' in GGUF under llama.cpp's. `words`: the tokenizer.json of those
    that are written with them."""
    if encoding in SCALED:
        return _write_scaled(path, weights, encoding)
    if encoding in BITSANDBYTES:
        return save_file(_again(weights, encoding), path, {"format": "pt"})
    writer = gguf.GGUFWriter(path, architecture)
    assert architecture == "t5encoder" or any(_is_matrix(name, value, encoding) for name, value in weights.items()), f"no row is whole blocks of {encoding}"
    if words is not None:
        _add_words(writer, json.loads(words.read_text(encoding="utf-8")))
    name_of = {"t5encoder": t5_name, "qwen3": decoder_name, "qwen2vl": decoder_name}.get(architecture, str)
    for name, value in weights.items():
        called = name_of(name)
        if _is_matrix(name, value, encoding):
            blocks = _blocks(value, encoding)
            again = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[encoding])
            assert np.array_equal(again, value.numpy()), name
            writer.add_tensor(called, blocks, raw_dtype=gguf.GGMLQuantizationType[encoding])
        else:
            writer.add_tensor(called, value.numpy())
    return _finish(writer)


def _again(weights: Mapping[str, Tensor], encoding: str) -> dict[str, Tensor]:
    """The codes of what was rounded; those of other scales where these are codes."""
    for name, value in weights.items():
        if _is_matrix(name, value, encoding) and "nested" not in encoding:
            assert torch.equal(_rounded(value, encoding), value), name
    return {name: value.contiguous() for name, value in _stored_codes(weights, encoding).items()}


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_flattened(path: Path, weights: Mapping[str, Tensor], architecture: str) -> None:
    """Numbers as they are, kernels as matrices."""
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in weights.items():
        if value.ndim > 2:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", tuple(value.shape))
        writer.add_tensor(name, (value.flatten(1) if value.ndim > 2 else value).float().contiguous().numpy())
    _finish(writer)


def write_converted(path: Path, weights: Mapping[str, Tensor]) -> None:
    """As stable-diffusion.cpp's converter (0.4.7 of its Python package) writes a file in float32: the names that were there, nothing that
    says what it is, and shapes without ones at the beginning."""
    writer = gguf.GGUFWriter(path, "none")
    writer.kv_data[0].pop("general.architecture")
    for name, value in weights.items():
        if not value.dtype.is_floating_point:  # it leaves out position ids
            continue
        shape = list(value.shape)
        while len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
        writer.add_tensor(name, value.float().reshape(shape).contiguous().numpy())
    _finish(writer)


def t5_name(name: str) -> str:
    """llama.cpp's name of transformers'."""
    stem, _, leaf = name.rpartition(".")
    if not stem.startswith("encoder.block."):
        return {"shared": "token_embd", "encoder.embed_tokens": "token_embd", "encoder.final_layer_norm": "enc.output_norm"}[stem] + "." + leaf
    _, _, number, rest = stem.split(".", 3)
    return f"enc.blk.{number}.{_T5[rest]}.{leaf}"


def decoder_name(name: str) -> str:
    """The same of a language model."""
    stem, _, leaf = name.removeprefix("model.").rpartition(".")
    if not stem.startswith("layers."):
        return {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}[stem] + "." + leaf
    _, number, rest = stem.split(".", 2)
    return f"blk.{number}.{_DECODER[rest]}.{leaf}"


def _add_words(writer: gguf.GGUFWriter, tokenizer: Mapping[str, Any]) -> None:
    """A byte-level BPE as llama.cpp's converter writes it."""
    ids = dict(tokenizer["model"]["vocab"])
    kinds = {added["content"]: gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED for added in tokenizer["added_tokens"]}
    ids |= {added["content"]: added["id"] for added in tokenizer["added_tokens"]}
    tokens = sorted(ids, key=ids.__getitem__)
    assert [ids[token] for token in tokens] == list(range(len(tokens)))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in tokens])
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]])


def _write_scaled(path: Path, weights: Mapping[str, Tensor], encoding: str) -> None:
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        if not _is_matrix(name, value, encoding):
            out[name] = value.contiguous()
            continue
        out[name], scale = _codes(value, encoding)
        same = torch.allclose if encoding == "int8-convrot" else torch.equal  # what is rotated twice is rounded twice
        assert same(_numbers(out[name], scale, encoding), value), name
        layer = name.removesuffix(".weight")
        if encoding == "fp8-old":
            out |= {f"{layer}.scale_weight": scale.reshape(1), f"{layer}.scale_input": torch.ones(1)}
        elif scale is not None:
            form = "int8_tensorwise" if encoding.startswith("int8") else "float8_e4m3fn"
            turned = {"convrot": True, "convrot_groupsize": ROTATED} if encoding == "int8-convrot" else {}
            said = json.dumps({"format": form, **turned}).encode()
            out |= {f"{layer}.weight_scale": scale, f"{layer}.comfy_quant": torch.tensor(list(said), dtype=torch.uint8)}
    if encoding == "fp8-old":
        out["scaled_fp8"] = torch.empty(0, dtype=torch.float8_e4m3fn)
    save_file(out, path, {"format": "pt"})
