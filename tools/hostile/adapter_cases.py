"""LoRAs, ControlNets, T2I-Adapters and learned words that are not what they say."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from . import safetensors_file as st
from .case import ANY, BAD, BAD_FILE, FINE, Case, dumped, write
from .config_cases import VALUES, paths, replaced
from .safetensors_cases import PICTURE, UNET

TO_Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"  # 8 to 8 channels
TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"  # 32 to 8
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"  # 8x3x3 to 8


def floats(*shape: int, value: float = 0.01) -> np.ndarray:
    return np.full(shape, value, np.float32)


def lora(name: str = TO_Q, out: int = 8, into: int = 8, rank: int = 2) -> dict[str, np.ndarray]:
    return {f"{name}.lora_up.weight": floats(out, rank), f"{name}.lora_down.weight": floats(rank, into), f"{name}.alpha": floats()}


def loras() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    up, down = f"{TO_Q}.lora_up.weight", f"{TO_Q}.lora_down.weight"
    good = lora()
    yield "right", st.of(good), FINE
    yield "up-alone", st.of({up: good[up]}), BAD_FILE
    yield "down-alone", st.of({down: good[down]}), BAD_FILE
    yield "alpha-alone", st.of({f"{TO_Q}.alpha": floats()}), BAD_FILE
    yield "rank-0", st.of(lora(rank=0)), ANY
    yield "ranks-differ", st.of({**good, down: floats(3, 8)}), BAD_FILE
    yield "rank-huge", st.of(lora(rank=100_000)), ANY
    yield "wrong-input", st.of(lora(into=9)), BAD_FILE
    yield "wrong-output", st.of(lora(out=9)), BAD_FILE
    yield "scalars", st.of({up: floats(), down: floats()}), BAD_FILE
    yield "vectors", st.of({up: floats(8), down: floats(8)}), BAD_FILE
    yield "of-5-dimensions", st.of({up: floats(8, 2, 1, 1, 1), down: floats(2, 8, 1, 1, 1)}), ANY
    yield "alpha-a-vector", st.of({**good, f"{TO_Q}.alpha": floats(5)}), BAD_FILE
    yield "alpha-nothing", st.of({**good, f"{TO_Q}.alpha": floats(0)}), BAD_FILE
    for name, value in {"nan": np.nan, "infinite": np.inf, "negative": -1.0, "zero": 0.0}.items():
        yield f"alpha-{name}", st.of({**good, f"{TO_Q}.alpha": floats(value=value)}), ANY | {5}
    yield "weights-nan", st.of({**good, up: floats(8, 2, value=np.nan)}), ANY | {5}
    yield "integers", st.of({up: np.ones((8, 2), np.int64), down: np.ones((2, 8), np.int64)}), BAD_FILE
    yield "of-another-model", st.of(lora("lora_unet_no_such_block")), BAD_FILE
    yield "names-empty", st.of({"": floats(8, 2), ".": floats(8, 2), ".lora_up.weight": floats(8, 2), ".lora_down.weight": floats(2, 8)}), BAD_FILE
    yield "names-of-dots", st.of({"." * 5000 + "lora_up.weight": floats(8, 2)}), BAD_FILE
    yield "name-of-a-megabyte", st.of(lora("lora_unet_" + "_down" * 200_000)), BAD_FILE
    yield "names-with-escapes", st.of(lora("lora_unet_\x1b[31m\x07")), BAD_FILE
    yield "20000-strangers", st.of({k: v for i in range(20_000) for k, v in lora(f"lora_unet_x_{i}", rank=1).items()}), BAD_FILE
    yield "20000-strangers-and-one", st.of({**good, **{k: v for i in range(20_000) for k, v in lora(f"lora_unet_x_{i}", rank=1).items()}}), ANY
    yield "twice-in-two-spellings", st.of({**good, "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight": floats(2, 8), "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight": floats(8, 2)}), ANY
    yield "positions-alone", st.of({f"unet:{i}:{side}": floats(8, 8) for i in range(50) for side in ("up", "down")}), BAD_FILE
    yield "dora-wrong", st.of({**good, f"{TO_Q}.dora_scale": floats(9, 1)}), BAD_FILE
    yield "dora-scalar", st.of({**good, f"{TO_Q}.dora_scale": floats()}), BAD_FILE
    yield "dora-zero", st.of({**good, f"{TO_Q}.dora_scale": floats(8, 1, value=0.0)}), ANY
    loha = {f"{TO_K}.hada_w1_a": floats(8, 2), f"{TO_K}.hada_w1_b": floats(2, 32), f"{TO_K}.hada_w2_a": floats(8, 2), f"{TO_K}.hada_w2_b": floats(2, 32)}
    yield "loha-right", st.of(loha), FINE
    yield "loha-half", st.of({k: v for k, v in loha.items() if "w2" not in k}), BAD_FILE
    yield "loha-ranks-differ", st.of({**loha, f"{TO_K}.hada_w1_a": floats(8, 3)}), BAD_FILE
    yield "loha-sizes-differ", st.of({**loha, f"{TO_K}.hada_w2_b": floats(2, 31)}), BAD_FILE
    yield "loha-core-wrong", st.of({**loha, f"{TO_K}.hada_t1": floats(3, 3, 3, 3)}), BAD_FILE
    lokr = {f"{TO_K}.lokr_w1": floats(2, 2), f"{TO_K}.lokr_w2": floats(4, 16)}
    yield "lokr-right", st.of(lokr), FINE
    yield "lokr-wrong", st.of({**lokr, f"{TO_K}.lokr_w2": floats(5, 16)}), BAD_FILE
    yield "lokr-half", st.of({f"{TO_K}.lokr_w1": floats(2, 2)}), BAD_FILE
    yield "lokr-product-huge", st.of({f"{TO_K}.lokr_w1": floats(3000, 1), f"{TO_K}.lokr_w2": floats(1, 3000)}), BAD_FILE
    yield "lokr-product-of-terabytes", st.of({f"{TO_K}.lokr_w1": floats(1000, 1000), f"{TO_K}.lokr_w2": floats(1000, 1000)}), BAD_FILE
    yield "lokr-zero", st.of({f"{TO_K}.lokr_w1": floats(0, 2), f"{TO_K}.lokr_w2": floats(4, 16)}), BAD_FILE
    yield "conv-core-wrong", st.of({**lora(CONV), f"{CONV}.lora_mid.weight": floats(2, 3, 3, 3)}), BAD_FILE
    yield "conv-flat", st.of({f"{CONV}.lora_up.weight": floats(8, 2), f"{CONV}.lora_down.weight": floats(2, 8)}), BAD_FILE
    yield "difference-wrong", st.of({f"{TO_Q}.diff": floats(9, 9)}), BAD_FILE
    yield "norm-wrong", st.of({"lora_unet_conv_norm_out.w_norm": floats(7)}), BAD_FILE
    metadata = {"ss_network_dim": "-1", "ss_network_alpha": "nan", "ss_tag_frequency": "{" * 100_000, "modelspec.title": "\x1b[2J"}
    yield "metadata-junk", st.of(good, metadata), FINE


def controlnet(model: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """A ControlNet of the model's own first half."""
    config = json.loads((model / "unet/config.json").read_text())
    config |= {"_class_name": "ControlNetModel", "conditioning_embedding_out_channels": [4, 6, 8], "conditioning_channels": 3,
               "controlnet_conditioning_channel_order": "rgb", "global_pool_conditions": False}
    for key in ("up_block_types", "out_channels", "sample_size", "center_input_sample", "conv_out_kernel"):
        config.pop(key, None)
    tensors = {n: a for n, a in st.arrays(model / UNET).items() if not n.startswith(("up_blocks", "conv_out", "conv_norm_out"))}
    picture = "controlnet_cond_embedding"
    for name, shape in {"conv_in": (4, 3, 3, 3), "blocks.0": (4, 4, 3, 3), "blocks.1": (6, 4, 3, 3), "blocks.2": (6, 6, 3, 3),
                        "blocks.3": (8, 6, 3, 3), "conv_out": (8, 8, 3, 3)}.items():
        tensors |= {f"{picture}.{name}.weight": floats(*shape), f"{picture}.{name}.bias": floats(shape[0])}
    for name, width in {"down_blocks.0": 8, "down_blocks.1": 8, "down_blocks.2": 8, "down_blocks.3": 16, "mid_block": 16}.items():
        tensors |= {f"controlnet_{name}.weight": floats(width, width, 1, 1), f"controlnet_{name}.bias": floats(width)}
    return config, tensors


def control_folder(config: str | bytes | None, weights: bytes | None, folder: Path) -> None:
    (folder / "net").mkdir()
    if config is not None:
        (folder / "net/config.json").write_bytes(config if isinstance(config, bytes) else config.encode())
    if weights is not None:
        (folder / "net/diffusion_pytorch_model.safetensors").write_bytes(weights)
    picture = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 90)).save(picture, "PNG")
    (folder / "edges.png").write_bytes(picture.getvalue())


def control_cases(model: Path) -> Iterator[Case]:
    words = ["-m", str(model), *PICTURE, "--controlnet", "IN/net", "--control-image", "IN/edges.png"]
    config, tensors = controlnet(model)
    text, good = json.dumps(config), st.of(tensors)

    def case(name: str, config: str | bytes | None, weights: bytes | None, codes: frozenset[int] = BAD_FILE, says: tuple = ("net",)) -> Case:
        return Case(f"controlnet/{name}", partial(control_folder, config, weights), words, codes, says)

    yield case("right", text, good, FINE)
    yield case("no-config", None, good)
    yield case("no-weights", text, None)
    yield case("empty-weights", text, st.raw(b"{}"))
    yield case("weights-cut", text, good[: len(good) // 2])
    yield case("config-cut", text[:50], good)
    yield case("of-a-unet", (model / "unet/config.json").read_text(), (model / UNET).read_bytes())
    for name in tensors:
        if name.startswith("controlnet_"):
            yield case(f"tensor-missing/{name}", text, st.of({k: v for k, v in tensors.items() if k != name}), says=("net", name))
            wrong = {**tensors, name: floats(7, 7, 7, 7)}
            yield case(f"tensor-reshaped/{name}", text, st.of(wrong), says=("net", name))
    for path in paths(config):
        if path[0] in ("conditioning_embedding_out_channels", "conditioning_channels", "controlnet_conditioning_channel_order",
                       "global_pool_conditions", "_class_name", "block_out_channels", "cross_attention_dim"):
            for name, value in VALUES.items():
                changed = replaced(config, path, value)
                yield case(f"config/{'.'.join(map(str, path))}-{name}", dumped(changed), good, ANY)
    file = ["-m", str(model), *PICTURE, "--t2i-adapter", "IN/net", "--control-image", "IN/edges.png"]
    yield Case("t2i-adapter/a-controlnet", partial(control_folder, text, good), file, BAD_FILE, ["net"])


def words_of(model: Path) -> Iterator[tuple[str, bytes, frozenset[int]]]:
    width = 32
    yield "right", st.of({"emb_params": floats(2, width)}), FINE
    yield "no-vectors", st.of({"emb_params": floats(0, width)}), BAD_FILE
    yield "scalar", st.of({"emb_params": floats()}), BAD_FILE
    yield "of-3-dimensions", st.of({"emb_params": floats(1, 1, width)}), BAD_FILE
    yield "too-wide", st.of({"emb_params": floats(2, width + 1)}), BAD_FILE
    yield "for-sdxl", st.of({"clip_l": floats(2, width), "clip_g": floats(2, width)}), BAD_FILE
    yield "nothing", st.raw(b"{}"), BAD_FILE
    yield "many-tensors", st.of({f"t{i}": floats(1, width) for i in range(50)}), BAD_FILE
    yield "integers", st.of({"emb_params": np.ones((2, width), np.int64)}), BAD_FILE
    yield "nan", st.of({"emb_params": floats(2, width, value=np.nan)}), ANY | {5}
    yield "200000-vectors", st.of({"emb_params": floats(200_000, width)}), BAD | {0}
    yield "name-blank", st.of({"   ": floats(1, width)}), ANY
    yield "name-with-escapes", st.of({"\x1b[2J": floats(1, width)}), ANY
    yield "name-of-a-megabyte", st.of({"w" * 1_000_000: floats(1, width)}), ANY
    yield "a-lora", st.of(lora()), BAD_FILE


def cases(model: Path) -> Iterator[Case]:
    base = ["-m", str(model), *PICTURE]
    for name, data, codes in loras():
        yield Case(f"lora/{name}", write("x.safetensors", data), [*base, "--lora", "IN/x.safetensors"], codes, [("x.safetensors", "NaN")])
        yield Case(f"lora-inspect/{name}", write("x.safetensors", data), ["inspect", "IN/x.safetensors"], ANY, ["x.safetensors"])
    for name, data, codes in words_of(model):
        learned = [*base, "--textual-inversion", "IN/newword.safetensors"]
        learned[learned.index("a fox")] = "a fox newword"
        yield Case(f"learned-word/{name}", write("newword.safetensors", data), learned, codes, [("newword.safetensors", "NaN")])
    for kind in ("--vae", "--controlnet", "--t2i-adapter"):
        more = [] if kind == "--vae" else ["--control-image", str(model / "none.png")]
        for name, data in {"empty": b"", "nothing": st.raw(b"{}"), "a-lora": st.of(lora()), "pickle": b"PK\x03\x04" + bytes(100)}.items():
            yield Case(f"single-file/{kind[2:]}-{name}", write("x.safetensors", data), [*base, kind, "IN/x.safetensors", *more], BAD, [("x.safetensors", "none.png")])
    yield from control_cases(model)
    yield from whole_models()


def whole_models() -> Iterator[Case]:
    """Single files and folders as --model that are none."""
    words = ["-m", "IN/x", *PICTURE]
    for name, data in {
        "ckpt": b"PK\x03\x04" + bytes(1000),
        "legacy-pickle": b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + bytes(100),
        "gguf": b"GGUF\x03\0\0\0" + b"\xff" * 16 + bytes(1000),
        "text": b"hello",
        "empty": b"",
    }.items():
        for ending in ("safetensors", "ckpt", "gguf", ""):
            file = f"x.{ending}" if ending else "x"
            yield Case(f"model-file/{name}-{ending or 'plain'}", write(file, data), ["-m", f"IN/{file}", *PICTURE], BAD, [file])
    stem = "model.diffusion_model."
    for name, tensors in {
        "one-name": {f"{stem}input_blocks.0.0.weight": floats(320, 4, 3, 3)},
        "names-of-sdxl": {f"{stem}input_blocks.0.0.weight": floats(320, 4, 3, 3), "conditioner.embedders.1.model.ln_final.weight": floats(1280)},
        "scalars": {f"{stem}input_blocks.0.0.weight": floats(), "first_stage_model.decoder.conv_in.weight": floats(), "cond_stage_model.transformer.text_model.final_layer_norm.weight": floats()},
        "zero-wide": {f"{stem}input_blocks.0.0.weight": floats(0, 4, 3, 3), f"{stem}out.2.weight": floats(4, 0, 3, 3)},
        "blocks-to-a-million": {f"{stem}input_blocks.{i}.0.weight": floats(1) for i in (0, 1, 999_999, 2**40)},
        "flux": {"double_blocks.0.img_attn.qkv.weight": floats(3, 1)},
        "sd3": {f"{stem}joint_blocks.0.x_block.attn.qkv.weight": floats(3, 1)},
        "lora": lora(),
    }.items():
        yield Case(f"model-file/original-{name}", write("x.safetensors", st.of(tensors)), ["-m", "IN/x.safetensors", *PICTURE], BAD_FILE, ["x.safetensors"])
        yield Case(f"model-file/inspect-{name}", write("x.safetensors", st.of(tensors)), ["inspect", "IN/x.safetensors"], ANY, ["x.safetensors"])

    def pickles(folder: Path) -> None:
        for part in ("unet", "vae", "text_encoder"):
            (folder / "x" / part).mkdir(parents=True)
            (folder / "x" / part / "diffusion_pytorch_model.bin").write_bytes(b"PK\x03\x04" + bytes(100))
        (folder / "x/model_index.json").write_text('{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}')

    yield Case("model-folder/pickles", pickles, words, BAD_FILE, ["x"])
    yield Case("model-folder/empty", lambda folder: (folder / "x").mkdir(), words, BAD_FILE, ["x"])
    yield Case("model-folder/missing", lambda folder: None, words, BAD, ["x"])
