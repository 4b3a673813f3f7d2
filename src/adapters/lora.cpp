#include "adapters/lora.h"

#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "adapters/lora_change.h"
#include "formats/file_kind.h"
#include "formats/lora_positions.h"
#include "formats/lora_summary.h"
#include "formats/model_files.h"
#include "io/file.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using at::Tensor;
using Part = LoraPart;
using Product = LoraProduct;
using Sizes = LoraChange::Sizes;

// The alpha that diffusers writes for a module into the file's metadata (LoraConfig's fields below the component's
// name), for files that have none as a tensor.
std::optional<double> alpha_in_metadata(const TensorTable& table, const LoraNames::Module& module) {
  const auto& metadata = table.files().front()->metadata();
  const auto text = metadata.find("lora_adapter_metadata");
  if (text == metadata.end()) return std::nullopt;
  const Json json = Json::parse(text->second, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  const auto whole = json.find(concat(module.part->name, ".lora_alpha")),
             pattern = json.find(concat(module.part->name, ".alpha_pattern"));
  if (pattern != json.end() && pattern->is_object())
    for (const char* model : {"", "text_model."})
      if (const auto own = pattern->find(model + module.name); own != pattern->end() && own->is_number())
        return own->get<double>();
  if (whole == json.end() || !whole->is_number()) return std::nullopt;
  return whole->get<double>();
}

// alpha / rank; 1 without alpha.
double scale_of(const TensorTable& table, const Product& product, Part kind, const LoraNames::Module& module) {
  using enum LoraPart;
  if (kind == diff || kind == diff_b || kind == replaced || kind == oft_blocks) return 1;
  std::vector<double> value;
  if (product.has(alpha)) {
    value = read_values(table, product.names.at(alpha));
  } else if (const auto written = kind == down || kind == up_bias ? alpha_in_metadata(table, module) : std::nullopt) {
    value = {*written};
  } else {
    return 1;
  }
  if (value.size() != 1 || !std::isfinite(value[0]))
    throw Error(Fault::input,
                concat(table.source(), ": '", printable(product.has(alpha) ? product.names.at(alpha) : "lora_alpha"),
                       "' is not one finite number"));
  for (const auto& [part, name] : product.names)
    if (carries_rank(part)) {
      const Sizes& shape = table.find(name)->shape;
      return shape.empty() || shape[0] == 0 ? 1 : value[0] / static_cast<double>(shape[0]);
    }
  return 1;  // LoKr of two whole factors has no rank
}

// A LoRA file taken apart.
struct LoraFile {
  std::shared_ptr<const TensorTable> table;
  std::string meant;                       // the family that it seems to be made for; "": it does not tell
  std::string algorithms;                  // "LoRA and OFT"
  std::map<std::string, Product> modules;  // by their spelling
  std::vector<std::string> others;         // tensors of none of them
  // Modules of algorithms that are known by name alone.
  std::map<std::string, std::set<std::string>> unsupported;
  bool words = false;

  // "12 modules are VeRA, which is not supported; "
  std::string says_unsupported() const {
    std::string text;
    for (const auto& [algorithm, names] : unsupported)
      text += concat(names.size(), " modules are ", algorithm, ", which is not supported; ");
    return text;
  }
  std::size_t size() const {
    std::set<std::string> all;
    for (const auto& [spelling, product] : modules) all.insert(spelling);
    for (const auto& [algorithm, names] : unsupported) all.insert(names.begin(), names.end());
    return all.size();
  }
};

LoraFile open_lora(const std::filesystem::path& path) {
  if (!present(path))
    throw Error(Fault::input, concat(FieldName{"loras"}, ": there is no file '", printable(path.string()), "'"));
  LoraFile file{open_single_file(path), "", "", {}, {}, {}};
  const LoraSummary summary = summarize_lora(*file.table);
  file.meant = summary.family;
  file.algorithms = joined(std::vector(summary.algorithms.begin(), summary.algorithms.end()), " and ");
  if (file.algorithms.empty()) file.algorithms = "LoRA";
  for (const auto& [name, entry] : file.table->tensors()) {
    const bool of_a_word = name.starts_with(kBundle);  // see TextualInversions::add_bundle()
    file.words = file.words || of_a_word;
    if (of_a_word) continue;
    const auto key = lora_key(*file.table, name);
    // Two adapters in a file would have the same tensor.
    const bool used =
        key && key->ending->part && file.modules[key->module].names.insert({*key->ending->part, name}).second;
    if (!used) file.others.push_back(name);
    if (key && !key->ending->part) file.unsupported[std::string(key->ending->algorithm)].insert(key->module);
  }
  if (file.modules.empty() && !file.unsupported.empty())
    throw Error(Fault::input, concat(file.table->source(), ": ", file.says_unsupported(), "supported are LoRA, LoCon, ",
                                     "LoHa, LoKr, DoRA, GLoRA, and LyCORIS' (IA)^3, OFT and BOFT"));
  if (file.modules.empty())
    throw Error(Fault::input, concat(file.table->source(), ": no LoRA: this is ", describe_file(*file.table)));
  return file;
}

// Does such a part belong to a product that begins so?
bool belongs(Part part, Part kind) {
  using enum LoraPart;
  const auto between = [part](Part first, Part last) { return first <= part && part <= last; };
  if (part == alpha || part == dora_scale || part == magnitude) return kind != diff_b;
  if (kind == down) return between(down, mid);
  if (kind == up_bias) return part == up_bias || part == down;  // whose rank its scale is told by
  if (kind == hada_w1_a) return between(hada_w1_a, hada_t2);
  if (kind == lokr_w1) return between(lokr_w1, lokr_t2);
  if (kind == glora_a1) return between(glora_a1, glora_bm);
  if (kind == ia3) return between(ia3, on_input);
  if (kind == oft_blocks) return between(oft_blocks, rescale);
  return part == kind;
}

// The changes that a module's tensors make: of its weight, and of its bias.
struct Target {
  Part kind;
  const char* leaf;
  Product product;
};
std::vector<Target> targets_of(const Product& product) {
  std::vector<Target> targets;
  const auto add = [&](Part kind, const char* leaf) {
    targets.push_back({kind, leaf, product});
    std::erase_if(targets.back().product.names, [kind](const auto& entry) { return !belongs(entry.first, kind); });
  };
  if (const auto kind = product_kind(product)) add(*kind, "weight");
  for (const Part kind : {Part::diff_b, Part::up_bias})
    if (product.has(kind)) add(kind, "bias");
  return targets;
}

struct Found {
  const ModelPart* part;
  LoraChange change;
};
// What a target comes to in the model: a change for each parameter that is rows of it.
std::vector<Found> changes_of(const std::shared_ptr<const TensorTable>& table, const Target& target,
                              const LoraNames::Modules& modules, const LoraNames& names, const Lora& lora) {
  std::vector<LoraRows> rows;
  std::vector<Found> found;
  for (const LoraNames::Module& module : modules) {
    const Sizes* shape = names.shape(module, target.leaf);
    if (!shape) continue;
    rows.push_back({concat(module.name, '.', target.leaf), *shape, module.rows});
    const double strength = module.part->role == Role::backbone ? lora.unet_scale : lora.text_scale;
    const double scale = scale_of(*table, target.product, target.kind, module);
    found.push_back(
        {module.part, {table, target.product, target.kind, scale, strength, rows.back().whole(), rows.back()}});
  }
  for (auto& [part, change] : found)
    if (!change.own.place.whole() && change.mixes_rows()) change.all = rows;
  return found;
}

// Of a product that is for more channels than the network takes in: what Black Forest Labs' Depth and Canny LoRAs do.
std::string says_widened(const LoraChange& change) {
  if (change.kind != Part::down || change.own.parameter != "x_embedder.weight") return "";
  const Sizes& down = change.table->find(change.product.names.at(Part::down))->shape;
  if (down.size() != 2 || down[1] != 2 * change.shape[1]) return "";
  return concat("; it widens the network's input from ", change.shape[1], " to ", down[1],
                " channels, as control LoRAs do, which makes another model of it: take FLUX.1-Depth-dev or "
                "FLUX.1-Canny-dev");
}

// "FILE: 3 of 4 LoRA modules fit the model (SDXL); not used: 2 tensors, e.g. 'a', 'b'"
std::string says_unused(const LoraFile& file, std::size_t applied, const std::vector<std::string>& unused,
                        const std::string& family) {
  std::string message = concat(file.table->source(), ": ", applied, " of ", file.size(), " modules (", file.algorithms,
                               ") fit the model (", family, "); ", file.says_unsupported(), "not used: ", unused.size(),
                               " tensors, e.g. ");
  for (std::size_t i = 0; i < std::min<std::size_t>(unused.size(), 3); ++i)
    message += concat(i ? ", '" : "'", printable(unused[i]), "'");
  return message;
}

}  // namespace

LoraSet::LoraSet(std::span<const Lora> files, const LoraNames& names, const std::string& family, bool strict,
                 const Warn& warn) {
  for (const Lora& lora : files) {
    const LoraFile file = open_lora(lora.path);
    const TensorTable& table = *file.table;
    const auto made_for = [&](const char* unknown) {
      return concat(" made for ", file.meant.empty() ? unknown : file.meant, ", the model is ", family);
    };
    const std::map<std::string, LoraNames::Module> numbered = numbered_modules(table, names);
    std::vector<std::string> unused = file.others;
    std::size_t applied = 0;
    for (const auto& [spelling, product] : file.modules) {
      LoraNames::Modules modules;
      if (const auto number = numbered.find(spelling); number != numbered.end())
        modules = {number->second};
      else if (const LoraNames::Modules* named = names.find(spelling))
        modules = *named;
      std::set<Part> used;
      for (const Target& target : modules.empty() ? std::vector<Target>() : targets_of(product)) {
        std::vector<Found> found = changes_of(file.table, target, modules, names, lora);
        for (const Found& one : found) {
          try {
            one.change.check();
          } catch (const Error& misfit) {
            const std::string widened = says_widened(one.change);
            throw Error(Fault::input,
                        concat(misfit.what(), !widened.empty() ? widened
                                                               : concat("; the LoRA (", file.algorithms,
                                                                        ") seems to be", made_for("another model"))));
          }
        }
        if (found.empty()) continue;
        for (const auto& [part, name] : target.product.names) used.insert(part);
        for (Found& one : found) {
          if (one.change.strength == 0) continue;  // the model as it is
          auto& changes = changes_[one.part];
          if (!changes) changes = std::make_shared<Changes>();
          (*changes)[one.change.own.parameter].push_back(std::move(one.change));
        }
      }
      applied += !used.empty();
      for (const auto& [part, name] : product.names)
        if (!used.contains(part)) unused.push_back(name);
    }
    if (applied == 0)
      throw Error(Fault::input, concat(table.source(), ": none of its ", file.size(), " modules (", file.algorithms,
                                       "; e.g. '", printable(file.modules.begin()->first), "') is in the model: ",
                                       file.says_unsupported(), "the LoRA is", made_for("a model that is not known")));
    if (!unused.empty() && strict) throw Error(Fault::input, says_unused(file, applied, unused, family));
    if (!unused.empty()) warn(says_unused(file, applied, unused, family));
    infos_.push_back({.path = lora.path,
                      .name = lora.path.stem().string(),
                      .hash = lora_hash(table),
                      .unet_scale = lora.unet_scale,
                      .text_scale = lora.text_scale,
                      .applied = applied,
                      .total = file.size(),
                      .words = file.words});
  }
}

Weights LoraSet::patch(const Weights& w, const ModelPart& part) const {
  const auto found = changes_.find(&part);
  if (found == changes_.end()) return w;
  const LoraChange::Originals originals = [plain = w.to(at::kCPU, at::kFloat)](const std::string& name,
                                                                               const Sizes& shape) {
    return plain.get(name, shape, Weights::Use::passing);
  };
  const auto of = [changes = found->second](const std::string& name) -> const std::vector<LoraChange>* {
    constexpr std::string_view model = "text_model.";
    const auto change = changes->find(name.starts_with(model) ? name.substr(model.size()) : name);
    return change == changes->end() ? nullptr : &change->second;
  };
  Weights::Patch patch;
  patch.touches = [of](const std::string& name) { return of(name) != nullptr; };
  patch.change = [of, originals](const std::string& name, Tensor tensor) {
    const Tensor original = tensor;
    for (const LoraChange& one : *of(name)) tensor = one.apply(original, tensor, originals);
    return tensor;
  };
  patch.terms = [of](const std::string& name) -> std::optional<std::vector<LowRank>> {
    std::vector<LowRank> terms;
    for (const LoraChange& one : *of(name)) {
      std::optional<LowRank> term = one.low_rank();
      if (!term) return std::nullopt;
      terms.push_back(*std::move(term));
    }
    return terms;
  };
  return w.patch(std::move(patch));
}

const LoraNames& LoraFits::names() {
  if (!known_names_) known_names_.emplace(names_());
  return *known_names_;
}

std::vector<LoraInfo> LoraFits::infos(std::span<const Lora> files) {
  std::vector<LoraInfo> infos;
  const std::lock_guard guard(lock_);
  for (const Lora& file : files) {
    auto known = known_.find(file.path);
    if (known == known_.end()) {
      std::string misfit;
      const std::vector<Lora> alone{{file.path}};
      LoraInfo info = LoraSet(alone, names(), family_, strict_, [&](const std::string& m) { misfit = m; }).infos()[0];
      info.misfit = std::move(misfit);
      known = known_.emplace(file.path, std::move(info)).first;
    }
    LoraInfo& info = infos.emplace_back(known->second);
    info.unet_scale = file.unet_scale, info.text_scale = file.text_scale;
  }
  return infos;
}

LoraSet LoraFits::set(std::span<const Lora> files) {
  if (files.empty()) return {};
  const std::lock_guard guard(lock_);
  return {files, names(), family_, strict_, [](const std::string&) {}};
}

namespace {

// The first tensor of a file that has NaN or infinity; "": none that can be read.
std::string not_finite(const std::filesystem::path& path) {
  const TensorTable table({path});
  for (const auto& [name, entry] : table.tensors()) {
    try {
      if (!at::isfinite(read_tensor(table, name, at::kFloat)).all().item<bool>()) return name;
    } catch (const Error&) {
      // It is of whole numbers.
    }
  }
  return "";
}

}  // namespace

std::string blame(std::span<const LoraInfo> loras) {
  std::vector<std::string> names;
  for (const LoraInfo& lora : loras) {
    if (const std::string tensor = not_finite(lora.path); !tensor.empty())
      return concat("; the LoRA ", lora.path.string(), " has NaN or infinity in '", printable(tensor), "'");
    names.push_back(concat(lora.name, ':', lora.unet_scale));
  }
  if (names.empty()) return "";
  return concat("; or the LoRA", names.size() > 1 ? "s are" : " is",
                " too strong, or made for another model: ", joined(names, ", ", 8));
}

}  // namespace sdgen
