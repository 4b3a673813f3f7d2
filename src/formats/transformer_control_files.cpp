#include "formats/transformer_control_files.h"

#include <cmath>

#include "formats/transformer_names.h"
#include "formats/unet_walk.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr const char *kSd3ControlNet = "SD3ControlNetModel", *kFluxControlNet = "FluxControlNetModel";

// The tensors of a file by diffusers' names.
struct Named {
  Keys keys;
  Locate locate;

  std::string at(const std::string& name) const { return locate(name).name; }
  bool has(const std::string& name) const { return keys.has(at(name)); }
  std::int64_t dim(const std::string& name, std::size_t index) const { return keys.dim(at(name), index); }
  std::int64_t count(const std::string& before, const std::string& after) const { return keys.count(before, after); }
  template <class... Words>
  [[noreturn]] void fail(const Words&... words) const {
    keys.fail(concat(words...));
  }
};

// As wide as the heads of the norms of its queries, where it has these; as the transformer's; as those published.
std::int64_t head_width(const Named& file, const std::string& norm, const Config* transformer, std::int64_t usual) {
  if (file.has(norm)) return file.dim(norm, 0);
  return transformer ? transformer->integer("attention_head_dim", usual) : usual;
}

void add_heads(Json& json, const Named& file, std::int64_t width, std::int64_t head, bool looked_at) {
  if (looked_at && width % head != 0) head = width;  // how many there are changes no tensor
  if (head < 1 || head > 100'000 || width % head != 0)
    file.fail("is a ControlNet of width ", width, ", which does not divide into heads of ", head);
  json["attention_head_dim"] = head;
  json["num_attention_heads"] = width / head;
}

Json sd3_config(const Named& file, const Config* transformer) {
  const std::string picture = "pos_embed_input.proj.weight", own = "pos_embed.proj.weight";
  const std::string places = "pos_embed.pos_embed", context = "context_embedder.weight";
  const std::int64_t width = file.dim(picture, 0), shown = file.dim(picture, 1);
  const bool told = file.has(context), placed = file.has(places);
  const std::int64_t drawn =
      file.has(own) ? file.dim(own, 1) : std::min(transformer ? transformer->integer("in_channels", 16) : 16, shown);
  Json json = {{"_class_name", kSd3ControlNet},
               {"patch_size", file.dim(picture, 2)},
               {"in_channels", drawn},
               {"extra_conditioning_channels", shown - drawn},
               {"num_layers", file.count("controlnet_blocks.", ".weight")},
               {"caption_projection_dim", width},
               {"pooled_projection_dim", file.dim("time_text_embed.text_embedder.linear_1.weight", 1)},
               {"use_pos_embed", file.has(own)},
               {"pos_embed_max_size", placed ? Json(std::llround(std::sqrt(file.dim(places, 1)))) : Json()},
               {"pos_embed_type", placed ? Json("sincos") : Json()},
               {"joint_attention_dim", told ? Json(file.dim(context, 1)) : Json()},
               // InstantX's are told words and no summary; Stability AI's the summary alone.
               {"force_zeros_for_pooled_projection", told},
               {"dual_attention_layers", Json::array()}};
  const std::string norm = "transformer_blocks.0.attn.norm_q.weight";
  add_heads(json, file, width, head_width(file, norm, transformer, 64), !transformer && !file.has(norm));
  if (file.has(norm)) json["qk_norm"] = "rms_norm";
  for (std::int64_t i = 0; i < json["num_layers"].get<std::int64_t>(); ++i)
    if (file.has(concat("transformer_blocks.", i, ".attn2.to_q.weight"))) json["dual_attention_layers"].push_back(i);
  return json;
}

// Of a head, numbers that say which picture, row and column: in the proportion of Flux.1's 16, 56 and 56.
Json usual_axes(std::int64_t head) {
  const std::int64_t side = head * 7 / 32 * 2;
  return {head - 2 * side, side, side};
}

Json flux_config(const Named& file, const Config* transformer) {
  const std::string hint = "input_hint_block.conv_out.weight", mode = "controlnet_mode_embedder.weight";
  const std::int64_t width = file.dim("x_embedder.weight", 0);
  Json json = {{"_class_name", kFluxControlNet},
               {"patch_size", file.has(hint) ? 2 : 1},
               {"in_channels", file.dim("x_embedder.weight", 1)},
               {"num_layers", file.count("controlnet_blocks.", ".weight")},
               {"num_single_layers", file.count("controlnet_single_blocks.", ".weight")},
               {"joint_attention_dim", file.dim("context_embedder.weight", 1)},
               {"pooled_projection_dim", file.dim("time_text_embed.text_embedder.linear_1.weight", 1)},
               {"guidance_embeds", file.has("time_text_embed.guidance_embedder.linear_1.weight")}};
  const char* kind = file.has("transformer_blocks.0.attn.norm_q.weight") ? kBlock : kSingleBlock;
  const std::int64_t head = head_width(file, concat(kind, "0.attn.norm_q.weight"), transformer, 128);
  add_heads(json, file, width, head, /*looked_at=*/false);
  const bool alike = transformer && transformer->integer("attention_head_dim", 128) == head;
  json["axes_dims_rope"] =
      alike && transformer->has("axes_dims_rope") ? transformer->json().at("axes_dims_rope") : usual_axes(head);
  if (file.has(mode)) json["num_mode"] = file.dim(mode, 0);
  if (file.has(hint)) json["conditioning_embedding_channels"] = file.dim(hint, 0);
  return json;
}

// From diffusers' names to Stability AI's, whose queries, keys and values are one tensor.
Place stability_place(std::string name) {
  int part = 0;
  for (const char* own : {".attn.to_q.", ".attn.to_k.", ".attn.to_v."}) {
    if (replace_one(name, {{own, ".attn.qkv."}})) return {name, part, 3};
    ++part;
  }
  replace_one(name, {{".attn.to_out.0.", ".attn.proj."},
                     {".ff.net.0.proj.", ".mlp.fc1."},
                     {".ff.net.2.", ".mlp.fc2."},
                     {".norm1.linear.", ".adaLN_modulation.1."}});
  return {name};
}

// To XLabs', who call what they copied as Flux does.
Locate xlabs_names(const Keys& keys) {
  return [own = original_names(kXlabsControlNames, keys),
          flux = original_names(kFluxNames, keys)](const std::string& name) {
    const Place place = own(name);
    return place.name == name ? flux(name) : place;
  };
}

}  // namespace

std::optional<Component> transformer_controlnet_of(const std::shared_ptr<const TensorTable>& table,
                                                   const Config* transformer) {
  const Keys keys(*table, "");
  if (!keys.has("controlnet_blocks.0.weight") && !keys.has("controlnet_single_blocks.0.weight")) return std::nullopt;
  const bool stability = keys.has("transformer_blocks.0.attn.qkv.weight"), xlabs = keys.any("double_blocks.");
  const Named file{keys, stability ? Locate(stability_place)
                         : xlabs   ? xlabs_names(keys)
                                   : [](const std::string& name) { return Place(name); }};
  const bool flux = file.has("controlnet_x_embedder.weight");
  if (!flux && !file.has("pos_embed_input.proj.weight"))
    file.fail("holds a ControlNet of a transformer that is not supported");
  Component c{
      nullptr,
      &component_class(flux ? kFluxControlNet : kSd3ControlNet),
      Config(flux ? flux_config(file, transformer) : sd3_config(file, transformer), table->source() + ": ControlNet"),
      table,
      file.locate,
      ""};
  if (stability) c.unused = {"control_type"};  // which of the published ones it is
  return c;
}

}  // namespace sdgen
