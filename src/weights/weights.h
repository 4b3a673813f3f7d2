// Named tensors, read when they are asked for. A Weights is a scope in a table of checked, file-backed tensors:
//   Weights unet(table, device, dtype);
//   Tensor kernel = (unet / "down_blocks.0" / "resnets.1").get("conv1.weight", {320, 320, 3, 3});
// Modules are built from scopes, so that constructing a network is loading it (candle's VarBuilder taught us that).
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "io/tensor_table.h"
#include "weights/matrix.h"
#include "weights/residency.h"

namespace sdgen {

// What a network makes of the tensors that it reads.
enum class Keep {
  computed,   // laid out for the kernels: the fastest
  trainable,  // plain tensors that require gradients: every operator is one that libtorch can differentiate
};

class Weights {
 public:
  using Terms = std::function<std::vector<LowRank>(const std::string& name)>;
  // Changes tensors as they are read (a LoRA adds its product), by the full names that are asked for.
  struct Patch {
    std::function<bool(const std::string& name)> touches;                          // others stay as they are
    std::function<at::Tensor(const std::string& name, at::Tensor tensor)> change;  // in float32 on the CPU
    // What it adds to a matrix, where that is of low rank; else nothing.
    std::function<std::optional<std::vector<LowRank>>(const std::string& name)> terms = {};
  };

  // Floating-point tensors come out as `dtype` on `device`. On the meta device nothing is read: names, shapes and types
  // are checked, and the networks have no numbers.
  Weights(std::shared_ptr<const TensorTable> table, at::Device device, at::ScalarType dtype);

  // Enters a sub-scope: names asked for from the result begin with `name` and a dot.
  Weights operator/(std::string_view name) const;

  // Reads a tensor. Throws Error(input) with file, full name, expected and found shape when it is absent, misshapen or
  // not floating-point, and when the file cannot be read. A 1x1 kernel and a matrix hold the same numbers and stand for
  // each other.
  enum class Use {
    lasting,  // as it is, in memory that tensors share
    passing,  // to make something else of it
  };
  at::Tensor get(std::string_view name, at::IntArrayRef shape, Use use = Use::lasting) const;
  // The same of a linear layer's matrix [out, in], kept as the scope keeps matrices: codes that are computed with on
  // the CPU stay codes; what changes them is added to the product where it is of low rank, else they are widened.
  Matrix matrix(std::string_view name, std::int64_t out, std::int64_t in) const;

  // The same of a table whose rows are looked up [count, width]: codes stay codes where nothing changes them.
  Matrix table(std::string_view name, std::int64_t count, std::int64_t width) const;

  bool has(std::string_view name) const;

  // Answers requests from other places: `locate` turns the full name that is asked for into where the files have it.
  Weights map(Locate locate) const;
  Weights patch(Patch patch) const;
  // Adds to matrices at run time: `terms` gets the full name that was asked for.
  Weights adding(Terms terms) const;

  // The same tensors on another device, of another type.
  Weights to(at::Device device, at::ScalarType dtype) const;
  Weights keeping(Keep keep) const;
  // Products with matrices of whole numbers are in whole numbers, see Codes::round_tokens(), and so are large
  // convolutions (ops/int8_conv.h), on a CPU that has such products, in float32 and bfloat16.
  Weights rounding_tokens() const;
  // Is it so here?
  bool rounds_tokens() const;
  // Of a network that draws large pictures, see ops::packed_conv2d().
  Weights drawing_large() const;
  bool draws_large() const { return draws_large_; }
  // Whether weights are laid out for the kernels.
  bool packs() const { return keep_ == Keep::computed; }
  // For networks that take turns on the device: kept() tensors wait for theirs.
  Weights in(std::shared_ptr<Residency> residency) const;
  // What a network keeps of a tensor that it got, however it changed it.
  at::Tensor kept(const at::Tensor& tensor) const;
  // Null: it is on the device all the time.
  const std::shared_ptr<Residency>& residency() const { return residency_; }

  // Names in the files that were never asked for, sorted. Shared by all scopes of one Weights.
  std::vector<std::string> unread() const;
  // Names in the files of what stays in codes, on the CPU; on the meta device of what would. Shared likewise.
  std::set<std::string, std::less<>> coded() const;

  at::Device device() const { return device_; }
  at::ScalarType dtype() const { return dtype_; }
  // For error messages: the file or folder that the tensors come from.
  const std::string& source() const { return table_->source(); }

 private:
  struct Read;
  // A copy, changed.
  template <class Change>
  Weights with(const Change& change) const;
  // A tensor of the table that was asked for.
  struct Found {
    std::string asked;
    Place from;
    const TensorTable::Entry* entry;
    std::vector<std::int64_t> shape;  // that was asked for
  };
  Found find(std::string_view name, at::IntArrayRef shape) const;
  at::Tensor read(const Found& found, Use use) const;
  Codes codes(const Found& found) const;
  // Can its rows stay codes?
  bool keeps_codes(const Found& found) const;
  // Counts it among those that are coded().
  void count_coded(const Found& found) const;
  std::string full(std::string_view name) const;
  Place place(const std::string& full) const;
  bool is_changed(const std::string& name) const;
  // What changes a matrix, as terms; nothing where it is not of low rank.
  std::optional<std::vector<LowRank>> terms_of(const std::string& name) const;

  std::shared_ptr<const TensorTable> table_;
  std::shared_ptr<Read> read_;
  std::string prefix_;
  std::vector<Locate> locates_;  // innermost first
  std::vector<Patch> patches_;
  std::vector<Terms> terms_;
  Keep keep_ = Keep::computed;
  bool rounds_tokens_ = false, draws_large_ = false;
  std::shared_ptr<Residency> residency_;
  at::Device device_;
  at::ScalarType dtype_;
};

// Does a linear layer that computes on `device` keep such a matrix as it is stored?
bool stays_coded(const TensorTable::Entry& entry, at::Device device);

// A tensor of the table by itself, of the shape that it has there, on the CPU. Throws Error(input) where it is not
// floating-point or cannot be read.
at::Tensor read_tensor(const TensorTable& table, const std::string& name, at::ScalarType dtype);

// The element type that floating-point tensors are stored in, of those whose names begin with `prefix`: the commonest
// by bytes, float32 where there are none.
at::ScalarType stored_dtype(const TensorTable& table, std::string_view prefix = "");

}  // namespace sdgen
