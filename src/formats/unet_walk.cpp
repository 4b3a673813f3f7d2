#include "formats/unet_walk.h"

#include <algorithm>
#include <charconv>

#include "sdgen/error.h"

namespace sdgen {

bool replace_one(std::string& name, Replacements names) {
  for (const auto& [from, to] : names)
    if (const auto at = name.find(from); at != std::string::npos) {
      name.replace(at, std::string_view(from).size(), to);
      return true;
    }
  return false;
}

std::map<std::string, std::string> original_unet_blocks(const std::vector<UNetLevel>& levels) {
  std::map<std::string, std::string> names = {{"conv_in", "input_blocks.0.0"},
                                              {"time_embedding.linear_1", "time_embed.0"},
                                              {"time_embedding.linear_2", "time_embed.2"},
                                              {"time_embedding.cond_proj", "time_embed.cond_proj"},
                                              {"add_embedding.linear_1", "label_emb.0.0"},
                                              {"add_embedding.linear_2", "label_emb.0.2"},
                                              {"mid_block.resnets.0", "middle_block.0"},
                                              {"mid_block.attentions.0", "middle_block.1"},
                                              {"mid_block.resnets.1", "middle_block.2"},
                                              {"conv_norm_out", "out.0"},
                                              {"conv_out", "out.2"}};
  // A block of the original layout is a resnet, with or without a transformer, or a downsampler.
  const auto add = [&names](const std::string& ours, std::size_t layers, const char* theirs, std::size_t& n) {
    for (std::size_t j = 0; j < layers; ++j, ++n) {
      names[concat(ours, "resnets.", j)] = concat(theirs, n, ".0");
      names[concat(ours, "attentions.", j)] = concat(theirs, n, ".1");
    }
  };
  for (std::size_t i = 0, n = 1; i < levels.size(); ++i) {
    const std::string ours = concat("down_blocks.", i, '.');
    add(ours, levels[i].down.size(), "input_blocks.", n);
    names[ours + "downsamplers.0.conv"] = concat("input_blocks.", n++, ".0.op");
  }
  for (std::size_t i = 0, n = 0; i < levels.size(); ++i) {
    const std::string ours = concat("up_blocks.", i, '.');
    const std::vector<std::int64_t>& up = levels[levels.size() - 1 - i].up;
    if (up.empty()) continue;
    add(ours, up.size(), "output_blocks.", n);
    names[ours + "upsamplers.0.conv"] = concat("output_blocks.", n - 1, up.back() ? ".2.conv" : ".1.conv");
  }
  return names;
}

std::optional<std::string> original_unet_tensor(const std::map<std::string, std::string>& blocks,
                                                const std::string& name) {
  for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    const auto found = blocks.find(name.substr(0, dot));
    if (found == blocks.end()) continue;
    std::string rest = name.substr(dot);
    if (name.find(".resnets.") != std::string::npos)
      replace_one(rest, {{".norm1.", ".in_layers.0."},
                         {".conv1.", ".in_layers.2."},
                         {".time_emb_proj.", ".emb_layers.1."},
                         {".norm2.", ".out_layers.0."},
                         {".conv2.", ".out_layers.3."},
                         {".conv_shortcut.", ".skip_connection."}});
    return found->second + rest;
  }
  return std::nullopt;
}

namespace {

// How many layers the transformer of a block has; 0: there is none.
std::int64_t layers_in(const Keys& keys, const std::string& block) {
  return keys.count(block + "1.transformer_blocks.", ".norm1.weight");
}

}  // namespace

std::int64_t Keys::numbered(const std::string& front) const {
  const std::string whole = prefix_ + front;
  std::int64_t count = 0;
  for (auto at = table_->tensors().lower_bound(whole); at != table_->tensors().end() && at->first.starts_with(whole);
       ++at) {
    const char* begin = at->first.data() + whole.size();
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(begin, std::min(begin + 4, at->first.data() + at->first.size()), number);
    if (error == std::errc() && number >= 0 && *end == '.') count = std::max(count, number + 1);
  }
  return count;
}

UNetWalk::UNetWalk(const Keys& keys) : levels(1) {
  for (std::int64_t n = 1;; ++n) {
    const std::string block = concat("input_blocks.", n, '.');
    if (keys.has(block + "0.op.weight")) {
      levels.emplace_back();
    } else if (keys.has(block + "0.in_layers.2.weight")) {
      levels.back().channels = keys.dim(block + "0.in_layers.2.weight", 0);
      levels.back().down.push_back(layers_in(keys, block));
    } else {
      break;
    }
  }
  names = original_unet_blocks(levels);
}

UNetWalk UNetWalk::original(const Keys& keys) {
  UNetWalk walk(keys);
  std::vector<UNetLevel>& levels = walk.levels;
  for (std::size_t n = 0, i = 0;; ++n) {
    const std::string block = concat("output_blocks.", n, '.');
    if (!keys.has(block + "0.in_layers.2.weight")) break;
    if (i >= levels.size())
      keys.fail(concat("the U-Net has ", levels.size(), " levels on the way down and more on the way up"));
    levels[levels.size() - 1 - i].up.push_back(layers_in(keys, block));
    if (keys.has(block + "1.conv.weight") || keys.has(block + "2.conv.weight")) ++i;
  }
  walk.require_levels(keys);
  walk.names = original_unet_blocks(levels);
  return walk;
}

UNetWalk UNetWalk::diffusers(const Keys& keys) {
  // Transformer layers after each resnet of a block, 0 where there is none.
  const auto layers = [&keys](const std::string& block) {
    std::vector<std::int64_t> all(std::size_t(keys.count(block + ".resnets.", ".conv1.weight")));
    for (std::size_t j = 0; j < all.size(); ++j)
      all[j] = keys.count(concat(block, ".attentions.", j, ".transformer_blocks."), ".norm1.weight");
    return all;
  };
  UNetWalk walk;
  const std::int64_t n = keys.count("down_blocks.", ".resnets.0.conv1.weight");
  for (std::int64_t i = 0; i < n; ++i) {
    const std::string down = concat("down_blocks.", i);
    walk.levels.push_back({.channels = keys.dim(down + ".resnets.0.conv1.weight", 0),
                           .down = layers(down),
                           .up = layers(concat("up_blocks.", n - 1 - i))});
  }
  walk.require_levels(keys);
  return walk;
}

void UNetWalk::require_levels(const Keys& keys) const {
  for (const UNetLevel& level : levels)
    if (level.down.empty() || level.up.size() != level.down.size() + 1)
      keys.fail(concat("a level of the U-Net has ", level.down.size(), " resnets on the way down and ", level.up.size(),
                       " on the way up, expected one more"));
}

std::string UNetWalk::tensor(const std::string& name) const { return original_unet_tensor(names, name).value_or(name); }

namespace {

// The heads of attention at a level of so many channels. They do not show in shapes: a family has as many at every
// level, or heads of one width.
std::int64_t heads(const Config& base, std::int64_t channels) {
  // diffusers' key for their number, of old.
  const char* key = base.has("num_attention_heads") ? "num_attention_heads" : "attention_head_dim";
  if (!base.has(key) || !base.json().at(key).is_array()) return base.integer(key, 8);
  const std::vector<std::int64_t> each = base.integers(key), levels = base.integers("block_out_channels");
  if (each.empty() || levels.empty() || each.front() < 1)
    base.unsupported(key, "expected the number of heads of each level");
  const auto same = [](const std::vector<std::int64_t>& all) { return std::ranges::count(all, all[0]) == ssize(all); };
  if (same(each) && !same(levels)) return each.front();
  return std::max<std::int64_t>(channels / std::max<std::int64_t>(levels.front() / each.front(), 1), 1);
}

// What config.json would say of its levels.
Json levels_config(const UNetWalk& walk, std::int64_t mid_layers, const Config& base) {
  Json json = Json::object();
  const std::size_t n = walk.levels.size();
  for (std::size_t i = 0; i < n; ++i) {
    const UNetLevel& level = walk.levels[i];
    const UNetLevel& up = walk.levels[n - 1 - i];
    const bool down_attends = level.down[0] > 0, up_attends = up.up[0] > 0;
    json["block_out_channels"].push_back(level.channels);
    json["layers_per_block"].push_back(level.down.size());
    json["attention_head_dim"].push_back(heads(base, level.channels));
    json["down_block_types"].push_back(down_attends ? "CrossAttnDownBlock2D" : "DownBlock2D");
    json["up_block_types"].push_back(up_attends ? "CrossAttnUpBlock2D" : "UpBlock2D");
    // The middle block has the layers of the last level, whether or not that level has a transformer itself.
    json["transformer_layers_per_block"].push_back(
        down_attends ? Json(level.down) : Json(std::vector(level.down.size(), std::max<std::int64_t>(mid_layers, 1))));
    json["reverse_transformer_layers_per_block"].push_back(up_attends ? Json(up.up)
                                                                      : Json(std::vector<int>(up.up.size(), 1)));
  }
  return json;
}

// A transformer of the U-Net, by diffusers' name; "" where it has none.
std::string any_transformer(const UNetWalk& walk, std::int64_t mid_layers) {
  if (mid_layers > 0) return "mid_block.attentions.0";
  for (std::size_t i = 0; i < walk.levels.size(); ++i) {
    const UNetLevel &down = walk.levels[i], &up = walk.levels[walk.levels.size() - 1 - i];
    for (std::size_t j = 0; j < down.down.size(); ++j)
      if (down.down[j] > 0) return concat("down_blocks.", i, ".attentions.", j);
    for (std::size_t j = 0; j < up.up.size(); ++j)
      if (up.up[j] > 0) return concat("up_blocks.", i, ".attentions.", j);
  }
  return "";
}

}  // namespace

Json unet_config(const Keys& keys, const UNetWalk& walk, const Config& base) {
  const auto has = [&](const std::string& name) { return keys.has(walk.tensor(name)); };
  const auto dim = [&](const std::string& name, std::size_t i) { return keys.dim(walk.tensor(name), i); };
  std::int64_t mid_layers = 0;
  while (has(concat("mid_block.attentions.0.transformer_blocks.", mid_layers, ".norm1.weight"))) ++mid_layers;
  const std::string attends = any_transformer(walk, mid_layers);
  if (attends.empty()) keys.fail("the U-Net has no cross-attention: nothing would steer it");

  Json json = levels_config(walk, mid_layers, base);
  json["in_channels"] = dim("conv_in.weight", 1);
  json["out_channels"] = dim("conv_out.weight", 0);
  json["time_embedding_dim"] = dim("time_embedding.linear_1.weight", 0);
  json["cross_attention_dim"] = dim(attends + ".transformer_blocks.0.attn2.to_k.weight", 1);
  json["use_linear_projection"] = keys.rank(walk.tensor(attends + ".proj_in.weight")) == 2;
  json["mid_block_type"] = !has("mid_block.resnets.0.conv1.weight") ? Json(nullptr)
                           : mid_layers > 0                         ? Json("UNetMidBlock2DCrossAttn")
                                                                    : Json("UNetMidBlock2D");
  const bool guided = has("time_embedding.cond_proj.weight"), labels = has("add_embedding.linear_1.weight");
  json["time_cond_proj_dim"] = guided ? Json(dim("time_embedding.cond_proj.weight", 1)) : Json(nullptr);
  json["addition_embed_type"] = labels ? Json("text_time") : Json(nullptr);
  json["projection_class_embeddings_input_dim"] =
      labels ? Json(dim("add_embedding.linear_1.weight", 1)) : Json(nullptr);
  Json whole = base.json();
  whole.erase("num_attention_heads");
  whole.update(json);
  return whole;
}

}  // namespace sdgen
