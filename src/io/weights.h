// Named tensors, read when they are asked for. A Weights is a scope in a table of checked, file-backed tensors:
//   Weights unet = Weights::open(files, device, dtype);
//   Tensor kernel = (unet / "down_blocks.0" / "resnets.1").get("conv1.weight", {320, 320, 3, 3});
// Modules are built from scopes, so that constructing a network is loading it (candle's VarBuilder taught us that).
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sdgen {

class Weights {
 public:
  using Rename = std::function<std::string(const std::string&)>;
  using Patch = std::function<at::Tensor(const std::string& name, at::Tensor tensor)>;

  // The tensors of all `files` (shards) together; floating-point ones come out as `dtype` on `device`. Only headers are
  // read here. Throws Error(input) for a malformed file or a name that two shards hold.
  static Weights open(const std::vector<std::filesystem::path>& files, at::Device device, at::ScalarType dtype);

  // Enters a sub-scope: names asked for from the result begin with `name` and a dot.
  Weights operator/(std::string_view name) const;

  // Reads a tensor. Throws Error(input) with file, full name, expected and found shape when it is absent, misshapen or
  // not floating-point, and when the file cannot be read.
  at::Tensor get(std::string_view name, at::IntArrayRef shape) const;

  bool has(std::string_view name) const;

  // Answers requests under other names: `rename` turns the full name that is asked for into the one in the file.
  Weights map(Rename rename) const;
  // Changes tensors as they are read (a LoRA adds its product): `patch` gets the full name that was asked for and the
  // tensor in float32 on the CPU.
  Weights patch(Patch patch) const;

  // Names in the files that nobody has asked for, sorted. Shared by all scopes of one table.
  std::vector<std::string> unread() const;

  at::Device device() const { return device_; }
  at::ScalarType dtype() const { return dtype_; }
  // For error messages: the file or folder that the tensors come from.
  const std::string& source() const;

 private:
  struct Table;
  Weights(std::shared_ptr<Table> table, at::Device device, at::ScalarType dtype);
  std::string full(std::string_view name) const;
  std::string stored(const std::string& full) const;

  std::shared_ptr<Table> table_;
  std::string prefix_;
  std::vector<Rename> renames_;  // innermost first
  std::vector<Patch> patches_;
  at::Device device_;
  at::ScalarType dtype_;
};

// The element type that a file's floating-point tensors are stored in: the commonest one by bytes.
at::ScalarType stored_dtype(const std::vector<std::filesystem::path>& files);

}  // namespace sdgen
