#include "adapters/lora.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <tuple>

#include "formats/file_kind.h"
#include "formats/lora_positions.h"
#include "formats/lora_summary.h"
#include "io/file.h"
#include "io/hash.h"
#include "io/pickle.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using at::Tensor;
using Part = LoraPart;
using Sizes = std::vector<std::int64_t>;

// The core of a Tucker product is squared in memory: a rank beyond this is not a low one.
constexpr std::int64_t kMaxCore = 4096;

constexpr const char* kOtherRank = "its rank is not the other factor's";

struct Product {
  std::map<Part, std::string> names;  // of the tensors in the file
  bool has(Part part) const { return names.contains(part); }
  bool has_all(std::initializer_list<Part> parts) const {
    return std::all_of(parts.begin(), parts.end(), [this](Part part) { return has(part); });
  }
};

}  // namespace

struct LoraSet::Change {
  std::shared_ptr<const TensorTable> table;
  Product product;
  Part kind;        // what begins the product: down, hada_w1_a, lokr_w1, diff, diff_b
  double scale;     // alpha / rank
  double strength;  // the user's
  Sizes shape;      // of the parameter

  const Sizes& shape_of(Part part) const { return table->find(product.names.at(part))->shape; }
  std::int64_t rows(Part part) const { return shape_of(part).empty() ? 1 : shape_of(part)[0]; }
  std::int64_t columns(Part part) const {
    const Sizes& s = shape_of(part);
    return s.empty() ? 1 : c10::multiply_integers(s.begin() + 1, s.end());
  }
  std::int64_t out() const { return shape[0]; }
  std::int64_t in() const { return shape[1]; }
  std::int64_t kernel() const { return shape.size() > 2 ? c10::multiply_integers(shape.begin() + 2, shape.end()) : 1; }

  Tensor read(Part part) const { return read_tensor(*table, product.names.at(part), at::kFloat); }
  Tensor matrix(Part part) const { return read(part).reshape({rows(part), columns(part)}); }

  [[noreturn]] void misfit(Part part, const std::string& why) const {
    throw Error(Fault::input, concat(table->source(), ": tensor '", printable(product.names.at(part)), "' has shape ",
                                     print_shape(shape_of(part)), ", which does not fit the model's ",
                                     print_shape(shape), " (", why, ")"));
  }
  void require(bool good, Part part, const char* why) const {
    if (!good) misfit(part, why);
  }

  // core [i, j, kernel...], left [i, out], right [j, in]
  void check_core(Part core, Part left, Part right, bool left_is_transposed) const {
    const Sizes& s = shape_of(core);
    require(s.size() == shape.size() && shape.size() > 2 && s[0] <= kMaxCore && s[1] <= kMaxCore &&
                std::equal(s.begin() + 2, s.end(), shape.begin() + 2),
            core, "a core has the kernel's size");
    require((left_is_transposed ? rows(left) : columns(left)) == s[0], left, "its rank is not the core's");
    require(rows(right) == s[1], right, "its rank is not the core's");
  }
  // left [height, rank], right [rank, width]
  void check_pair(Part left, Part right, std::int64_t height, std::int64_t width) const {
    require(rows(left) == height, left, "rows");
    require(columns(right) == width, right, "columns");
    require(columns(left) == rows(right), left, kOtherRank);
  }
  // A pair as wide as a kernel's rows, or a core between [i, height] and [j, width].
  void check_factor(Part left, Part right, Part core, std::int64_t height, std::int64_t width) const {
    if (!product.has(core)) return check_pair(left, right, height, width * kernel());
    check_core(core, left, right, true);
    require(columns(left) == height, left, "columns");
    require(columns(right) == width, right, "columns");
  }
  void check_lokr() const;
  void check() const;
  Tensor difference() const;
  Tensor apply(const Tensor& original, const Tensor& weight) const;
};

// Sizes first: nothing is computed before all of them fit, so that a product is never larger than the parameter.
void LoraSet::Change::check() const {
  if (kind == Part::diff || kind == Part::diff_b) {
    require(same_but_for_ones(shape_of(kind), shape), kind, "a difference has its shape");
    return;
  }
  require(shape.size() >= 2, kind, "only matrices and kernels are products");
  for (const auto& [part, name] : product.names)
    for (const std::int64_t n : shape_of(part)) require(n > 0, part, "it is empty");
  if (kind == Part::down && product.has(Part::mid)) {
    check_core(Part::mid, Part::up, Part::down, false);
    require(rows(Part::up) == out(), Part::up, "rows");
    require(columns(Part::down) == in(), Part::down, "columns");
  } else if (kind == Part::down) {
    check_pair(Part::up, Part::down, out(), in() * kernel());
  } else if (kind == Part::hada_w1_a) {
    check_factor(Part::hada_w1_a, Part::hada_w1_b, Part::hada_t1, out(), in());
    check_factor(Part::hada_w2_a, Part::hada_w2_b, Part::hada_t2, out(), in());
  } else {
    check_lokr();
  }
  if (const Part part = product.has(Part::magnitude) ? Part::magnitude : Part::dora_scale; product.has(part)) {
    const std::int64_t count = rows(part) * columns(part);
    require(count == out() || (part == Part::dora_scale && rows(part) == 1 && count == in()), part,
            "a magnitude is one number a row");
  }
}

void LoraSet::Change::check_lokr() const {
  const bool whole = product.has(Part::lokr_w1);
  const Part top = whole ? Part::lokr_w1 : Part::lokr_w1_a, side = whole ? Part::lokr_w1 : Part::lokr_w1_b;
  if (!whole) require(columns(top) == rows(side), top, kOtherRank);
  require(out() % rows(top) == 0, top, "rows do not divide the weight's");
  require(in() % columns(side) == 0, side, "columns do not divide the weight's");
  const std::int64_t c = out() / rows(top), d = in() / columns(side);
  if (product.has(Part::lokr_w2)) {
    require(rows(Part::lokr_w2) == c && columns(Part::lokr_w2) == d * kernel(), Part::lokr_w2, "with the other factor");
  } else {
    check_factor(Part::lokr_w2_a, Part::lokr_w2_b, Part::lokr_t2, c, d);
  }
}

// In the parameter's shape, without the user's strength.
Tensor LoraSet::Change::difference() const {
  // core [i,j,...], left [i,out], right [j,in] -> [out,in,...]
  const auto tucker = [this](Part core, const Tensor& left, Part right) {
    return at::einsum("ij...,ip,jr->pr...", {read(core), left, matrix(right)});
  };
  Tensor result;
  if (kind == Part::diff || kind == Part::diff_b) {
    result = read(kind);
  } else if (kind == Part::down) {
    result = product.has(Part::mid) ? tucker(Part::mid, matrix(Part::up).t(), Part::down)
                                    : matrix(Part::up).matmul(matrix(Part::down));
  } else if (kind == Part::hada_w1_a) {
    const auto half = [&](Part a, Part b, Part t) {
      return product.has(t) ? tucker(t, matrix(a), b) : matrix(a).matmul(matrix(b));
    };
    result = half(Part::hada_w1_a, Part::hada_w1_b, Part::hada_t1).reshape(shape) *
             half(Part::hada_w2_a, Part::hada_w2_b, Part::hada_t2).reshape(shape);
  } else {
    const Tensor w1 =
        product.has(Part::lokr_w1) ? matrix(Part::lokr_w1) : matrix(Part::lokr_w1_a).matmul(matrix(Part::lokr_w1_b));
    const Tensor w2 = product.has(Part::lokr_w2)   ? matrix(Part::lokr_w2)
                      : product.has(Part::lokr_t2) ? tucker(Part::lokr_t2, matrix(Part::lokr_w2_a), Part::lokr_w2_b)
                                                   : matrix(Part::lokr_w2_a).matmul(matrix(Part::lokr_w2_b));
    // kron([a,b,1], [c,d,kernel]) -> [a*c, b*d, kernel]
    result =
        at::kron(w1.unsqueeze(-1), w2.reshape({shape[0] / w1.size(0), shape[1] / w1.size(1), kernel()}).contiguous());
  }
  return result.reshape(shape) * scale;
}

// `original`: the model's own; `weight`: with the changes before this one.
Tensor LoraSet::Change::apply(const Tensor& original, const Tensor& weight) const {
  const Tensor change = difference();
  const auto norm = [](const Tensor& w, int dim) {  // of every row (0) or column (1), ready to divide by
    std::vector<std::int64_t> others;
    for (int i = 0; i < w.dim(); ++i)
      if (i != dim) others.push_back(i);
    return at::linalg_vector_norm(w, 2, others, /*keepdim=*/true);
  };
  if (product.has(Part::magnitude)) {  // as PEFT merges: the strength is the product's
    const Tensor scaled = change * strength, length = norm(original + scaled, 0);
    return read(Part::magnitude).reshape(length.sizes()) / length * (weight + scaled);
  }
  if (product.has(Part::dora_scale)) {  // as LyCORIS merges at strength 1, and between for others
    const Tensor changed = original + change;
    const bool columns = rows(Part::dora_scale) == 1 && shape[0] != 1;
    const Tensor length = norm(changed, columns ? 1 : 0) + std::numeric_limits<float>::epsilon();
    return weight + strength * (changed * (read(Part::dora_scale).reshape(length.sizes()) / length) - original);
  }
  return weight + change * strength;
}

namespace {

// What a module's tensors make of its weight; nothing when they make no whole product.
std::optional<Part> kind_of(const Product& p) {
  using enum LoraPart;
  if (p.has_all({down, up})) return down;
  if (p.has_all({hada_w1_a, hada_w1_b, hada_w2_a, hada_w2_b}) && p.has(hada_t1) == p.has(hada_t2)) return hada_w1_a;
  if ((p.has(lokr_w1) || p.has_all({lokr_w1_a, lokr_w1_b})) && (p.has(lokr_w2) || p.has_all({lokr_w2_a, lokr_w2_b})))
    return lokr_w1;
  if (p.has(diff)) return diff;
  return std::nullopt;
}

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
  if (kind == diff || kind == diff_b) return 1;
  std::vector<double> value;
  if (product.has(alpha)) {
    value = read_values(table, product.names.at(alpha));
  } else if (const auto written = kind == down ? alpha_in_metadata(table, module) : std::nullopt) {
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

// AUTOMATIC1111's: what kohya's trainer wrote down, else SHA-256 of what follows the header; its first 12 digits.
std::string model_hash(const TensorTable& table) {
  const TensorFile& file = *table.files().front();
  const auto known = file.metadata().find("sshs_model_hash");
  const auto is_hex = [](const std::string& text) {
    return text.size() >= 12 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
  };
  if (known != file.metadata().end() && is_hex(known->second)) return known->second.substr(0, 12);
  std::uint64_t begin = std::numeric_limits<std::uint64_t>::max();  // tensors fill what follows the header
  for (const auto& [name, entry] : file.tensors()) begin = std::min(begin, entry.begin);
  return sha256_of_file(file.path(), begin).substr(0, 12);
}

// A LoRA file taken apart.
struct LoraFile {
  std::shared_ptr<const TensorTable> table;
  std::string meant;                       // the family that it seems to be made for; "": it does not tell
  std::map<std::string, Product> modules;  // by their spelling
  std::vector<std::string> others;         // tensors of none of them
};

LoraFile open_lora(const std::filesystem::path& path) {
  if (!present(path))
    throw Error(Fault::input, concat(FieldName{"loras"}, ": there is no file '", printable(path.string()), "'"));
  if (is_pickle(path)) throw Error(Fault::input, concat(path.string(), ": ", pickle_refusal()));
  LoraFile file{std::make_shared<const TensorTable>(std::vector{path}), "", {}, {}};
  file.meant = summarize_lora(*file.table).family;
  for (const auto& [name, entry] : file.table->tensors()) {
    if (const auto key = lora_key(name))
      file.modules[key->module].names[key->part] = name;
    else
      file.others.push_back(name);
  }
  if (file.modules.empty())
    throw Error(Fault::input, concat(file.table->source(), ": no LoRA: this is ", describe_file(*file.table)));
  return file;
}

// The changes that a module's tensors make: of its weight, and of its bias.
struct Target {
  Part kind;
  const char* leaf;
  Product product;
};
std::vector<Target> targets_of(const Product& product) {
  std::vector<Target> targets;
  if (const auto kind = kind_of(product)) {
    targets.push_back({*kind, "weight", product});
    targets.back().product.names.erase(Part::diff_b);
  }
  if (const auto bias = product.names.find(Part::diff_b); bias != product.names.end())
    targets.push_back({Part::diff_b, "bias", {{*bias}}});
  return targets;
}

// "FILE: 3 of 4 modules fit the model (SDXL); not used: 2 tensors, e.g. 'a', 'b'"
std::string says_unused(const LoraFile& file, std::size_t applied, const std::vector<std::string>& unused,
                        const std::string& family) {
  std::string message = concat(file.table->source(), ": ", applied, " of ", file.modules.size(),
                               " modules fit the model (", family, "); not used: ", unused.size(), " tensors, e.g. ");
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
      const auto number = numbered.find(spelling);
      const LoraNames::Module* module = number == numbered.end() ? names.find(spelling) : &number->second;
      std::set<Part> used;
      for (Target& target : module ? targets_of(product) : std::vector<Target>()) {
        const Sizes* shape = names.shape(*module, target.leaf);
        if (!shape) continue;
        for (const auto& [part, name] : target.product.names) used.insert(part);
        const double strength = module->part->role == Role::backbone ? lora.unet_scale : lora.text_scale;
        const double scale = scale_of(table, product, target.kind, *module);
        Change change{file.table, std::move(target.product), target.kind, scale, strength, *shape};
        try {
          change.check();
        } catch (const Error& misfit) {
          throw Error(Fault::input, concat(misfit.what(), "; the LoRA seems to be", made_for("another model")));
        }
        if (strength == 0) continue;  // the model as it is
        auto& changes = changes_[module->part];
        if (!changes) changes = std::make_shared<Changes>();
        (*changes)[module->name + '.' + target.leaf].push_back(std::move(change));
      }
      applied += !used.empty();
      for (const auto& [part, name] : product.names)
        if (!used.contains(part)) unused.push_back(name);
    }
    if (applied == 0)
      throw Error(Fault::input, concat(table.source(), ": none of its ", file.modules.size(), " modules (e.g. '",
                                       printable(file.modules.begin()->first), "') is in the model: the LoRA is",
                                       made_for("a model that is not known")));
    if (!unused.empty() && strict) throw Error(Fault::input, says_unused(file, applied, unused, family));
    if (!unused.empty()) warn(says_unused(file, applied, unused, family));
    infos_.push_back({lora.path, lora.path.stem().string(), model_hash(table), lora.unet_scale, lora.text_scale,
                      applied, file.modules.size()});
  }
}

Weights LoraSet::patch(const Weights& w, const ModelPart& part) const {
  const auto found = changes_.find(&part);
  if (found == changes_.end()) return w;
  return w.patch([changes = found->second](const std::string& name, Tensor tensor) {
    constexpr std::string_view model = "text_model.";
    const auto change = changes->find(name.starts_with(model) ? name.substr(model.size()) : name);
    if (change == changes->end()) return tensor;
    const Tensor original = tensor;
    for (const Change& one : change->second) tensor = one.apply(original, tensor);
    return tensor;
  });
}

}  // namespace sdgen
