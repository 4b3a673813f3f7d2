#include "formats/qwen_layout.h"

#include <charconv>

#include "sdgen/error.h"

namespace sdgen {
namespace {

// Means and deviations of the latents' channels (defaults of diffusers' AutoencoderKLQwenImage).
const Json& released_means() {
  static const Json means = {-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,  -0.1517, 1.5508,
                             0.4134,  -0.0715, 0.5517,  -0.3632, -0.1922, -0.9497, 0.2503,  -0.2921};
  return means;
}
const Json& released_deviations() {
  static const Json deviations = {2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                                  3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160};
  return deviations;
}

// The number that `name` has at `at`, which moves behind it and its dot.
std::int64_t number_in(const std::string& name, std::size_t& at) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data() + at, name.data() + name.size(), number);
  if (error != std::errc()) throw Error(Fault::internal, concat("no number in the name '", name, "'"));
  at = std::size_t(end - name.data()) + 1;
  return number;
}

// diffusers' name -> Wan's. `resnets`: of a level of the decoder.
std::string wan_name(std::string name, std::int64_t resnets) {
  if (name.starts_with("quant_conv.")) return "conv1" + name.substr(10);
  if (name.starts_with("post_quant_conv.")) return "conv2" + name.substr(15);
  replace_one(name, {{".mid_block.resnets.0.", ".middle.0."},
                     {".mid_block.resnets.1.", ".middle.2."},
                     {".mid_block.attentions.0.", ".middle.1."},
                     {".conv_in.", ".conv1."},
                     {".norm_out.", ".head.0."},
                     {".conv_out.", ".head.2."},
                     {"encoder.down_blocks.", "encoder.downsamples."}});
  // A level's resnets, and what doubles its result, are counted through all levels.
  if (constexpr std::string_view front = "decoder.up_blocks."; name.starts_with(front)) {
    std::size_t at = front.size();
    const std::int64_t level = number_in(name, at);
    const bool doubles = name.compare(at, 11, "upsamplers.") == 0;
    at = name.find('.', at) + 1;
    const std::int64_t own = number_in(name, at);
    name = concat("decoder.upsamples.", level * (resnets + 1) + (doubles ? resnets : own), '.', name.substr(at));
  }
  const bool in_resnet = name.find("samples.") != name.npos || name.find(".middle.") != name.npos;
  if (in_resnet)
    replace_one(name, {{".norm1.", ".residual.0."},
                       {".conv1.", ".residual.2."},
                       {".norm2.", ".residual.3."},
                       {".conv2.", ".residual.6."},
                       {".conv_shortcut.", ".shortcut."}});
  return name;
}

// How many resnets a level of the decoder has, and how many levels there are.
struct Levels {
  std::int64_t resnets = 0, count = 1;
};
Levels levels_of(const Keys& keys, bool wan) {
  Levels levels;
  if (!wan) {
    levels.resnets = keys.count("decoder.up_blocks.0.resnets.", ".conv1.weight");
    levels.count = keys.numbered("decoder.up_blocks.");
    return levels;
  }
  levels.resnets = keys.count("decoder.upsamples.", ".residual.2.weight");
  const std::int64_t layers = keys.numbered("decoder.upsamples.");
  levels.count = levels.resnets > 0 ? (layers + 1) / (levels.resnets + 1) : 0;
  return levels;
}

}  // namespace

std::optional<ForeignComponent> qwen_autoencoder(const TensorTable& table) {
  for (const char* prefix : {"", "vae.", "first_stage_model."}) {
    const Keys keys(table, prefix);
    const bool wan = keys.has("decoder.middle.0.residual.0.gamma");
    if (!wan && !keys.has("decoder.mid_block.resnets.0.norm1.gamma")) continue;
    const Levels levels = levels_of(keys, wan);
    const Locate locate = [front = std::string(prefix), wan, resnets = levels.resnets](const std::string& name) {
      return Place(front + (wan ? wan_name(name, resnets) : name));
    };
    const auto at = [&](const std::string& name) { return wan ? wan_name(name, levels.resnets) : name; };
    if (levels.resnets < 2 || levels.count < 1) keys.fail("its autoencoder's decoder has no whole levels");
    Json channels = Json::array(), halves = Json::array();
    const std::int64_t base = keys.dim(at("decoder.conv_out.weight"), 1);
    for (std::int64_t i = levels.count; i-- > 0;) {
      const std::string name = at(concat("decoder.up_blocks.", i, ".resnets.0.conv1.weight"));
      const std::int64_t own = keys.dim(name, 0);
      if (base < 1 || own % base != 0)
        keys.fail(concat("tensor '", name, "' has ", own, " rows, which are no multiple of the ", base,
                         " channels of the finest level"));
      channels.push_back(own / base);
      if (i > 0) halves.push_back(true);
    }
    Json json = {{"_class_name", "AutoencoderKLQwenImage"},
                 {"base_dim", base},
                 {"z_dim", keys.dim(at("post_quant_conv.weight"), 0)},
                 {"dim_mult", channels},
                 {"num_res_blocks", levels.resnets - 1},
                 {"temperal_downsample", halves},
                 {"latents_mean", released_means()},
                 {"latents_std", released_deviations()}};
    std::set<std::string> unused;
    for (const auto& [name, entry] : table.tensors())
      if (name.starts_with(prefix) && name.find(".time_conv.") != name.npos) unused.insert(name);
    return ForeignComponent{Config(std::move(json), table.source() + ": autoencoder"), locate, prefix,
                            std::move(unused)};
  }
  return std::nullopt;
}

}  // namespace sdgen
