// unet/config.json -> UNetConfig: every key of diffusers' UNet2DConditionModel is either read or required to be off.
#include <algorithm>

#include "nn/unet.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using Integers = std::vector<std::int64_t>;

// "transformer_layers_per_block": an integer for all levels, or one a level, or (SSD-1B) a list of one a resnet.
// count(i): the number of transformers of entry i.
template <class Count>
std::vector<Integers> transformer_layers(const Config& json, const char* key, std::size_t levels, const Count& count) {
  const Json& value = json.json().contains(key) ? json.json().at(key) : Json(1);
  std::vector<Integers> layers;
  for (std::size_t i = 0; i < levels; ++i) {
    const Json* entry = &value;
    if (value.is_array()) {
      if (value.size() != levels) json.unsupported(key, concat("a list of ", value.size(), " for ", levels, " blocks"));
      entry = &value[i];
    }
    Integers list;
    if (entry->is_array()) {
      for (const Json& n : *entry)
        if (n.is_number_integer()) list.push_back(n.get<std::int64_t>());
    } else if (entry->is_number_integer()) {
      list.assign(count(i), entry->get<std::int64_t>());
    }
    if (list.size() != count(i)) json.unsupported(key, concat("entry ", i, " should give ", count(i), " layer counts"));
    if (std::any_of(list.begin(), list.end(), [](auto n) { return n < 0 || n > 1000; }))
      json.unsupported(key, "expected 0 to 1000 layers");
    layers.push_back(std::move(list));
  }
  return layers;
}

std::vector<bool> booleans(const Config& json, const char* key, std::size_t count) {
  if (!json.has(key) || json.json().at(key).is_boolean()) return std::vector<bool>(count, json.boolean(key, false));
  const Json& list = json.json().at(key);
  if (!list.is_array() || list.size() != count)
    json.unsupported(key, concat("expected true, false or ", count, " of them"));
  std::vector<bool> values;
  for (const Json& value : list) {
    if (!value.is_boolean()) json.unsupported(key, "not a list of booleans");
    values.push_back(value.get<bool>());
  }
  return values;
}

}  // namespace

UNetConfig UNetConfig::from(const Config& json) {
  // What no Stable Diffusion of the families here uses. (resnet_skip_time_act, resnet_out_scale_factor and dropout are
  // read by block types that are refused below, or act in training only; upcast_attention is what the fused attention
  // does anyway: it sums in float32.)
  for (const char* key : {"class_embed_type", "num_class_embeds", "encoder_hid_dim", "encoder_hid_dim_type",
                          "cross_attention_norm", "num_attention_heads"})
    json.require(key, nullptr);
  for (const char* key : {"dual_cross_attention", "class_embeddings_concat"}) json.require(key, false);
  json.require("time_embedding_type", "positional");
  json.require("attention_type", "default");

  UNetConfig c;
  c.in_channels = json.integer("in_channels", 4);
  c.out_channels = json.integer("out_channels", 4);
  const Integers sample = json.integers("sample_size", 2, 64);
  for (const std::int64_t size : sample)
    if (size < 1 || size > 4096) json.unsupported("sample_size", "expected 1 to 4096");
  c.sample_height = sample[0];
  c.sample_width = sample[1];

  Integers channels = json.integers("block_out_channels");
  if (channels.empty()) channels = {320, 640, 1280, 1280};
  const std::size_t n = channels.size();
  auto down = json.strings("down_block_types"), up = json.strings("up_block_types");
  if (down.empty()) down = {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"};
  if (up.empty()) up = {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"};
  if (down.size() != n)
    json.unsupported("down_block_types", concat(down.size(), " blocks for ", n, " block_out_channels"));
  if (up.size() != n) json.unsupported("up_block_types", concat(up.size(), " blocks for ", n, " block_out_channels"));

  const Integers resnets = json.integers("layers_per_block", n, 2);
  for (std::size_t i = 0; i < n; ++i) {  // before anything is sized by them
    if (channels[i] < 1 || channels[i] > 65536) json.unsupported("block_out_channels", "expected 1 to 65536");
    if (resnets[i] < 1 || resnets[i] > 100) json.unsupported("layers_per_block", "expected 1 to 100");
  }
  const Integers heads = json.integers("attention_head_dim", n, 8);
  const Integers context = json.integers("cross_attention_dim", n, 1280);
  const std::vector<bool> only_cross = booleans(json, "only_cross_attention", n);
  const auto down_layers =
      transformer_layers(json, "transformer_layers_per_block", n, [&](auto i) { return std::size_t(resnets[i]); });
  // The way up lists its levels from the coarsest, and mirrors the way down unless the config says otherwise.
  const bool reversed = json.has("reverse_transformer_layers_per_block");
  const auto up_layers =
      transformer_layers(json, reversed ? "reverse_transformer_layers_per_block" : "transformer_layers_per_block", n,
                         [&](auto i) { return std::size_t(resnets[reversed ? n - 1 - i : i] + 1); });
  for (std::size_t i = 0; i < n; ++i) {
    Level level{channels[i], resnets[i], {}, {}, heads[i], context[i], only_cross[i]};
    if (down[i] == "CrossAttnDownBlock2D")
      level.down_layers = down_layers[i];
    else if (down[i] != "DownBlock2D")
      json.unsupported("down_block_types", concat("'", down[i], "' is not CrossAttnDownBlock2D or DownBlock2D"));
    if (up[n - 1 - i] == "CrossAttnUpBlock2D")
      level.up_layers = up_layers[reversed ? n - 1 - i : i];
    else if (up[n - 1 - i] != "UpBlock2D")
      json.unsupported("up_block_types", concat("'", up[n - 1 - i], "' is not CrossAttnUpBlock2D or UpBlock2D"));
    c.levels.push_back(std::move(level));
  }

  if (json.json().contains("mid_block_type") && json.json().at("mid_block_type").is_null())
    c.mid_block = false;
  else if (json.string("mid_block_type", "") == "UNetMidBlock2D")
    c.mid_attention = false;
  else
    json.require("mid_block_type", "UNetMidBlock2DCrossAttn");
  c.mid_layers = down_layers[n - 1][0];
  c.mid_scale = json.number("mid_block_scale_factor", 1.0);

  c.resnet.time_width = json.integer("time_embedding_dim", 4 * channels[0]);
  const auto optional_activation = [&json](const char* key) {
    return json.has(key) ? activation(json.string(key, ""), json.who() + ": " + key) : nullptr;
  };
  c.time_post_act = optional_activation("timestep_post_act");
  c.time_act = optional_activation("time_embedding_act_fn");
  c.resnet.norm_groups = json.integer("norm_num_groups", 32);
  c.resnet.norm_eps = json.number("norm_eps", 1e-5);
  c.resnet.act = activation(json.string("act_fn", "silu"), json.who() + ": act_fn");
  const std::string shift = json.string("resnet_time_scale_shift", "default");
  if (shift != "default" && shift != "scale_shift")
    json.unsupported("resnet_time_scale_shift", "default or scale_shift");
  c.resnet.scale_shift = shift == "scale_shift";

  c.linear_projection = json.boolean("use_linear_projection", false);
  c.downsample_padding = json.integer("downsample_padding", 1);
  c.conv_in_kernel = json.integer("conv_in_kernel", 3);
  c.conv_out_kernel = json.integer("conv_out_kernel", 3);
  if (c.downsample_padding != 0 && c.downsample_padding != 1) json.unsupported("downsample_padding", "expected 0 or 1");
  for (const auto& [key, kernel] :
       {std::pair{"conv_in_kernel", c.conv_in_kernel}, {"conv_out_kernel", c.conv_out_kernel}})
    if (kernel < 1 || kernel > 15 || kernel % 2 == 0) json.unsupported(key, "expected an odd number up to 15");
  c.center_input = json.boolean("center_input_sample", false);
  c.flip_sin_to_cos = json.boolean("flip_sin_to_cos", true);
  c.freq_shift = json.number("freq_shift", 0);
  c.time_cond_width = json.integer("time_cond_proj_dim", 0);
  if (json.has("addition_embed_type")) {
    json.require("addition_embed_type", "text_time");
    c.size_id_width = json.integer("addition_time_embed_dim", 256);
    c.added_width = json.integer("projection_class_embeddings_input_dim", 2816);
  }
  return c;
}

}  // namespace sdgen
