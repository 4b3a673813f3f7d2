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

void UNetWalk::walk_up(const Keys& keys) {
  for (std::size_t n = 0, i = 0;; ++n) {
    const std::string block = concat("output_blocks.", n, '.');
    if (!keys.has(block + "0.in_layers.2.weight")) break;
    if (i >= levels.size())
      keys.fail(concat("the U-Net has ", levels.size(), " levels on the way down and more on the way up"));
    levels[levels.size() - 1 - i].up.push_back(layers_in(keys, block));
    if (keys.has(block + "1.conv.weight") || keys.has(block + "2.conv.weight")) ++i;
  }
  for (const UNetLevel& level : levels)
    if (level.down.empty() || level.up.size() != level.down.size() + 1)
      keys.fail(concat("a level of the U-Net has ", level.down.size(), " resnets on the way down and ", level.up.size(),
                       " on the way up, expected one more"));
  names = original_unet_blocks(levels);
}

std::string UNetWalk::tensor(const std::string& name) const { return original_unet_tensor(names, name).value_or(name); }

}  // namespace sdgen
