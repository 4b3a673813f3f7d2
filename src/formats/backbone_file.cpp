#include "formats/backbone_file.h"

#include <algorithm>

#include "formats/file_kind.h"
#include "formats/original_layout.h"
#include "formats/training.h"
#include "io/file.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

// The U-Net of a single file; nothing where there is none.
std::optional<Component> unet_in(const std::shared_ptr<const TensorTable>& table, const Component& own) {
  const auto found = [&](const Keys& keys, UNetWalk walk) {
    Json config = unet_config(keys, walk, own.config);
    ForeignComponent unet = unet_component(keys, std::move(walk), std::move(config));
    return Component{own.part, own.type, std::move(unet.config), table, std::move(unet.locate), std::move(unet.prefix)};
  };
  for (const char* prefix : {"model.diffusion_model.", "diffusion_model.", "unet.", ""}) {
    const Keys keys(*table, prefix);
    if (keys.any("input_blocks.") && keys.any("output_blocks.")) return found(keys, UNetWalk::original(keys));
    if (keys.any("down_blocks.") && keys.any("up_blocks.")) return found(keys, UNetWalk::diffusers(keys));
  }
  return std::nullopt;
}

}  // namespace

void replace_backbone(ModelFiles& model, const fs::path& path) {
  std::error_code error;
  if (!present(path)) throw Error(Fault::input, concat(path.string(), ": no such network"));
  const bool folder = fs::is_directory(path, error);
  const auto found = std::ranges::find_if(
      model.components, [](const Component& c) { return c.type->architecture == Architecture::unet; });
  const std::string pipeline = model.index.string("_class_name", "");
  if (found == model.components.end())
    throw Error(Fault::usage, concat(FieldName{"backbone"}, ": ", model.path.string(), " is a ", printable(pipeline),
                                     ", which has no U-Net on latents that another could stand for"));
  Component& own = *found;
  Json index = model.index.json(), scheduler = model.scheduler.json(), said = Json::object();
  std::optional<Component> network;
  if (folder) {
    network = open_network(path, Role::backbone);
  } else {
    const auto table = open_single_file(path);
    network = unet_in(table, own);
    if (!network) throw Error(Fault::input, concat(path.string(), ": holds no U-Net: this is ", describe_file(*table)));
    hear_training(*table, scheduler, said);
  }
  if (network->type != own.type)
    throw Error(Fault::input, concat(path.string(), ": is a ", network->type->name, ", expected ", own.type->name));
  std::string pipeline_class = pipeline;
  suit_unet_instead(network->config, own.config, {pipeline_class, scheduler, said});
  index["_class_name"] = pipeline_class;

  model.index = Config(std::move(index), model.index.who());
  model.scheduler = Config(std::move(scheduler), model.scheduler.who());
  own = *std::move(network);
  model.backbone = path;
  std::vector<Config> more;
  const fs::path beside = folder ? path : path.parent_path(),
                 base = model.folder ? model.path : model.path.parent_path();
  if (!fs::equivalent(beside.empty() ? "." : beside, base.empty() ? "." : base, error))
    if (auto file = authors_file(beside)) more.push_back(*std::move(file));
  more.emplace_back(std::move(said), path.string());
  model.said.insert(model.said.begin(), more.begin(), more.end());
}

}  // namespace sdgen
