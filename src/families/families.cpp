#include "families/families.h"

#include <algorithm>

#include "device/device.h"
#include "diffusion/schedulers.h"
#include "families/assembly.h"
#include "families/networks.h"
#include "formats/backbone_file.h"
#include "formats/companions.h"
#include "formats/quantize.h"
#include "formats/text_encoder_files.h"
#include "io/text.h"
#include "io/utf8.h"
#include "ops/int8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// Null for a class that is not in the table.
const Family* find_family(const Config& index) {
  const std::string name = index.string("_class_name", "");
  const auto found = std::ranges::find(families(), name, &Family::pipeline);
  return found == families().end() ? nullptr : &*found;
}

const Family& family_of(const Config& index) {
  if (const Family* found = find_family(index)) return *found;
  std::vector<std::string> known;
  for (const Family& family : families()) known.emplace_back(family.pipeline);
  throw Error(Fault::input, concat(index.who(), ": pipeline class '", printable(index.string("_class_name", "")),
                                   "' is not supported (", joined(known), ")"));
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> table = [] {
    std::vector<Family> all;
    for (const auto& rows : {sd_families(), sdxl_families(), sd3_families(), flux_families(), flux2_families(),
                             chroma_families(), pixart_families(), dit_families(), z_image_families(),
                             lumina2_families(), qwen_image_families(), pixel_families()})
      all.insert(all.end(), rows.begin(), rows.end());
    std::ranges::sort(all, {}, [](const Family& family) { return std::string_view(family.pipeline); });
    return all;
  }();
  return table;
}

Survey survey(const Component& component) {
  Survey result = with_network(
      component, [&]<class Network>(Network*, const auto& config) { return survey_as<Network>(component, config); });
  const at::ScalarType dtype =
      choose_dtype(Precision::automatic, at::kCPU, stored_dtype(*component.tensors, component.prefix));
  result.memory = result.coded + result.widened * c10::elementSize(dtype);
  return result;
}

void require_family(const Config& index) { family_of(index); }

void require_scheduler(const ModelFiles& model) {
  Scheduler::choose(model.scheduler, {}, family_of(model.index).rules.quirks);
}

void require_together(const ModelFiles& model) {
  require_companions(model);
  family_of(model.index).require_fit(model);
}

std::string family_name(const ModelFiles& model) { return family_of(model.index).name(model); }

Size native_size(const ModelFiles& model) { return family_of(model.index).native_size(model); }

bool takes_text(const std::filesystem::path& model) {
  std::error_code error;
  if (!std::filesystem::exists(model / "model_index.json", error)) return true;
  const Family* found = find_family(Config::read(model / "model_index.json"));
  return !found || found->takes_text;
}

Parts assemble_autoencoder(const std::filesystem::path& path, const AssembleOptions& options, const Warn& warn) {
  const Component c = options.vae ? open_vae(*options.vae, 1) : open_model(path, warn).at("vae");
  const AutoencoderInfo latents = autoencoder_info(c);
  const at::ScalarType dtype = choose_dtype(options.precision, options.device, stored_dtype(*c.tensors, c.prefix));
  const PicturePart picture = picture_part(c, dtype, options);
  check_network(c, warn);
  return {.family = {},
          .device = options.device,
          .dtype = dtype,
          .latents = {latents.latent_channels, latents.factor},
          .picture = picture,
          .scheduler = Config(Json::object(), "")};
}

Parts assemble(const std::filesystem::path& path, const AssembleOptions& options, const Warn& warn) {
  ModelFiles model = open_model(path, warn);
  if (options.backbone) replace_backbone(model, *options.backbone);
  take_text_encoders(model, options.text_encoders);
  if (options.vae && !model.folder && !model.find("vae"))
    model.components.push_back(open_vae(*options.vae, model.scaling));
  const auto note = [&model](const std::string& message) { model.notes.push_back(message); };
  quantize_networks(model, options.quantize, warn, note);
  const Family& family = family_of(model.index);
  require_companions(model);
  Parts parts = family.assemble(model, family, options, warn);
  parts.notes.insert(parts.notes.begin(), model.notes.begin(), model.notes.end());
  if (options.quantize == Quantize::int8 && parts.dtype != at::kHalf && options.device.is_cpu())
    parts.notes.emplace_back(ops::has_int8()
                                 ? "tokens and pixels are rounded to int8, and multiplied in whole numbers"
                                 : "this processor has no products of int8: tokens and pixels stay as they are");
  return parts;
}

}  // namespace sdgen
