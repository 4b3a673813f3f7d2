// What one module of a LoRA file makes of one parameter of a model.
// Products: LoRA (Hu et al., 2021), LoCon, LoHa, LoKr and GLoRA (Yeh et al., 2023, "LyCORIS"; Chavan et al., 2023),
// DoRA (Liu et al., 2024); factors of the model's own weight: (IA)^3 (Liu et al., 2022), OFT (Qiu et al., 2023), BOFT
// (Liu et al., 2023).
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/lora_names.h"
#include "io/tensor_table.h"
#include "weights/matrix.h"

namespace sdgen {

// The tensors of a module, whose names are in the file.
struct LoraProduct {
  std::map<LoraPart, std::string> names;
  bool has(LoraPart part) const { return names.contains(part); }
  bool has_all(std::initializer_list<LoraPart> parts) const {
    return std::all_of(parts.begin(), parts.end(), [this](LoraPart part) { return has(part); });
  }
};

// What a module's tensors make of its weight: the part that begins it; nothing when they make nothing whole.
std::optional<LoraPart> product_kind(const LoraProduct& product);

// Rows of a file's weight that are a parameter of the model.
struct LoraRows {
  std::string parameter;
  std::vector<std::int64_t> shape;  // of the parameter
  Place place;

  // The shape of the whole weight.
  std::vector<std::int64_t> whole() const;
  at::Tensor of(const at::Tensor& whole) const;
  // Puts them there.
  void put(const at::Tensor& rows, const at::Tensor& whole) const;
};

struct LoraChange {
  using Sizes = std::vector<std::int64_t>;
  // The model's own parameters, in float32 on the CPU.
  using Originals = std::function<at::Tensor(const std::string& name, const Sizes& shape)>;

  std::shared_ptr<const TensorTable> table;
  LoraProduct product;
  LoraPart kind;                   // as product_kind() says, or one that changes the bias
  double scale;                    // alpha / rank
  double strength;                 // the user's
  Sizes shape;                     // of the file's weight: the parameter's, where that is all of it
  LoraRows own;                    // those that this changes
  std::vector<LoraRows> all = {};  // of the file's weight, where this has to know more than its own

  // Throws Error(input) unless all tensors have the sizes that the parameter needs: nothing is computed before.
  void check() const;
  // Whether rows change by what other rows are.
  bool mixes_rows() const;
  // The same as a term of the matrix that is its own; nothing where it is not of low rank.
  std::optional<LowRank> low_rank() const;
  // `original`: the model's own; `weight`: with the changes before this one.
  at::Tensor apply(const at::Tensor& original, const at::Tensor& weight, const Originals& originals) const;

 private:
  const Sizes& shape_of(LoraPart part) const { return table->find(product.names.at(part))->shape; }
  std::int64_t rows(LoraPart part) const { return shape_of(part).empty() ? 1 : shape_of(part)[0]; }
  std::int64_t columns(LoraPart part) const;
  std::int64_t out() const { return shape[0]; }
  std::int64_t in() const { return shape[1]; }
  std::int64_t kernel() const;
  // Whether the tensor is a parameter or its change, not a factor of one.
  bool is_whole() const {
    using enum LoraPart;
    return kind == diff || kind == diff_b || kind == up_bias || kind == replaced;
  }

  at::Tensor read(LoraPart part) const;
  at::Tensor matrix(LoraPart part) const { return read(part).reshape({rows(part), columns(part)}); }
  double number(LoraPart part, double fallback) const;

  [[noreturn]] void misfit(LoraPart part, const std::string& why) const;
  void require(bool good, LoraPart part, const char* why) const {
    if (!good) misfit(part, why);
  }
  void check_core(LoraPart core, LoraPart left, LoraPart right, bool left_is_transposed) const;
  void check_pair(LoraPart left, LoraPart right, std::int64_t height, std::int64_t width) const;
  void check_factor(LoraPart left, LoraPart right, LoraPart core, std::int64_t height, std::int64_t width) const;
  void check_up_and_down(LoraPart up, LoraPart down, LoraPart mid) const;
  void check_lokr() const;
  void check_glora() const;
  void check_ia3() const;
  void check_oft() const;
  void check_magnitude() const;
  bool one_a_column() const;

  at::Tensor tucker(LoraPart core, const at::Tensor& left, LoraPart right) const;
  at::Tensor up_and_down(LoraPart up, LoraPart down, LoraPart mid) const;
  at::Tensor difference(const at::Tensor& original) const;
  at::Tensor changed(const at::Tensor& original, const at::Tensor& weight) const;
  at::Tensor kronecker() const;
  at::Tensor scaled_channels(const at::Tensor& original) const;
  at::Tensor rotated(const at::Tensor& original) const;
};

}  // namespace sdgen
