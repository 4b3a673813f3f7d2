#include "formats/control_files.h"

#include <algorithm>
#include <numeric>

#include "formats/file_kind.h"
#include "formats/transformer_control_files.h"
#include "formats/unet_walk.h"
#include "io/file.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

constexpr const char *kControlNet = "ControlNetModel", *kT2IAdapter = "T2IAdapter";  // diffusers' classes

// --- ControlNet

// diffusers' name of a ControlNet's tensor -> the original, without prefix. `embeddings`: how many layers fold the
// picture between the first and the last.
std::string original_name(const UNetWalk& walk, std::int64_t embeddings, std::string name) {
  constexpr std::string_view down = "controlnet_down_blocks.", block = "controlnet_cond_embedding.blocks.";
  const auto after = [&name](std::string_view front) { return name.find('.', front.size()); };
  if (name.starts_with(down))
    return concat("zero_convs.", name.substr(down.size(), after(down) - down.size()), ".0", name.substr(after(down)));
  if (name.starts_with(block))  // every second module is an activation
    return concat("input_hint_block.", 2 * std::atoi(name.c_str() + block.size()) + 2, name.substr(after(block)));
  if (replace_one(name, {{"controlnet_mid_block.", "middle_block_out.0."},
                         {"controlnet_cond_embedding.conv_in.", "input_hint_block.0."}}))
    return name;
  if (const std::string last = concat("input_hint_block.", 2 * embeddings + 2, '.');
      replace_one(name, {{"controlnet_cond_embedding.conv_out.", last.c_str()}}))
    return name;
  return walk.tensor(name);
}

// What config.json would say of a ControlNet whose tensors `at` finds.
Json controlnet_config(const Keys& keys, const std::function<std::string(const std::string&)>& at, const Config* unet) {
  const auto has = [&](const std::string& name) { return keys.has(at(name)); };
  const auto dim = [&](const std::string& name, std::size_t i) { return keys.dim(at(name), i); };
  const auto count = [&](const std::string& before, const std::string& after) {
    std::int64_t n = 0;
    while (has(concat(before, n, after))) ++n;
    return n;
  };
  Json json = {{"_class_name", kControlNet},
               {"in_channels", dim("conv_in.weight", 1)},
               {"time_embedding_dim", dim("time_embedding.linear_1.weight", 0)}};
  for (const char* key : {"attention_head_dim", "norm_num_groups", "norm_eps", "act_fn", "flip_sin_to_cos",
                          "freq_shift", "addition_time_embed_dim", "downsample_padding"})
    if (unet && unet->has(key)) json[key] = unet->json().at(key);

  const std::int64_t mid_layers = count("mid_block.attentions.0.transformer_blocks.", ".norm1.weight");
  std::int64_t groups = 32;
  const std::int64_t levels = count("down_blocks.", ".resnets.0.conv1.weight");
  for (std::int64_t i = 0; i < levels; ++i) {
    const std::string block = concat("down_blocks.", i, '.');
    const std::int64_t channels = dim(block + "resnets.0.conv1.weight", 0);
    const std::int64_t layers = count(block + "attentions.0.transformer_blocks.", ".norm1.weight");
    json["block_out_channels"].push_back(channels);
    json["layers_per_block"].push_back(count(block + "resnets.", ".conv1.weight"));
    json["down_block_types"].push_back(layers ? "CrossAttnDownBlock2D" : "DownBlock2D");
    json["transformer_layers_per_block"].push_back(std::max<std::int64_t>(layers ? layers : mid_layers, 1));
    if (!unet) json["attention_head_dim"].push_back(std::max<std::int64_t>(channels / kHeadWidth, 1));
    groups = std::gcd(groups, channels);
    if (layers) {
      json["cross_attention_dim"] = dim(block + "attentions.0.transformer_blocks.0.attn2.to_k.weight", 1);
      json["use_linear_projection"] = keys.rank(at(block + "attentions.0.proj_in.weight")) == 2;
    }
  }
  if (!unet) json["norm_num_groups"] = groups;
  json["mid_block_type"] = mid_layers ? "UNetMidBlock2DCrossAttn" : "UNetMidBlock2D";
  Json& picture = json["conditioning_embedding_out_channels"];
  picture.push_back(dim("controlnet_cond_embedding.conv_in.weight", 0));
  for (std::int64_t i = 1; has(concat("controlnet_cond_embedding.blocks.", i, ".weight")); i += 2)
    picture.push_back(dim(concat("controlnet_cond_embedding.blocks.", i, ".weight"), 0));
  if (has("add_embedding.linear_1.weight")) {
    json["addition_embed_type"] = "text_time";
    json["projection_class_embeddings_input_dim"] = dim("add_embedding.linear_1.weight", 1);
  }
  return json;
}

// What looks like a ControlNet and is another thing.
void refuse_relatives(const Keys& keys) {
  if (keys.has("lora_controlnet")) keys.fail("is a Control-LoRA, which is not supported: give a whole ControlNet");
  if (keys.has("difference"))
    keys.fail("holds the difference of a ControlNet to one U-Net, which is not supported: give the whole ControlNet");
  if (keys.has("task_embedding") || keys.has("control_add_embedding.linear_1.weight"))
    keys.fail("is a ControlNet for several kinds of pictures (ControlNetUnionModel), which is not supported");
}

// --- T2I-Adapter

// Where the tensors of the original's flat list of residual blocks are: `resnets` of them are a block.
std::string flat_name(const std::string& name, std::int64_t resnets) {
  constexpr std::string_view body = "body.", resnet = "resnets.";
  if (!name.starts_with(body)) return name;
  const std::size_t dot = name.find('.', body.size());
  const std::int64_t block = std::atoi(name.c_str() + body.size());
  std::string rest = name.substr(dot + 1);
  std::int64_t index = block * resnets;
  if (rest.starts_with(resnet)) {
    index += std::atoi(rest.c_str() + resnet.size());
    rest = rest.substr(rest.find('.', resnet.size()) + 1);
  }
  return concat("body.", index, '.', rest);
}

struct AdapterNames {
  std::string prefix;
  bool light = false;
  std::int64_t flat = 0;    // > 0: a flat list, of so many residual blocks a block
  bool inner_body = false;  // residual blocks are named body, not resnets

  // From diffusers' name.
  std::string operator()(std::string name) const {
    replace_one(name, {{"adapter.", ""}});
    if (flat) name = flat_name(name, flat);
    if (inner_body) replace_one(name, {{".resnets.", ".body."}});
    return prefix + name;
  }
};

AdapterNames adapter_names(const Keys& all) {
  for (const char* prefix : {"adapter.", ""}) {
    AdapterNames names{prefix};
    const auto has = [&](const std::string& name) { return all.has(prefix + name); };
    names.light = has("body.0.out_conv.weight");
    if (has("body.0.resnets.0.block1.weight")) return names;
    names.inner_body = names.light && has("body.0.body.0.block1.weight");
    if (names.inner_body) return names;
    if (!has("body.0.block1.weight")) continue;
    constexpr std::int64_t kBlocks = 4;  // of all that TencentARC's code builds, whatever their widths
    const std::int64_t count = all.count(concat(prefix, "body."), ".block1.weight");
    if (count % kBlocks != 0)
      all.fail(concat("is a T2I-Adapter of ", count, " residual blocks, which do not divide into ", kBlocks));
    names.flat = count / kBlocks;
    if (has("body.0.skep.weight") || has("body.1.skep.weight"))
      all.fail("is a T2I-Adapter with convolutions in its shortcuts, which is not supported");
    return names;
  }
  all.fail("has no T2I-Adapter's names that are known");
}

Json adapter_config(const Keys& keys, const AdapterNames& at) {
  const std::int64_t folded = keys.dim(at(at.light ? "adapter.body.0.in_conv.weight" : "adapter.conv_in.weight"), 1);
  // Pixels are folded by 8, for SDXL by 16, of one or three channels each.
  const std::int64_t factor = folded % 256 == 0 ? 16 : 8;
  Json json = {{"_class_name", kT2IAdapter}, {"downscale_factor", factor}, {"in_channels", folded / factor / factor}};
  json["adapter_type"] = at.light ? "light_adapter" : factor == 16 ? "full_adapter_xl" : "full_adapter";
  const auto resnet = [&at](std::int64_t block, std::int64_t i) {
    return at(concat("adapter.body.", block, ".resnets.", i, ".block1.weight"));
  };
  std::int64_t resnets = at.flat;
  if (!at.flat)
    while (keys.has(resnet(0, resnets))) ++resnets;
  json["num_res_blocks"] = resnets;
  for (std::int64_t block = 0; keys.has(resnet(block, 0)); ++block)
    json["channels"].push_back(at.light ? keys.dim(at(concat("adapter.body.", block, ".out_conv.weight")), 0)
                                        : keys.dim(resnet(block, 0), 0));
  if (at.light) json["channels"].erase(json["channels"].size() - 1);  // the last block is as wide as the one before
  return json;
}

// --- Both

// A folder with config.json, or a single file.
template <class Read>
Component open(const fs::path& path, const char* what, const ComponentClass& expected, const Read& read) {
  const auto fail = [&path](const auto&... message) {
    throw Error(Fault::input, concat(path.string(), ": ", message...));
  };
  if (!present(path)) fail("no such ", what);
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    Component c = read(open_single_file(path));
    if (c.type != &expected)
      fail("holds a ", what, " of class '", c.type->name, "', expected ", expected.name,
           ": it was made for another model");
    return c;
  }
  if (!present(path / "config.json")) fail("no config.json: this is not the folder of a ", what);
  const std::string found = Config::read(path / "config.json").string("_class_name", "");
  if (found != expected.name) fail("its config.json is of class '", printable(found), "', expected ", expected.name);
  return open_component(path, expected);
}

}  // namespace

Component controlnet_of(std::shared_ptr<const TensorTable> table, const Config* backbone) {
  if (auto found = transformer_controlnet_of(table, backbone)) return *std::move(found);
  const Keys all(*table, "");
  refuse_relatives(all);
  std::string prefix;
  std::function<std::string(const std::string&)> name_of = [](const std::string& name) { return name; };
  if (!all.has("controlnet_cond_embedding.conv_in.weight")) {
    prefix = all.has("control_model.input_hint_block.0.weight") ? "control_model." : "";
    const Keys keys(*table, prefix);
    if (!keys.has("input_hint_block.0.weight"))
      all.fail(concat("holds no ControlNet: this is ", describe_file(*table)));
    std::int64_t embeddings = 0;
    while (keys.has(concat("input_hint_block.", 2 * (embeddings + 2), ".weight"))) ++embeddings;
    name_of = [walk = UNetWalk(keys), embeddings](const std::string& name) {
      return original_name(walk, embeddings, name);
    };
  }
  Json json = controlnet_config(Keys(*table, prefix), name_of, backbone);
  return {nullptr,
          &component_class(kControlNet),
          Config(std::move(json), table->source() + ": ControlNet"),
          std::move(table),
          [prefix, name_of](const std::string& name) { return Place(prefix + name_of(name)); },
          prefix};
}

Component t2i_adapter_of(std::shared_ptr<const TensorTable> table) {
  if (summarize_file(*table).kind != FileKind::t2i_adapter)
    throw Error(Fault::input, concat(table->source(), ": holds no T2I-Adapter: this is ", describe_file(*table)));
  const Keys keys(*table, "");
  const AdapterNames names = adapter_names(keys);
  return {nullptr,
          &component_class(kT2IAdapter),
          Config(adapter_config(keys, names), table->source() + ": T2I-Adapter"),
          std::move(table),
          [names](const std::string& name) { return Place(names(name)); },
          names.prefix};
}

Component open_controlnet(const fs::path& path, const ComponentClass& expected, const Config* backbone) {
  return open(path, "ControlNet", expected, [backbone](auto table) { return controlnet_of(table, backbone); });
}

Component open_t2i_adapter(const fs::path& path) {
  return open(path, "T2I-Adapter", component_class(kT2IAdapter), [](auto table) { return t2i_adapter_of(table); });
}

}  // namespace sdgen
