#include "formats/components.h"

#include <algorithm>

#include "io/text.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// PixArt's and DiT's before diffusers 0.28.
constexpr const char* kBothTransformers = "Transformer2DModel";

constexpr ComponentClass kClasses[] = {
    {"UNet2DConditionModel", Role::backbone, Architecture::unet, kDiffusersStem},
    {"UNet2DModel", Role::backbone, Architecture::pixel_unet, kDiffusersStem},
    {"SD3Transformer2DModel", Role::backbone, Architecture::sd3_transformer, kDiffusersStem},
    {"FluxTransformer2DModel", Role::backbone, Architecture::flux_transformer, kDiffusersStem},
    {"Flux2Transformer2DModel", Role::backbone, Architecture::flux2_transformer, kDiffusersStem},
    {"ChromaTransformer2DModel", Role::backbone, Architecture::chroma_transformer, kDiffusersStem},
    {"PixArtTransformer2DModel", Role::backbone, Architecture::pixart_transformer, kDiffusersStem},
    {"DiTTransformer2DModel", Role::backbone, Architecture::dit_transformer, kDiffusersStem},
    {"QwenImageTransformer2DModel", Role::backbone, Architecture::qwen_transformer, kDiffusersStem},
    {"ZImageTransformer2DModel", Role::backbone, Architecture::z_image_transformer, kDiffusersStem},
    {"Lumina2Transformer2DModel", Role::backbone, Architecture::lumina2_transformer, kDiffusersStem},
    {kBothTransformers, Role::backbone, Architecture::pixart_transformer, kDiffusersStem},
    {"AutoencoderKL", Role::autoencoder, Architecture::autoencoder_kl, kDiffusersStem},
    {"AutoencoderKLFlux2", Role::autoencoder, Architecture::flux2_autoencoder, kDiffusersStem},
    {"AutoencoderKLQwenImage", Role::autoencoder, Architecture::qwen_vae, kDiffusersStem},
    {"AutoencoderTiny", Role::autoencoder, Architecture::tiny_autoencoder, kDiffusersStem},
    {"CLIPTextModel", Role::text_encoder, Architecture::clip_text, kTransformersStem},
    {"CLIPTextModelWithProjection", Role::text_encoder, Architecture::clip_text, kTransformersStem,
     /*projects=*/true},
    {"T5EncoderModel", Role::text_encoder, Architecture::t5, kTransformersStem},
    {"Qwen3ForCausalLM", Role::text_encoder, Architecture::decoder_text, kTransformersStem},
    {"Qwen3Model", Role::text_encoder, Architecture::decoder_text, kTransformersStem},
    {"Qwen2_5_VLForConditionalGeneration", Role::text_encoder, Architecture::decoder_text, kTransformersStem},
    {"Gemma2Model", Role::text_encoder, Architecture::decoder_text, kTransformersStem},
    {"Gemma2ForCausalLM", Role::text_encoder, Architecture::decoder_text, kTransformersStem},
    {"ControlNetModel", Role::controlnet, Architecture::controlnet, kDiffusersStem},
    {"SD3ControlNetModel", Role::controlnet, Architecture::sd3_controlnet, kDiffusersStem},
    {"FluxControlNetModel", Role::controlnet, Architecture::flux_controlnet, kDiffusersStem},
    {"T2IAdapter", Role::t2i_adapter, Architecture::t2i_adapter, kDiffusersStem},
};

}  // namespace

const std::vector<ModelPart>& model_parts() {
  static const std::vector<ModelPart> parts = {
      {.name = "unet",
       .role = Role::backbone,
       .usual_class = "UNet2DConditionModel",
       .lora_dotted = {"", "unet."},
       .lora_joined = {"lora_unet_", "lycoris_", "lycoris_unet_", "oft_unet_"}},
      {.name = "transformer",
       .role = Role::backbone,
       .usual_class = "SD3Transformer2DModel",
       .lora_dotted = {"", "transformer.", "diffusion_model.", "model.diffusion_model.", "unet.base_model.model."},
       .lora_joined = {"lora_unet_", "lora_transformer_", "lycoris_", "lycoris_transformer_", "oft_unet_"}},
      {.name = "vae", .role = Role::autoencoder, .usual_class = "AutoencoderKL"},
      {.name = "text_encoder",
       .role = Role::text_encoder,
       .usual_class = "CLIPTextModel",
       .tokenizer = "tokenizer",
       .words = "clip_l",
       .lora_dotted = {"", "text_encoder.", "text_encoders.clip_l.transformer."},
       .lora_joined = {"lora_te_", "lora_te1_", "lycoris_text_encoder_"}},
      {.name = "text_encoder_2",
       .role = Role::text_encoder,
       .usual_class = "CLIPTextModelWithProjection",
       .tokenizer = "tokenizer_2",
       .words = "clip_g",
       .lora_dotted = {"text_encoder_2.", "text_encoders.clip_g.transformer."},
       .lora_joined = {"lora_te2_", "lycoris_text_encoder_2_"}},
      {.name = "text_encoder_3",
       .role = Role::text_encoder,
       .usual_class = "T5EncoderModel",
       .tokenizer = "tokenizer_3",
       .lora_dotted = {"text_encoder_3."},
       .lora_joined = {"lora_te3_", "lycoris_text_encoder_3_"}},
  };
  return parts;
}

const Companions* companions_of(Architecture network) {
  static const Companions sd3{{{"text_encoder", Architecture::clip_text, "CLIP-L", "clip_l"},
                               {"text_encoder_2", Architecture::clip_text, "CLIP-G", "clip_g"},
                               {"text_encoder_3", Architecture::t5, "T5", "t5xxl", /*optional=*/true}},
                              "text_encoders/ of huggingface.co/stabilityai/stable-diffusion-3.5-large",
                              "vae/ of huggingface.co/stabilityai/stable-diffusion-3.5-large"};
  static const Companions pixart{{{"text_encoder", Architecture::t5, "T5", "t5xxl"}},
                                 "text_encoder/ of huggingface.co/PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
                                 "vae/ of huggingface.co/PixArt-alpha/PixArt-Sigma-XL-2-1024-MS, for alpha of "
                                 "PixArt-XL-2-1024-MS"};
  static const Companions flux{{{"text_encoder", Architecture::clip_text, "CLIP-L", "clip_l"},
                                {"text_encoder_2", Architecture::t5, "T5", "t5xxl"}},
                               "huggingface.co/comfyanonymous/flux_text_encoders",
                               "huggingface.co/black-forest-labs/FLUX.1-schnell",
                               "ae.safetensors"};
  static const Companions z_image{{{"text_encoder", Architecture::decoder_text, "Qwen3", "qwen_3_4b", false, "qwen3"}},
                                  "split_files/text_encoders/ of huggingface.co/Comfy-Org/z_image_turbo",
                                  "split_files/vae/ of huggingface.co/Comfy-Org/z_image_turbo",
                                  "ae.safetensors"};
  static const Companions lumina2{
      {{"text_encoder", Architecture::decoder_text, "Gemma 2", "gemma_2_2b_fp16", false, "gemma2"}},
      "text_encoder/ of huggingface.co/Alpha-VLLM/Lumina-Image-2.0",
      "vae/ of huggingface.co/Alpha-VLLM/Lumina-Image-2.0"};
  static const Companions qwen_image{
      {{"text_encoder", Architecture::decoder_text, "Qwen2.5-VL", "qwen_2.5_vl_7b", false, "qwen2_5_vl"}},
      "split_files/text_encoders/ of huggingface.co/Comfy-Org/Qwen-Image_ComfyUI",
      "split_files/vae/ of huggingface.co/Comfy-Org/Qwen-Image_ComfyUI",
      "qwen_image_vae.safetensors",
      Architecture::qwen_vae};
  static const Companions flux2{{{"text_encoder", Architecture::decoder_text, "Qwen3", "qwen_3_4b", false, "qwen3"}},
                                "split_files/text_encoders/ of huggingface.co/Comfy-Org/Flux-2-Klein-4B (for klein 9B "
                                "qwen_3_8b.safetensors of Flux-2-Klein-9B)",
                                "split_files/vae/ of huggingface.co/Comfy-Org/Flux-2-Klein-4B",
                                "flux2-vae.safetensors",
                                Architecture::flux2_autoencoder};
  static const Companions chroma{{{"text_encoder", Architecture::t5, "T5", "t5xxl"}},
                                 "huggingface.co/comfyanonymous/flux_text_encoders",
                                 "huggingface.co/black-forest-labs/FLUX.1-schnell",
                                 "ae.safetensors"};
  switch (network) {
    case Architecture::qwen_transformer:
      return &qwen_image;
    case Architecture::flux2_transformer:
      return &flux2;
    case Architecture::chroma_transformer:
      return &chroma;
    case Architecture::sd3_transformer:
      return &sd3;
    case Architecture::z_image_transformer:
      return &z_image;
    case Architecture::lumina2_transformer:
      return &lumina2;
    case Architecture::flux_transformer:
      return &flux;
    case Architecture::pixart_transformer:
      return &pixart;
    default:
      return nullptr;
  }
}

std::string Companions::autoencoder_origin() const {
  return *autoencoder_file ? concat(autoencoder_file, " in ", autoencoder_source) : autoencoder_source;
}

std::string Companions::named(const Text& text) {
  return concat(text.called, " (", text.file, text.architecture == Architecture::t5 ? "_fp16" : "", ".safetensors)");
}

const ModelPart& model_part(std::string_view name) {
  const auto found = std::ranges::find(model_parts(), name, &ModelPart::name);
  if (found == model_parts().end()) throw Error(Fault::internal, concat("no part of a model is called '", name, "'"));
  return *found;
}

const ComponentClass& component_class(std::string_view name) {
  const ComponentClass* found = find_component_class(name);
  if (!found) throw Error(Fault::internal, concat("no network is of class '", name, "'"));
  return *found;
}

const ComponentClass& component_class(Architecture network) {
  return *std::ranges::find(kClasses, network, &ComponentClass::architecture);
}

const ComponentClass* find_component_class(std::string_view name) {
  const auto found = std::ranges::find(kClasses, name, &ComponentClass::name);
  return found == std::end(kClasses) ? nullptr : &*found;
}

const ModelPart* part_with(Role role) {
  const auto found = std::ranges::find(model_parts(), role, &ModelPart::role);
  return found == model_parts().end() ? nullptr : &*found;
}

std::string classes_with(Role role) {
  std::vector<std::string> names;
  for (const ComponentClass& one : kClasses)
    if (one.role == role) names.emplace_back(one.name);
  return joined(names, " or ");
}

const ComponentClass& class_of(const ModelPart& part, const Config& config, const ComponentClass* indexed) {
  const std::string name = config.string("_class_name", "");
  if (name == kBothTransformers && config.string("norm_type", "") == "ada_norm_zero")
    return component_class("DiTTransformer2DModel");
  const ComponentClass* own = find_component_class(name);
  if (own && own->role == part.role) return *own;
  return indexed ? *indexed : component_class(part.usual_class);
}

}  // namespace sdgen
