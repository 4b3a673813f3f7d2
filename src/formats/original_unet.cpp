#include "formats/original_unet.h"

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

const std::map<std::string, std::string>& fixed_unet_modules() {
  static const std::map<std::string, std::string> modules = {{"conv_in", "input_blocks.0.0"},
                                                             {"time_embedding.linear_1", "time_embed.0"},
                                                             {"time_embedding.linear_2", "time_embed.2"},
                                                             {"time_embedding.cond_proj", "time_embed.cond_proj"},
                                                             {"add_embedding.linear_1", "label_emb.0.0"},
                                                             {"add_embedding.linear_2", "label_emb.0.2"},
                                                             {"mid_block.resnets.0", "middle_block.0"},
                                                             {"mid_block.attentions.0", "middle_block.1"},
                                                             {"mid_block.resnets.1", "middle_block.2"}};
  return modules;
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

UNetWalk::UNetWalk(const Keys& keys) : names(fixed_unet_modules()) {
  levels.emplace_back();
  for (std::int64_t n = 1;; ++n) {
    const std::string block = concat("input_blocks.", n, '.'), ours = concat("down_blocks.", levels.size() - 1, '.');
    if (keys.has(block + "0.op.weight")) {
      names[ours + "downsamplers.0.conv"] = block + "0.op";
      levels.emplace_back();
    } else if (keys.has(block + "0.in_layers.2.weight")) {
      levels.back().channels = keys.dim(block + "0.in_layers.2.weight", 0);
      add(keys, block, ours, levels.back().down);
    } else {
      break;
    }
  }
}

void UNetWalk::walk_up(const Keys& keys) {
  names["conv_norm_out"] = "out.0";
  names["conv_out"] = "out.2";
  for (std::int64_t n = 0, i = 0;; ++n) {
    const std::string block = concat("output_blocks.", n, '.'), ours = concat("up_blocks.", i, '.');
    if (!keys.has(block + "0.in_layers.2.weight")) break;
    if (i >= std::int64_t(levels.size()))
      keys.fail(concat("the U-Net has ", levels.size(), " levels on the way down and more on the way up"));
    add(keys, block, ours, levels[levels.size() - 1 - i].up);
    for (const char* place : {"1.conv", "2.conv"})  // after the transformer where there is one
      if (keys.has(block + place + ".weight")) {
        names[ours + "upsamplers.0.conv"] = block + place;
        ++i;
      }
  }
  for (const Level& level : levels)
    if (level.down.empty() || level.up.size() != level.down.size() + 1)
      keys.fail(concat("a level of the U-Net has ", level.down.size(), " resnets on the way down and ", level.up.size(),
                       " on the way up, expected one more"));
}

std::string UNetWalk::tensor(const std::string& name) const { return original_unet_tensor(names, name).value_or(name); }

void UNetWalk::add(const Keys& keys, const std::string& block, const std::string& ours,
                   std::vector<std::int64_t>& layers) {
  const auto j = layers.size();
  names[concat(ours, "resnets.", j)] = block + "0";
  names[concat(ours, "attentions.", j)] = block + "1";
  layers.push_back(keys.count(block + "1.transformer_blocks.", ".norm1.weight"));
}

}  // namespace sdgen
