"""Diffusion transformers as single files: the forms in which people have them, by the inverse of their makers' names.

MODEL@FORM holds the weights of the folder MODEL. SD3 and Z-Image are proved with diffusers' converters, which PixArt has none of in
the package, and Lumina-Image 2 one for its released widths: their forms are proved by their pictures alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.loaders.single_file_utils import (
    convert_flux2_transformer_checkpoint_to_diffusers,
    convert_ldm_clip_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_sd3_t5_checkpoint_to_diffusers,
    convert_sd3_transformer_checkpoint_to_diffusers,
    convert_wan_vae_to_diffusers,
    convert_z_image_transformer_checkpoint_to_diffusers,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from .encodings import SCALED, encoding_of, write_stored
from .original_layout import UNET_PREFIX, Tensors, component, original_vae, read_config

_OWN_WORDS = "own-words/"  # a folder where no tokenizer's files are


def encoder_part(folder: Path, name: str) -> str:
    """The part of a folder that ComfyUI calls so."""
    name = name.removeprefix(_OWN_WORDS).removesuffix("-stored")
    if name == "language-model":
        return "text_encoder"
    if name != "t5xxl":
        return {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}[name]
    parts = ("text_encoder", "text_encoder_2", "text_encoder_3")
    return next(part for part in parts if "T5EncoderModel" in read_config(folder / part).get("architectures", ()))


@dataclass(frozen=True)
class FileForm:
    """What of a folder is in the file: its transformer under a prefix, or in diffusers' names, and other parts."""

    transformer: str | None = None  # the prefix of its names; None: it is not there
    diffusers: bool = False  # in diffusers' names
    norms: str = "scale"  # what Flux's call their weights
    inside: tuple[str, ...] = ()  # text encoders, as ComfyUI saves them beside it
    vae: str | None = None  # likewise
    alone: str | None = None  # this text encoder, and nothing else
    stored: bool = False  # in the encoding that the folder was rounded for
    words: bool = False  # with the tokenizer inside


TRANSFORMER_FILES: Mapping[str, FileForm] = {
    "original": FileForm(UNET_PREFIX, vae="first_stage_model."),
    "incl-clips": FileForm(UNET_PREFIX, inside=("clip_l", "clip_g"), vae="first_stage_model."),
    "incl-all": FileForm(UNET_PREFIX, inside=("clip_l", "clip_g", "t5xxl"), vae="first_stage_model."),
    "incl-flux": FileForm(UNET_PREFIX, inside=("clip_l", "t5xxl"), vae="vae."),
    "bare": FileForm(""),
    "newer-norms": FileForm("", norms="weight"),
    "diffusers": FileForm("", diffusers=True),
    "prefixed-diffusers": FileForm(UNET_PREFIX, diffusers=True, vae="vae."),
    "ae": FileForm(vae=""),
    **{name: FileForm(alone=name) for name in ("clip_l", "clip_g", "t5xxl", "language-model")},
    "stored": FileForm("", stored=True),
    "stored-diffusers": FileForm("", diffusers=True, stored=True),
    "t5xxl-stored": FileForm(alone="t5xxl", stored=True),
    "language-model-stored": FileForm(alone="language-model", stored=True),
    f"{_OWN_WORDS}language-model": FileForm(alone="language-model", stored=True, words=True),
}

_SD3_HEADS = {
    "pos_embed.proj": "x_embedder.proj", "pos_embed.pos_embed": "pos_embed", "context_embedder": "context_embedder",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "norm_out.linear": "final_layer.adaLN_modulation.1", "proj_out": "final_layer.linear",
}  # fmt: skip
_SD3_BLOCK = {
    "attn.norm_q": "x_block.attn.ln_q", "attn.norm_k": "x_block.attn.ln_k", "attn.to_out.0": "x_block.attn.proj",
    "attn.norm_added_q": "context_block.attn.ln_q", "attn.norm_added_k": "context_block.attn.ln_k",
    "attn.to_add_out": "context_block.attn.proj", "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k", "attn2.to_out.0": "x_block.attn2.proj",
    "norm1.linear": "x_block.adaLN_modulation.1", "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1", "ff_context.net.2": "context_block.mlp.fc2",
}  # fmt: skip
_SD3_STACKS = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}

_PIXART_HEADS = {
    "pos_embed.proj": "x_embedder.proj",
    "caption_projection.linear_1": "y_embedder.y_proj.fc1", "caption_projection.linear_2": "y_embedder.y_proj.fc2",
    "adaln_single.linear": "t_block.1", "scale_shift_table": "final_layer.scale_shift_table", "proj_out": "final_layer.linear",
    **{f"adaln_single.emb.{own}.linear_{n + 1}": f"{file}.mlp.{2 * n}"
       for own, file in (("timestep_embedder", "t_embedder"), ("resolution_embedder", "csize_embedder"),
                         ("aspect_ratio_embedder", "ar_embedder"))
       for n in range(2)},
}  # fmt: skip
_PIXART_BLOCK = {
    "scale_shift_table": "scale_shift_table", "attn1.to_out.0": "attn.proj", "attn2.to_q": "cross_attn.q_linear",
    "attn2.to_out.0": "cross_attn.proj", "ff.net.0.proj": "mlp.fc1", "ff.net.2": "mlp.fc2",
}  # fmt: skip
_FLUX_HEADS = {
    "x_embedder": "img_in", "context_embedder": "txt_in", "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
    **{f"time_text_embed.{own}_embedder.linear_{number}": f"{file}_in.{layer}_layer"
       for own, file in (("timestep", "time"), ("guidance", "guidance"), ("text", "vector"))
       for number, layer in ((1, "in"), (2, "out"))},
}  # fmt: skip
_FLUX_DOUBLE = {
    "norm1.linear": "img_mod.lin", "norm1_context.linear": "txt_mod.lin", "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj", "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2",
    "attn.norm_q.weight": "img_attn.norm.query_norm.scale", "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
    "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
    "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
}  # fmt: skip
_FLUX_SINGLE = {
    "norm.linear": "modulation.lin", "proj_out": "linear2", "attn.norm_q.weight": "norm.query_norm.scale",
    "attn.norm_k.weight": "norm.key_norm.scale",
}  # fmt: skip
_FLUX_DOUBLE_STACKS = {"img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
                       "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")}  # fmt: skip
_FLUX_SINGLE_STACKS = {"linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")}

_FLUX2_HEADS = {
    **{own: file for own, file in _FLUX_HEADS.items() if not own.startswith("time_text_embed.")},
    **{f"time_guidance_embed.{own}_embedder.linear_{number}": f"{file}_in.{layer}_layer"
       for own, file in (("timestep", "time"), ("guidance", "guidance")) for number, layer in ((1, "in"), (2, "out"))},
    **{f"{name}.linear": f"{name}.lin" for name in ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation")},
}  # fmt: skip
_FLUX2_DOUBLE = {**_FLUX_DOUBLE, "ff.linear_in": "img_mlp.0", "ff.linear_out": "img_mlp.2", "ff_context.linear_in": "txt_mlp.0",
                 "ff_context.linear_out": "txt_mlp.2"}  # fmt: skip
_FLUX2_SINGLE = {**_FLUX_SINGLE, "attn.to_qkv_mlp_proj": "linear1", "attn.to_out": "linear2"}

_PIXART_STACKS = {"attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"), "cross_attn.kv_linear": ("attn2.to_k", "attn2.to_v")}


def _renamed(weights: Mapping[str, Tensor], heads: Mapping[str, str], block: str, names: Mapping[str, str],
             stacks: Mapping[str, tuple[str, ...]]) -> Tensors:  # fmt: skip
    """The tensors under the file's names, queries, keys and values one on the other."""
    out: Tensors = {}
    for name, value in weights.items():
        if name in heads:
            out[heads[name]] = value
            continue
        stem, last = name.rsplit(".", 1)
        if stem in heads:
            out[f"{heads[stem]}.{last}"] = value
            continue
        kind, number, rest = name.split(".", 2)
        if rest in names:
            out[f"{block}.{number}.{names[rest]}"] = value
            continue
        stem = rest.removesuffix("." + last)
        if stem in names:
            out[f"{block}.{number}.{names[stem]}.{last}"] = value
            continue
        stack = next(key for key, parts in stacks.items() if stem in parts)
        parts = [weights[f"{kind}.{number}.{part}.{last}"] for part in stacks[stack]]
        out[f"{block}.{number}.{stack}.{last}"] = torch.cat(parts)
    return out


def original_sd3(weights: Mapping[str, Tensor]) -> Tensors:
    """mmdit.py's names. The last norms say shift and scale in the other order."""
    out = _renamed(weights, _SD3_HEADS, "joint_blocks", _SD3_BLOCK, _SD3_STACKS)
    last = max(int(name.split(".")[1]) for name in out if name.startswith("joint_blocks."))
    for module in ("final_layer", f"joint_blocks.{last}.context_block"):
        for leaf in ("weight", "bias"):
            first, second = out[f"{module}.adaLN_modulation.1.{leaf}"].chunk(2)
            out[f"{module}.adaLN_modulation.1.{leaf}"] = torch.cat([second, first])
    return out


def original_pixart(weights: Mapping[str, Tensor], config: Mapping[str, object], tokens: int) -> Tensors:
    """PixArt.py's names, with the buffers that only training reads: they tell what the file is of."""
    out = _renamed(weights, _PIXART_HEADS, "blocks", _PIXART_BLOCK, _PIXART_STACKS)
    side = int(config["sample_size"]) // int(config["patch_size"])
    width, caption = out["x_embedder.proj.weight"].shape[0], out["y_embedder.y_proj.fc1.weight"].shape[1]
    return out | {"pos_embed": torch.zeros(1, side * side, width), "y_embedder.y_embedding": torch.zeros(tokens, caption)}


def original_flux(weights: Mapping[str, Tensor], norms: str) -> Tensors:
    """The names of Black Forest Labs' model.py. The last norm says shift and scale in the other order."""
    single = {name: value for name, value in weights.items() if name.startswith("single_")}
    others = {name: value for name, value in weights.items() if name not in single}
    out = _renamed(others, _FLUX_HEADS, "double_blocks", _FLUX_DOUBLE, _FLUX_DOUBLE_STACKS)
    out |= _renamed(single, {}, "single_blocks", _FLUX_SINGLE, _FLUX_SINGLE_STACKS)
    for leaf in ("weight", "bias"):
        first, second = out[f"final_layer.adaLN_modulation.1.{leaf}"].chunk(2)
        out[f"final_layer.adaLN_modulation.1.{leaf}"] = torch.cat([second, first])
    return {re.sub(r"_norm\.scale$", f"_norm.{norms}", name): value for name, value in out.items()}


_SINGLE_STREAM = {"attention.to_out.0": "attention.out", "attention.norm_q": "attention.q_norm", "attention.norm_k": "attention.k_norm"}
_Z_IMAGE_HEADS = {"all_x_embedder.2-1": "x_embedder", "all_final_layer.2-1": "final_layer"}
_LUMINA2_HEADS = {
    "time_caption_embed.caption_embedder": "cap_embedder", "time_caption_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_caption_embed.timestep_embedder.linear_2": "t_embedder.mlp.2", "norm_out.linear_1": "final_layer.adaLN_modulation.1",
    "norm_out.linear_2": "final_layer.linear",
}  # fmt: skip
_LUMINA2_LAYER = {
    "norm1.linear": "adaLN_modulation.1", "norm1.norm": "attention_norm1", "norm1": "attention_norm1", "norm2": "attention_norm2",
    "feed_forward.linear_1": "feed_forward.w1", "feed_forward.linear_2": "feed_forward.w2", "feed_forward.linear_3": "feed_forward.w3",
}  # fmt: skip


def original_single_stream(weights: Mapping[str, Tensor], *, lumina: bool) -> Tensors:
    """The names of Lumina-Image 2's model.py, and of Z-Image's, which are nearly the same; queries, keys and values are one on the other."""
    out: Tensors = {}
    heads = _LUMINA2_HEADS if lumina else _Z_IMAGE_HEADS
    for name, value in weights.items():
        found = re.fullmatch(r"((?:layers|noise_refiner|context_refiner)\.\d+)\.(.+)\.(weight|bias)", name)
        if found is None:
            head = next((head for head in heads if name.startswith(head + ".")), "")
            out[heads[head] + name.removeprefix(head) if head else name] = value
            continue
        layer, module, leaf = found.groups()
        module = re.sub(r"^attn\.", "attention.", _LUMINA2_LAYER.get(module, module) if lumina else module)
        if module == "attention.to_q":
            rows = [weights[name.replace("to_q", which)] for which in ("to_q", "to_k", "to_v")]
            out[f"{layer}.attention.qkv.{leaf}"] = torch.cat(rows)
        elif module not in ("attention.to_k", "attention.to_v"):
            out[f"{layer}.{_SINGLE_STREAM.get(module, module)}.{leaf}"] = value
    return out


def original_flux2(weights: Mapping[str, Tensor], norms: str) -> Tensors:
    """The same of FLUX.2, which has no biases."""
    single = {name: value for name, value in weights.items() if name.startswith("single_transformer_")}
    others = {name: value for name, value in weights.items() if name not in single}
    out = _renamed(others, _FLUX2_HEADS, "double_blocks", _FLUX2_DOUBLE, _FLUX_DOUBLE_STACKS)
    out |= _renamed(single, {}, "single_blocks", _FLUX2_SINGLE, {})
    first, second = out["final_layer.adaLN_modulation.1.weight"].chunk(2)
    out["final_layer.adaLN_modulation.1.weight"] = torch.cat([second, first])
    return {re.sub(r"_norm\.scale$", f"_norm.{norms}", name): value for name, value in out.items()}


def original_chroma(weights: Mapping[str, Tensor], norms: str) -> Tensors:
    """The same of Chroma, whose layers are moved by another network."""
    moves = {name: value for name, value in weights.items() if name.startswith("distilled_guidance_layer.")}
    single = {name: value for name, value in weights.items() if name.startswith("single_")}
    others = {name: value for name, value in weights.items() if name not in single and name not in moves}
    out = _renamed(others, _FLUX_HEADS, "double_blocks", _FLUX_DOUBLE, _FLUX_DOUBLE_STACKS)
    out |= _renamed(single, {}, "single_blocks", _FLUX_SINGLE, _FLUX_SINGLE_STACKS)
    for name, value in moves.items():
        name = name.replace(".linear_1.", ".in_layer.").replace(".linear_2.", ".out_layer.")
        out[re.sub(r"(norms\.\d+)\.weight$", r"\1.scale", name)] = value
    return {re.sub(r"_norm\.scale$", f"_norm.{norms}", name): value for name, value in out.items()}


def original_qwen_vae(weights: Mapping[str, Tensor]) -> Tensors:
    """The names of Wan's vae.py: a level's resnets, and what doubles its result, are counted through all levels."""
    resnets = 1 + max(int(found[1]) for name in weights if (found := re.match(r"decoder\.up_blocks\.0\.resnets\.(\d+)", name)))
    out: Tensors = {}
    for name, value in weights.items():
        name = re.sub(r"^(post_)?quant_conv\.", lambda found: "conv2." if found[1] else "conv1.", name)
        name = re.sub(r"^(..coder)\.conv_in\.", r"\1.conv1.", name)
        name = re.sub(r"mid_block\.(resnets|attentions)\.(\d)", lambda found: f"middle.{1 if found[1] == 'attentions' else 2 * int(found[2])}", name)
        name = name.replace(".norm_out.", ".head.0.").replace(".conv_out.", ".head.2.").replace("encoder.down_blocks.", "encoder.downsamples.")
        name = re.sub(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)",
                      lambda found: f"decoder.upsamples.{int(found[1]) * (resnets + 1) + (resnets if found[2] == 'upsamplers' else int(found[3]))}",
                      name)  # fmt: skip
        if re.search(r"(middle|samples)\.\d+\.", name):
            for own, wan in (("norm1", "residual.0"), ("conv1", "residual.2"), ("norm2", "residual.3"), ("conv2", "residual.6"),
                             ("conv_shortcut", "shortcut")):  # fmt: skip
                name = name.replace(f".{own}.", f".{wan}.")
        out[name] = value
    return out


def language_model(weights: Mapping[str, Tensor]) -> Tensors:
    """ComfyUI's names: of one that makes words, and sees, the parts that do."""
    out: Tensors = {}
    for name, value in weights.items():
        bare = name.removeprefix("model.").removeprefix("language_model.")
        out[bare if bare.startswith(("visual.", "lm_head.")) else f"model.{bare}"] = value
    return out


# By how the names of classes begin; the first that fits.
_ORIGINALS = {
    "Flux2": original_flux2, "Chroma": original_chroma, "Flux": original_flux,
    "ZImage": lambda weights, _norms: original_single_stream(weights, lumina=False),
    "Lumina2": lambda weights, _norms: original_single_stream(weights, lumina=True),
    "QwenImage": lambda weights, _norms: dict(weights),
}  # fmt: skip
_ARCHITECTURES = {"QwenImage": "qwen_image", "ZImage": "lumina2", "Lumina2": "lumina2"}


def original_names(weights: Mapping[str, Tensor], kind: str, norms: str = "scale") -> Tensors:
    """What the makers of a network of this class call its tensors."""
    original = next((make for begin, make in _ORIGINALS.items() if kind.startswith(begin)), None)
    return original(weights, norms) if original else original_sd3(weights)


def write_transformer(folder: Path, path: Path, form: str) -> None:
    """Writes a form of a diffusers folder to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted, out = TRANSFORMER_FILES[form], {}
    if wanted.alone == "language-model":
        out |= language_model(component(folder / "text_encoder"))
    elif wanted.alone is not None:
        out |= component(folder / encoder_part(folder, wanted.alone))
    if wanted.transformer is not None:
        weights, config = component(folder / "transformer"), read_config(folder / "transformer")
        if not wanted.diffusers:
            kind = config["_class_name"]
            if kind.startswith("PixArt"):
                sigma = "Sigma" in (folder / "model_index.json").read_text(encoding="utf-8")
                weights = original_pixart(weights, config, 300 if sigma else 120)
            else:
                weights = original_names(weights, kind, wanted.norms)
        out |= {wanted.transformer + name: value for name, value in weights.items()}
    for name in wanted.inside:
        encoder = component(folder / encoder_part(folder, name))
        out |= {f"text_encoders.{name}.transformer.{key}": value for key, value in encoder.items()}
    if wanted.vae is not None and read_config(folder / "vae")["_class_name"] == "AutoencoderKLQwenImage":
        out |= {wanted.vae + name: value for name, value in original_qwen_vae(component(folder / "vae")).items()}
    elif wanted.vae is not None:
        levels = len(read_config(folder / "vae")["block_out_channels"])
        latents = original_vae(component(folder / "vae"), levels)
        if "bn.running_mean" in latents:  # FLUX.2's, whose last and first convolution belong to encoder and decoder there
            latents = {re.sub(r"^(post_)?quant_conv", lambda m: f"{'decoder' if m[1] else 'encoder'}.{m[0]}", name): value
                       for name, value in latents.items()}  # fmt: skip
        out |= {wanted.vae + name: value for name, value in latents.items()}
    if wanted.stored:
        encoding, words = encoding_of(folder), folder / "tokenizer" / "tokenizer.json"
        if wanted.alone == "language-model" and encoding not in SCALED:  # which is there without what sees
            out = {name: value for name, value in out.items() if not name.startswith("visual.")}
        return write_stored(path, out, encoding, _architecture(folder, wanted), words if wanted.words else None)
    save_file({name: value.contiguous() for name, value in out.items()}, path, {"format": "pt"})
    return None


def _architecture(folder: Path, wanted: FileForm) -> str:
    """As the makers of GGUF files call it."""
    if wanted.alone == "language-model":
        return {"qwen3": "qwen3", "qwen2_5_vl": "qwen2vl"}.get(read_config(folder / "text_encoder")["model_type"], "")
    if wanted.alone is not None:
        return "t5encoder"
    kind = read_config(folder / "transformer")["_class_name"]
    return next((name for begin, name in _ARCHITECTURES.items() if kind.startswith(begin)), "flux")


def vocabulary(folder: Path) -> list[Path]:
    """The files of T5's tokenizer, or a language model's, which lie beside single files."""
    places = [folder / name for name in ("tokenizer_3", "tokenizer_2", "tokenizer") if (folder / name / "spiece.model").exists()]
    encoder = folder / "text_encoder"
    if encoder.exists() and read_config(encoder).get("model_type", "").startswith(("qwen", "gemma")):
        places = [folder / "tokenizer"]
    return [file for place in places for file in sorted(place.iterdir())]


def transformer_problems(folder: Path, file: Path, form: str) -> list[str]:
    """What diffusers' converters make of the file where it differs from the folder."""
    wanted, problems = TRANSFORMER_FILES[form], []

    def compare(part: str, converted: Mapping[str, Tensor]) -> None:
        own = component(folder / part)
        problems.extend(f"{part}: {name} is missing or too many" for name in own.keys() ^ converted.keys())
        problems.extend(f"{part}: {name} differs" for name in own.keys() & converted.keys() if not torch.equal(own[name], converted[name]))

    kind = read_config(folder / "transformer")["_class_name"]
    converters = {"SD3Transformer2DModel": convert_sd3_transformer_checkpoint_to_diffusers,
                  "ZImageTransformer2DModel": convert_z_image_transformer_checkpoint_to_diffusers}  # fmt: skip
    if wanted.transformer is not None and not wanted.diffusers and not wanted.stored and kind in converters:
        kept = {name: value for name, value in load_file(file).items() if name.startswith(wanted.transformer) and not name.startswith(("first_", "text_"))}
        compare("transformer", converters[kind](kept))
    flux2 = kind.startswith("Flux2")
    if wanted.transformer is not None and not wanted.diffusers and not wanted.stored and flux2 and wanted.norms == "scale":
        own = {name: value for name, value in load_file(file).items() if name.startswith(wanted.transformer) and not name.startswith("first_")}
        compare("transformer", convert_flux2_transformer_checkpoint_to_diffusers({name.removeprefix(wanted.transformer): value for name, value in own.items()}))
    for name in wanted.inside:
        prefix = f"text_encoders.{name}.transformer."
        given = load_file(file)
        compare(encoder_part(folder, name), convert_sd3_t5_checkpoint_to_diffusers(given) if name == "t5xxl" else convert_ldm_clip_checkpoint(given, prefix))
    if wanted.vae is not None and kind.startswith("QwenImage"):
        own = {name.removeprefix(wanted.vae): value for name, value in load_file(file).items() if name.startswith(wanted.vae)}
        compare("vae", convert_wan_vae_to_diffusers({name: value for name, value in own.items() if not name.startswith(UNET_PREFIX)}))
    elif wanted.vae == "first_stage_model." and not flux2:  # whose autoencoder's converter leaves the statistics to others
        compare("vae", convert_ldm_vae_checkpoint(load_file(file), read_config(folder / "vae")))
    return problems
