// unet/config.json -> UNetConfig: every key of diffusers' UNet2DConditionModel and UNet2DModel is either read or
// required to be off.
#include "nn/unet_config.h"

#include <algorithm>

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

// The number of blocks, and their channels and resnets from the finest on: bounded before anything is sized by them.
void read_levels(const Config& json, Integers channels, const std::vector<std::string>& down,
                 const std::vector<std::string>& up, UNetConfig& c) {
  if (json.has("block_out_channels")) channels = json.integers("block_out_channels");
  const std::size_t n = channels.size();
  if (n < 1 || n > 16) json.unsupported("block_out_channels", "expected 1 to 16 blocks");
  if (down.size() != n)
    json.unsupported("down_block_types", concat(down.size(), " blocks for ", n, " block_out_channels"));
  if (up.size() != n) json.unsupported("up_block_types", concat(up.size(), " blocks for ", n, " block_out_channels"));
  const Integers resnets = json.integers("layers_per_block", n, 2);
  for (std::size_t i = 0; i < n; ++i) {
    if (channels[i] < 1 || channels[i] > 65536) json.unsupported("block_out_channels", "expected 1 to 65536");
    if (resnets[i] < 1 || resnets[i] > 100) json.unsupported("layers_per_block", "expected 1 to 100");
    c.levels.push_back({channels[i], resnets[i], {}, {}, 1, 0, false});
  }
}

std::vector<std::string> block_types(const Config& json, const char* key, const std::vector<std::string>& fallback) {
  const auto types = json.strings(key);
  return types.empty() ? fallback : types;
}

// Does the block of level i have attention?
bool attends(const Config& json, const char* key, const std::string& type, const std::string& with,
             const std::string& without) {
  if (type != with && type != without) json.unsupported(key, concat("'", type, "' is not ", with, " or ", without));
  return type == with;
}

// The fields that both networks have.
void read_common(const Config& json, UNetConfig& c) {
  json.require("time_embedding_type", "positional");
  for (const char* key : {"class_embed_type", "num_class_embeds"}) json.require(key, nullptr);
  const Integers sample = json.integers("sample_size", 2, 64);
  for (const std::int64_t size : sample)
    if (size < 1 || size > 4096) json.unsupported("sample_size", "expected 1 to 4096");
  c.sample_height = sample[0];
  c.sample_width = sample[1];
  c.mid_scale = json.positive("mid_block_scale_factor", 1.0);
  c.resnet.time_width = json.integer("time_embedding_dim", 4 * c.levels[0].channels);
  if (c.resnet.time_width < 1) json.unsupported("time_embedding_dim", "expected a positive number");
  c.resnet.norm_groups = json.integer("norm_num_groups", 32);
  c.resnet.norm_eps = json.positive("norm_eps", 1e-5);
  c.resnet.act = activation(json.string("act_fn", "silu"), json.who() + ": act_fn");
  const std::string shift = json.string("resnet_time_scale_shift", "default");
  if (shift != "default" && shift != "scale_shift")
    json.unsupported("resnet_time_scale_shift", "default or scale_shift");
  c.resnet.scale_shift = shift == "scale_shift";
  c.downsample_padding = json.integer("downsample_padding", 1);
  if (c.downsample_padding != 0 && c.downsample_padding != 1) json.unsupported("downsample_padding", "expected 0 or 1");
  c.center_input = json.boolean("center_input_sample", false);
  c.flip_sin_to_cos = json.boolean("flip_sin_to_cos", true);
  c.freq_shift = json.number("freq_shift", 0);
}

bool without_mid_block(const Config& json) {
  return json.json().contains("mid_block_type") && json.json().at("mid_block_type").is_null();
}

// What no Stable Diffusion of the families here uses. (resnet_skip_time_act, resnet_out_scale_factor and dropout are
// read by block types that are refused, or act in training only; upcast_attention is what the fused attention does
// anyway: it sums in float32.)
void refuse_unused(const Config& json) {
  for (const char* key : {"encoder_hid_dim", "encoder_hid_dim_type", "cross_attention_norm", "num_attention_heads"})
    json.require(key, nullptr);
  for (const char* key : {"dual_cross_attention", "class_embeddings_concat"}) json.require(key, false);
  json.require("attention_type", "default");
  json.require("_class_name", "UNet2DConditionModel");
}

// Transformers of all levels and of the middle block.
void read_transformers(const Config& json, const std::vector<std::string>& down, const std::vector<std::string>& up,
                       UNetConfig& c) {
  const std::size_t n = c.levels.size();
  const Integers heads = json.integers("attention_head_dim", n, 8);  // which means the number of heads
  const Integers context = json.integers("cross_attention_dim", n, 1280);
  const std::vector<bool> only_cross = booleans(json, "only_cross_attention", n);
  const auto resnets = [&c](std::size_t i) { return std::size_t(c.levels[i].resnets); };
  const auto down_layers = transformer_layers(json, "transformer_layers_per_block", n, resnets);
  // The way up lists its levels from the coarsest, and mirrors the way down unless the config says otherwise.
  const bool reversed = json.has("reverse_transformer_layers_per_block");
  const auto up_layers =
      transformer_layers(json, reversed ? "reverse_transformer_layers_per_block" : "transformer_layers_per_block", n,
                         [&](auto i) { return resnets(reversed ? n - 1 - i : i) + 1; });
  for (std::size_t i = 0; i < n; ++i) {
    UNetConfig::Level& level = c.levels[i];
    level.heads = heads[i];
    level.context_width = context[i];
    if (context[i] < 1) json.unsupported("cross_attention_dim", "expected a positive number");
    level.only_cross = only_cross[i];
    if (attends(json, "down_block_types", down[i], "CrossAttnDownBlock2D", "DownBlock2D"))
      level.down_layers = down_layers[i];
    if (attends(json, "up_block_types", up[n - 1 - i], "CrossAttnUpBlock2D", "UpBlock2D"))
      level.up_layers = up_layers[reversed ? n - 1 - i : i];
  }
  c.mid_layers = down_layers[n - 1][0];
}

// The first and the last convolution, the time embedding and what is added to it.
void read_ends(const Config& json, UNetConfig& c) {
  const auto optional_activation = [&json](const char* key) {
    return json.has(key) ? activation(json.string(key, ""), json.who() + ": " + key) : Activation{};
  };
  c.out_act = c.time_mid_act = c.resnet.act;
  c.time_post_act = optional_activation("timestep_post_act");
  c.time_act = optional_activation("time_embedding_act_fn");
  c.conv_in_kernel = json.integer("conv_in_kernel", 3);
  c.conv_out_kernel = json.integer("conv_out_kernel", 3);
  for (const auto& [key, kernel] :
       {std::pair{"conv_in_kernel", c.conv_in_kernel}, {"conv_out_kernel", c.conv_out_kernel}})
    if (kernel < 1 || kernel > 15 || kernel % 2 == 0) json.unsupported(key, "expected an odd number up to 15");
  c.time_cond_width = json.integer("time_cond_proj_dim", 0);
  if (json.has("addition_embed_type")) {
    json.require("addition_embed_type", "text_time");
    c.size_id_width = json.integer("addition_time_embed_dim", 256);
    c.added_width = json.integer("projection_class_embeddings_input_dim", 2816);
  }
}

}  // namespace

UNetConfig UNetConfig::from(const Config& json) {
  refuse_unused(json);
  UNetConfig c;
  const auto down =
      block_types(json, "down_block_types",
                  {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"});
  const auto up = block_types(json, "up_block_types",
                              {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"});
  read_levels(json, {320, 640, 1280, 1280}, down, up, c);
  read_common(json, c);
  c.in_channels = json.integer("in_channels", 4);
  c.out_channels = json.integer("out_channels", 4);
  read_transformers(json, down, up, c);
  if (without_mid_block(json)) {
    c.mid_resnets = 0;
  } else if (json.string("mid_block_type", "") == "UNetMidBlock2D") {
    c.mid_resnets = 1;
    c.mid_attention = false;
  } else {
    json.require("mid_block_type", "UNetMidBlock2DCrossAttn");
  }
  read_ends(json, c);
  return c;
}

UNetConfig UNetConfig::unconditional(const Config& json) {
  for (const char* key : {"downsample_type", "upsample_type"}) json.require(key, "conv");
  json.require("_class_name", "UNet2DModel");
  if (!json.has("sample_size")) json.unsupported("sample_size", "the size of its pictures");

  UNetConfig c;
  const auto down =
      block_types(json, "down_block_types", {"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"});
  const auto up = block_types(json, "up_block_types", {"AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"});
  read_levels(json, {224, 448, 672, 896}, down, up, c);
  read_common(json, c);
  c.in_channels = json.integer("in_channels", 3);
  c.out_channels = json.integer("out_channels", 3);

  if (without_mid_block(json)) {
    c.mid_resnets = 0;
    c.mid_attention = false;
  } else {
    json.require("mid_block_type", "UNetMidBlock2D");
    c.mid_attention = json.boolean("add_attention", true);
  }
  // Where the time scales and shifts, the middle's attention has no norm unless the config gives it one.
  c.mid_norm_groups = json.integer("attn_norm_num_groups", c.resnet.scale_shift ? 0 : c.resnet.norm_groups);
  if (json.has("attn_norm_num_groups") && c.mid_norm_groups < 1)
    json.unsupported("attn_norm_num_groups", "expected a positive number");

  // The width of a head; null: one head.
  const bool one_head = json.json().contains("attention_head_dim") && !json.has("attention_head_dim");
  const std::int64_t width = json.integer("attention_head_dim", 8);
  const std::size_t n = c.levels.size();
  for (std::size_t i = 0; i < n; ++i) {
    Level& level = c.levels[i];
    const bool downward = attends(json, "down_block_types", down[i], "AttnDownBlock2D", "DownBlock2D");
    const bool upward = attends(json, "up_block_types", up[n - 1 - i], "AttnUpBlock2D", "UpBlock2D");
    if (downward) level.down_layers.assign(level.resnets, 1);
    if (upward) level.up_layers.assign(level.resnets + 1, 1);
    if (one_head || !(downward || upward || (c.mid_attention && i + 1 == n))) continue;
    if (width < 1 || level.channels % width != 0)
      json.unsupported("attention_head_dim", concat("heads so wide do not divide ", level.channels, " channels"));
    level.heads = level.channels / width;
  }
  c.out_act = c.time_mid_act = activation("silu", "");  // whatever act_fn says
  return c;
}

}  // namespace sdgen
