// The options about the networks, and the machine that they run on.
#include "cli/lora_tags.h"
#include "cli/option_fields.h"
#include "cli/values.h"

namespace sdgen::cli {
namespace {

constexpr std::uint64_t kMaxThreads = 4096;

OrderedJson recorded_precision(const PictureFacts& made, std::string_view) { return made.model.precision; }

// Memory may not have sufficed for what was said; bytes depend on what was done.
OrderedJson recorded_tiling(const PictureFacts& made, std::string_view) {
  return made.computation.vae_tiling ? OrderedJson(true) : OrderedJson();
}

std::vector<OptionRow> model_section() {
  const Section in{"Model", Scope::model, /*environment=*/true};
  return {
      in.row(
            "-m --model PATH", file(&Options::model),
            "a diffusers folder, a single file (.safetensors, .gguf), or ORG/NAME in the hub's local cache: Stable "
            "Diffusion 1, 2, SDXL, 3, 3.5, Flux.1, FLUX.2 klein, Chroma1, Qwen-Image, Z-Image, Lumina-Image 2, PixArt; "
            "the folder of DiT, whose prompt is a class, or of a "
            "DDPMPipeline or DDIMPipeline, which takes no prompt; embedded: the model that comes with sdgen "
            "(default: $SDGEN_MODEL, else embedded)")
          .from_environment(false),  // find_model() knows it
      in.row("--unet PATH", network(&LoadOptions::backbone),
             "a U-Net instead of the model's own: a folder, or a .safetensors or .gguf file that holds one alone "
             "(Lightning, Turbo, LCM); scheduler, steps and guidance follow it where it says something about them")
          .in_core("backbone"),
      in.row("--vae PATH", network(&LoadOptions::vae),
             "an autoencoder instead of the model's own: a folder or a .safetensors file"),
      in.row(
            "--text-encoder PATH", network(&LoadOptions::text_encoders),
            "a text encoder instead of the model's own, or one that a transformer's file lacks: clip_l, clip_g, t5xxl, "
            "known by their structure; a .safetensors or .gguf file, or a folder; may be given several times")
          .in_core("text_encoders"),
      in.row("--refiner PATH", network(&LoadOptions::refiner),
             "an SDXL model that does the last steps, on the pictures that the first one began"),
      in.row("--refiner-start X", field(&Request::refiner_start, number(0, 1)),
             "where it takes over: the share of noise levels that are done by then (default: 0.8)")
          .in_a1111({.key = "Refiner switch at", .needs = {"--refiner"}}),

      in.row("--lora PATH[:SCALE]", field(&Request::loras, parts<Lora>(lora, written)),
             "a LoRA (.safetensors: LoRA, LoCon, LoHa, LoKr, DoRA, GLoRA, OFT, ...) and how much of it to add "
             "(default: 1); "
             "PATH:unet=0.8,te=0.5 sets U-Net and text encoders separately; may be given several times")
          .about(Scope::picture)
          .in_core("loras"),
      in.row("--lora-dir DIR", field(&RunOptions::lora_dir, path(Value::Kind::folder)),
             "where <lora:NAME:SCALE> in a prompt finds NAME.safetensors, in the folder or below it"),
      in.row("--strict", on(&LoadOptions::strict),
             "a LoRA that fits the model only in part is an error (default: a warning)"),

      in.row("--textual-inversion PATH[:WORD]",
             as_given(field(&LoadOptions::textual_inversions, parts<TextualInversion>(textual_inversion, written))),
             "a textual inversion (.safetensors) and its word in prompts (default: the name in the file, else the "
             "file's); may be given several times")
          .in_core("textual_inversions"),

      in.row("--controlnet PATH", network(&LoadOptions::controlnets),
             "a ControlNet that steers by a picture (see --control-image): a diffusers folder or a .safetensors file; "
             "may be given several times")
          .in_core("controlnets"),
      in.row("--t2i-adapter PATH", network(&LoadOptions::adapters),
             "a T2I-Adapter that steers by a picture: a diffusers folder or a .safetensors file; may be given several "
             "times")
          .in_core("adapters"),
  };
}

std::vector<OptionRow> machine_section() {
  const Section in{"Machine", Scope::model, /*environment=*/true};
  return {
      in.row("--device NAME", field(&LoadOptions::device, device_type()), "auto, cpu, cuda or cuda:N (default: auto)"),
      in.row("--dtype TYPE",
             field(&LoadOptions::precision, words<Precision>({{"auto", Precision::automatic},
                                                              {"float32", Precision::float32},
                                                              {"float16", Precision::float16},
                                                              {"bfloat16", Precision::bfloat16}})),
             "{words}: what the networks compute in (default: auto); float32 on the CPU gives the same picture as "
             "diffusers")
          .recorded(recorded_precision)
          .in_core("precision"),
      in.row("--quantize TYPE", as_given(field(&LoadOptions::quantize, quantize_type())),
             "{words}: keep the large matrices of the denoising network and of T5 in these codes, encoded while they "
             "are read: half of bfloat16's memory, q4_k takes 0.28 of it; another picture, near to that of the model "
             "as it is (default: none); int8 rounds what is multiplied as well, convolutions too, and is faster than "
             "dense weights; sdgen convert writes such files"),
      in.row("--vae-tiling", on(&LoadOptions::vae_tiling),
             "turn latents into pictures, and back, in tiles of 512x512 pixels: memory does not grow with the size, "
             "but it takes about six times as long; the same picture within 1 of 255, without seams")
          .recorded(recorded_tiling),
      in.row("--offload", on(&LoadOptions::offload),
             "for GPUs that cannot hold the whole model: text encoder, denoising network and autoencoder take turns; "
             "where one is too large by itself, its layers do; slower. On the CPU prompts are read before the "
             "denoising network is, as where there is no room for both"),
      in.row("--threads N", field(&RunOptions::threads, whole(1, kMaxThreads)), "CPU threads (default: one a core)"),
      in.row("--profile FILE", field(&RunOptions::profile, written_path()),
             "write how long stages and operators took, as a Chrome trace (for ui.perfetto.dev)")
          .about(Scope::run),
  };
}

}  // namespace

std::vector<OptionRow> model_options() { return together(model_section(), machine_section()); }

}  // namespace sdgen::cli
