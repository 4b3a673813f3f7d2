#include "formats/file_kind.h"

#include <algorithm>
#include <string_view>

#include "formats/decoder_layout.h"
#include "formats/known_widths.h"
#include "formats/lora_summary.h"
#include "formats/qwen_layout.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// Questions about the names of a table.
class Names {
 public:
  explicit Names(const TensorTable& table) : table_(table) {}

  bool has(std::string_view name) const { return table_.find(name) != nullptr; }
  bool starts(std::string_view prefix) const {
    const auto next = table_.tensors().lower_bound(prefix);
    return next != table_.tensors().end() && next->first.starts_with(prefix);
  }
  template <class Test>
  bool any(const Test& test) const {
    return std::any_of(table_.tensors().begin(), table_.tensors().end(), [&](const auto& t) { return test(t.first); });
  }
  bool contain(std::string_view part) const {
    return any([part](const std::string& name) { return name.find(part) != std::string::npos; });
  }
  // A dimension of a tensor, 0 where there is none.
  std::int64_t dim(std::string_view name, std::size_t index) const {
    const StoredTensor* entry = table_.find(name);
    return entry && index < entry->shape.size() ? entry->shape[index] : 0;
  }
  // The last dimension of the first tensor whose name ends so; 0 where there is none.
  std::int64_t width(std::string_view ending) const {
    for (const auto& [name, entry] : table_.tensors())
      if (name.ends_with(ending) && !entry.where->shape.empty()) return entry.where->shape.back();
    return 0;
  }

 private:
  const TensorTable& table_;
};

// A textual inversion is a few vectors as wide as a text encoder: under A1111's names, ComfyUI's for SDXL, or
// (diffusers) one tensor whose name is the word.
bool is_embedding(const TensorTable& table, const Names& names) {
  if (names.has("emb_params") || names.has("clip_l") || names.has("clip_g") || names.starts("string_to_param."))
    return table.tensors().size() <= 8;
  if (table.tensors().size() != 1) return false;
  const StoredTensor& only = *table.tensors().begin()->second.where;
  if (only.shape.empty() || only.shape.size() > 2 || (only.shape.size() == 2 && only.shape[0] > 1000)) return false;
  return !families_of_text(only.shape.back()).empty();
}

FileSummary embedding(const Names& names) {
  const std::int64_t width = names.width("");
  const bool both = names.has("clip_l") && names.has("clip_g");
  return {FileKind::embedding, "textual inversion", both ? "SDXL" : family_of_text(width), ""};
}

// Parts and additions of a model that steer it.
FileSummary steering(const Names& names) {
  const std::string family = family_of_context(names.width("attn2.to_k.weight"));
  if (names.has("lora_controlnet")) return {FileKind::controlnet, "Control-LoRA", family, ""};
  if (names.starts("controlnet_cond_embedding.") || names.starts("controlnet_down_blocks."))
    return {FileKind::controlnet, "ControlNet", family, "diffusers"};
  if (names.starts("controlnet_blocks.") && names.starts("double_blocks."))
    return {FileKind::controlnet, "ControlNet", "Flux", "original"};
  if (names.starts("controlnet_x_embedder.")) return {FileKind::controlnet, "ControlNet", "Flux", "diffusers"};
  if (names.starts("pos_embed_input.proj."))
    return {FileKind::controlnet, "ControlNet", "Stable Diffusion 3",
            names.starts("transformer_blocks.0.attn.qkv.") ? "original" : "diffusers"};
  if (names.starts("lllite_")) return {FileKind::other, "ControlNet-LLLite", "", ""};
  if (names.has("style_embedding")) return {FileKind::other, "style adapter (T2I-Adapter)", "", ""};
  if (names.starts("id_encoder.")) return {FileKind::other, "PhotoMaker", "", ""};
  for (const std::string_view width : {"320.", "640.", "768.", "1024.", "1280."})
    if (names.has(concat(width, "0.linear.0.weight"))) return {FileKind::other, "hypernetwork", "", ""};
  if (names.starts("control_model.") || (names.starts("zero_convs.") && names.starts("input_hint_block.")))
    return {FileKind::controlnet, "ControlNet", family, "original"};
  for (const std::string_view block :
       {"body.0.resnets.0.block1.weight", "body.0.block1.weight", "body.0.in_conv.weight"})
    for (const std::string_view prefix : {"adapter.", ""})
      if (names.has(concat(prefix, block))) {
        // The first convolution sees pixels folded by the factor 8, with SDXL 16, three channels each.
        const std::int64_t folded = std::max(names.dim(concat(prefix, "conv_in.weight"), 1),
                                             names.dim(concat(prefix, "body.0.in_conv.weight"), 1));
        return {FileKind::t2i_adapter, "T2I-Adapter", folded == 768 || folded == 256 ? "SDXL" : "",
                prefix.empty() ? "original" : "diffusers"};
      }
  return {};
}

FileSummary diffusion_transformer(const Names& names) {
  for (const std::string_view prefix : {"", "model.diffusion_model.", "transformer."}) {
    const auto starts = [&](std::string_view block) { return names.starts(concat(prefix, block)); };
    const auto known = [](std::string family, const char* layout) -> FileSummary {
      return {FileKind::transformer, "diffusion transformer", std::move(family), layout, &model_part("transformer")};
    };
    const auto unknown = [](const char* family) -> FileSummary {
      return {FileKind::transformer, "diffusion transformer", family, ""};
    };
    const auto sd3 = [&](std::string_view norm) { return concat("Stable Diffusion 3", starts(norm) ? ".5" : ""); };
    if (starts("joint_blocks.")) return known(sd3("joint_blocks.0.x_block.attn.ln_q."), "original");
    if (starts("t_block.")) return known("PixArt", "original");
    const char* flux_layout = starts("double_blocks.") ? "original" : "diffusers";
    if (starts("distilled_guidance_layer.")) return known("Chroma", flux_layout);
    if (starts("double_stream_modulation_img.")) return known("FLUX.2", flux_layout);
    if (starts("double_blocks.")) return known("Flux", "original");
    if (starts("transformer_blocks.0.img_mod.")) return known("Qwen-Image", "diffusers");
    if (starts("cap_pad_token")) return known("Z-Image", starts("all_x_embedder.") ? "diffusers" : "original");
    if (starts("context_refiner.0.attention.qkv.") && starts("cap_embedder.0."))
      return known("Lumina-Image 2", "original");
    if (starts("time_caption_embed.caption_embedder.")) return known("Lumina-Image 2", "diffusers");
    if (starts("single_transformer_blocks.")) return known("Flux", "diffusers");
    if (starts("adaln_single.linear.")) return known("PixArt", "diffusers");
    if (starts("transformer_blocks.0.norm1.emb.class_embedder.")) return unknown("DiT");
    if (starts("transformer_blocks.0.attn.add_q_proj.") && starts("pos_embed.pos_embed"))
      return known(sd3("transformer_blocks.0.attn.norm_q."), "diffusers");
    if (starts("transformer_blocks.0.")) return unknown("");
  }
  return {};
}

// Networks of a model on their own.
FileSummary component(const Names& names) {
  for (const std::string_view prefix : {"", "model.diffusion_model.", "unet."})
    for (const auto& [first, layout] :
         {std::pair{"input_blocks.0.0.weight", "original"}, {"conv_in.weight", "diffusers"}})
      if (names.has(concat(prefix, first)) &&
          (names.starts(concat(prefix, "output_blocks.")) || names.starts(concat(prefix, "up_blocks."))))
        return {FileKind::component, "U-Net", family_of_context(names.width("attn2.to_k.weight")), layout,
                part_with(Role::backbone)};
  if (names.contain("motion_modules.")) return {FileKind::other, "AnimateDiff motion module", "", ""};
  for (const std::string_view prefix : {"first_stage_model.", "vae.", ""})
    if (names.has(concat(prefix, "decoder.conv_in.weight")))
      return {FileKind::component, "autoencoder", "",
              names.starts(concat(prefix, "decoder.up.")) ? "original" : "diffusers", part_with(Role::autoencoder)};
  for (const std::string_view prefix : {"decoder.layers.", "decoder.", "taesd_decoder.", ""})
    if (names.has(concat(prefix, prefix.ends_with("layers.") ? 2 : 3, ".conv.0.weight")))
      return {FileKind::component, "tiny autoencoder", "", prefix.ends_with("layers.") ? "diffusers" : "original",
              part_with(Role::autoencoder)};
  if (const std::int64_t width = names.width("embeddings.token_embedding.weight"); width > 0)
    return {FileKind::component, "CLIP text encoder", families_of_text(width), "diffusers",
            part_with(Role::text_encoder)};
  if (names.contain("transformer.resblocks.") && names.width("token_embedding.weight") > 0)
    return {FileKind::component, "OpenCLIP text encoder", families_of_text(names.width("token_embedding.weight")),
            "original", part_with(Role::text_encoder)};
  if (names.starts("encoder.block.0.layer.0.SelfAttention.") || names.starts("enc.blk.0.attn_"))
    return {FileKind::component, "T5 text encoder", "", "", part_with(Role::text_encoder)};
  if (names.starts("vision_model.") || names.starts("visual.")) return {FileKind::other, "CLIP image encoder", "", ""};
  return {};
}

}  // namespace

FileSummary summarize_file(const TensorTable& table) {
  const Names names(table);
  const std::string unet = "model.diffusion_model.";
  if (names.has(unet + "input_blocks.0.0.weight") &&
      (names.starts("cond_stage_model.") || names.starts("conditioner."))) {
    const std::string family = family_of_context(names.width("attn2.to_k.weight"));
    return {FileKind::checkpoint, "checkpoint", family, "original"};
  }
  const bool lora = is_lora(table);
  if (names.starts("text_encoders.") && !lora)
    if (const FileSummary network = diffusion_transformer(names); network.part)
      return {FileKind::checkpoint, "checkpoint", network.family, network.layout};
  // Before LoRAs: these may hold some of their own.
  if (names.starts("ip_adapter.") || names.starts("image_proj."))
    return {FileKind::ip_adapter, "IP-Adapter", family_of_context(names.width(".to_k_ip.weight")), ""};
  if (FileSummary found = steering(names); found.kind != FileKind::unknown) return found;
  if (lora) return {FileKind::lora, "LoRA", summarize_lora(table).family, ""};
  if (FileSummary found = diffusion_transformer(names); found.kind != FileKind::unknown) return found;
  // One that sees, too, has what a CLIP of pictures has.
  if (decoder_in(table)) return {FileKind::component, "language model", "", "", part_with(Role::text_encoder)};
  if (FileSummary found = component(names); found.kind != FileKind::unknown) return found;
  if (qwen_autoencoder(table))
    return {FileKind::component, "autoencoder", "Qwen-Image", "original", part_with(Role::autoencoder)};
  if (is_embedding(table, names)) return embedding(names);
  return {FileKind::unknown, "unknown", "", ""};
}

namespace {

// " (LoHa and OFT)"; nothing for plain ones.
std::string algorithms_of(const TensorTable& table) {
  const std::set<std::string> found = summarize_lora(table).algorithms;
  if (found.empty() || found == std::set<std::string>{"LoRA"}) return "";
  return concat(" (", joined(std::vector(found.begin(), found.end()), " and "), ")");
}

}  // namespace

std::string describe_file(const TensorTable& table) {
  const FileSummary file = summarize_file(table);
  const std::string of = file.family.empty() ? "" : concat(" for ", file.family);
  switch (file.kind) {
    case FileKind::checkpoint:
      return "a checkpoint";
    case FileKind::component:
      if (file.part->role == Role::backbone)
        return concat("a ", file.name, of, " alone, without text encoder and autoencoder; ", FieldName{"backbone"},
                      " takes it beside a model that has them");
      if (file.part->role == Role::autoencoder) return concat("an autoencoder alone; ", FieldName{"vae"}, " takes it");
      return concat("a ", file.name, of, " alone; ", FieldName{"text_encoders"}, " takes it");
    case FileKind::lora:
      return concat("a LoRA", algorithms_of(table), of, ", which changes a model but is none");
    case FileKind::controlnet:
    case FileKind::t2i_adapter:
      return concat("a ", file.name, of, ", which steers a model but is none");
    case FileKind::ip_adapter:
      return concat("an IP-Adapter", of, ", which steers a model but is none");
    case FileKind::embedding:
      return concat("a textual inversion", of, ", which is a word for a model and none itself; ",
                    FieldName{"textual_inversions"}, " takes it");
    case FileKind::transformer:
      if (file.part)
        return concat("a ", file.name, of, "; ", FieldName{"model"}, " takes it, with text encoders by ",
                      FieldName{"text_encoders"}, " and an autoencoder by ", FieldName{"vae"});
      return concat("a diffusion transformer (", file.family.empty() ? "Stable Diffusion 3, Flux" : file.family,
                    "), which is not supported");
    case FileKind::other:
      return concat(file.name.starts_with('A') ? "an " : "a ", file.name, ", which is not supported");
    case FileKind::unknown:
      break;
  }
  return concat("no checkpoint of Stable Diffusion that is known (", table.tensors().size(), " tensors",
                table.tensors().empty() ? "" : concat(", e.g. '", printable(table.tensors().begin()->first), "'"), ")");
}

}  // namespace sdgen
