// The networks that models are made of: the classes that diffusers and transformers have for them, and the parts of a
// model that they are. What is known of a network by its class or by its name in a model stands here and nowhere else.
// No torch here: what builds the networks is families/networks.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace sdgen {

enum class Role { backbone, autoencoder, text_encoder, controlnet, t2i_adapter };

// What computes it: classes that differ in their configs alone share one.
enum class Architecture {
  unet,
  pixel_unet,
  sd3_transformer,
  flux_transformer,
  flux2_transformer,
  chroma_transformer,
  pixart_transformer,
  dit_transformer,
  qwen_transformer,
  z_image_transformer,
  lumina2_transformer,
  autoencoder_kl,
  flux2_autoencoder,
  qwen_vae,
  tiny_autoencoder,
  clip_text,
  t5,
  decoder_text,
  controlnet,
  sd3_controlnet,
  flux_controlnet,
  t2i_adapter
};

// How the files of weights begin that diffusers and transformers write.
inline constexpr const char *kDiffusersStem = "diffusion_pytorch_model", *kTransformersStem = "model";

struct ComponentClass {
  const char* name;  // in model_index.json, and in its own config.json
  Role role;
  Architecture architecture;
  const char* stem;       // of its files of weights
  bool projects = false;  // a text encoder whose summary of a prompt goes through kProjection
};

// The tensor of a text encoder that projects. Files of other encoders may hold one: nothing reads it.
inline constexpr const char* kProjection = "text_projection.weight";

// What a pipeline calls one of its networks: a key of model_index.json, the folder beside it.
struct ModelPart {
  const char* name;
  Role role;
  const char* usual_class;
  // Of text encoders: the folder of the tokenizer, and the tensor of a textual inversion that has several.
  const char *tokenizer = nullptr, *words = nullptr;
  // Of what LoRA files change: what comes before the dotted names of its modules, and before those with underscores.
  std::vector<const char*> lora_dotted = {}, lora_joined = {};
};

// In the order in which people are shown the parts of a model.
const std::vector<ModelPart>& model_parts();

// What the single file of a transformer leaves to others.
struct Companions {
  struct Text {
    const char* part;  // of model_parts()
    Architecture architecture;
    const char *called, *file;  // what people call it, and how its files begin
    bool optional = false;
    const char* model_type = "";  // of a language model, as transformers' configs say it
  };
  std::vector<Text> text;                        // what tells it of the prompt
  const char *text_source, *autoencoder_source;  // where people get them
  const char* autoencoder_file = "";             // what it is called there, if it is a file
  Architecture autoencoder = Architecture::autoencoder_kl;

  // "flux2-vae.safetensors in split_files/vae/ of ..."
  std::string autoencoder_origin() const;
  // What people call the text encoder of this part, and its file: "Qwen3 (qwen_3_4b.safetensors)".
  static std::string named(const Text& text);
};
// Null for networks that are published with all the rest.
const Companions* companions_of(Architecture network);

// Throws Error(internal) for names that are not in the table.
const ModelPart& model_part(std::string_view name);
const ComponentClass& component_class(std::string_view name);
// The first class that it computes.
const ComponentClass& component_class(Architecture network);
// Null for a class that is not in the table.
const ComponentClass* find_component_class(std::string_view name);

// The first part that such networks are; null where they are no part of a model, but steer one.
const ModelPart* part_with(Role role);
// "AutoencoderKL or AutoencoderTiny"
std::string classes_with(Role role);
// The class that a config names, if it is one for this part (before diffusers 0.28 two classes had one name: its config
// tells them apart); else `indexed`, model_index.json's; else the usual one.
const ComponentClass& class_of(const ModelPart& part, const Config& config, const ComponentClass* indexed = nullptr);

}  // namespace sdgen
