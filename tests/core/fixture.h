// Reads tests/fixtures: what diffusers and transformers answered (see tests/fixtures/README.md).
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "core/tensor_files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "weights/weights.h"

namespace sdgen::test {

// The timestep of every row of x.
inline at::Tensor times(const at::Tensor& x, double t) { return at::full({x.size(0)}, t, at::kFloat); }

class Fixture {
 public:
  // name: below tests/fixtures, without ".safetensors"
  explicit Fixture(const std::string& name) : file_(std::filesystem::path(SDGEN_FIXTURES) / (name + ".safetensors")) {}

  bool has(const std::string& name) const { return file_.tensors().count(name) != 0; }

  at::Tensor tensor(const std::string& name) const {
    const StoredTensor& entry = file_.tensors().at(name);
    at::Tensor out = at::empty(entry.shape, at::TensorOptions().dtype(scalar_type(entry.encoding)));
    file_.read(entry, 0, {static_cast<std::byte*>(out.data_ptr()), entry.bytes()});
    return out;
  }

  at::Tensor timesteps() const { return times(tensor("in.sample"), tensor("in.timestep").item<double>()); }

  Json json(const std::string& key) const { return parse_json(file_.metadata().at(key), key); }
  Config config() const { return {json("config"), file_.path().filename().string()}; }
  // The network's weights, widened.
  Weights weights(at::ScalarType dtype = at::kFloat) const {
    return open_weights({file_.path()}, at::kCPU, dtype) / "w";
  }
  const Safetensors& file() const { return file_; }

 private:
  static at::ScalarType scalar_type(Encoding encoding) {
    switch (encoding) {
      case Encoding::F64:
        return at::kDouble;
      case Encoding::F32:
        return at::kFloat;
      case Encoding::F16:
        return at::kHalf;
      case Encoding::I64:
        return at::kLong;
      case Encoding::U8:
        return at::kByte;
      default:
        throw std::runtime_error("an encoding that no fixture has");
    }
  }
  Safetensors file_;
};

// Largest difference relative to the reference's largest magnitude.
inline double relative_difference(const at::Tensor& got, const at::Tensor& expected) {
  if (got.sizes() != expected.sizes()) return std::numeric_limits<double>::infinity();
  const at::Tensor a = got.to(at::kDouble), b = expected.to(at::kDouble);
  const double difference = (a - b).abs().max().item<double>(), size = b.abs().max().item<double>();
  return difference / std::max(size, 1e-30);
}

inline void expect_close(const at::Tensor& got, const at::Tensor& expected, double tolerance, const std::string& what) {
  EXPECT_EQ(got.sizes(), expected.sizes()) << what;
  EXPECT_LE(relative_difference(got, expected), tolerance) << what;
}

}  // namespace sdgen::test
