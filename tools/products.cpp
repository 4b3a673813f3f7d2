// Times the products of linear layers with weights as files have them beside the same products with dense weights, by
// the widths of released networks: as a table, milliseconds and the share of the dense product's time.
//   sdgen_products [--dtype bfloat16] [--rounds 5] [--encodings Q8_0 Q4_K] [--rows 2048]
// The last column is the product in whole numbers (ops/int8.h), where the processor has it.
// Contestants take turns; the figures are the least of the rounds. With --rows every width has so many rows of x, else
// those of a guided step at 512x512.
#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "ops/int8.h"
#include "ops/ops.h"
#include "weights/codes.h"
#include "weights/matrix.h"

namespace {

struct Shape {
  const char* what;
  std::int64_t rows, in, out;
};
constexpr Shape kShapes[] = {
    {"SDXL, attention", 2048, 1280, 1280},
    {"SDXL, GEGLU", 2048, 1280, 10240},
    {"SDXL, behind it", 2048, 5120, 1280},
    {"SD 3.5 medium, attention", 2048, 1536, 1536},
    {"SD 3.5 medium, MLP", 2048, 1536, 6144},
    {"SD 3.5 medium, behind it", 2048, 6144, 1536},
    {"Flux, attention", 1536, 3072, 3072},
    {"Flux, MLP", 1536, 3072, 12288},
    {"Flux, end of a single", 1536, 15360, 3072},
    {"Flux, modulation", 1, 3072, 18432},
    {"T5-XXL, MLP", 512, 4096, 10240},
};

sdgen::Codes random_codes(sdgen::Encoding encoding, std::int64_t out, std::int64_t in) {
  const sdgen::EncodingInfo& info = sdgen::info_of(encoding);
  // Bytes that are factors between 0.008 and 1.9 wherever a block has one.
  const at::Tensor bytes = at::randint(0x20, 0x40, {out, in / info.elements * info.bytes}, at::kByte);
  return {encoding, out, in, bytes, {}};
}

double seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app("Times the products of linear layers with weights in codes beside dense ones.");
  std::string dtype = "bfloat16";
  int rounds = 5, threads = 0;
  std::int64_t rows = 0;
  std::vector<std::string> encodings = {"Q8_0", "Q4_K"};
  app.add_option("--dtype", dtype)->check(CLI::IsMember({"bfloat16", "float32"}));
  app.add_option("--rounds", rounds);
  app.add_option("--threads", threads);
  app.add_option("--rows", rows);
  app.add_option("--encodings", encodings);
  CLI11_PARSE(app, argc, argv);
  if (threads > 0) at::set_num_threads(threads);
  const c10::InferenceMode inference;
  const auto type = dtype == "float32" ? at::kFloat : at::kBFloat16;

  std::printf("| product | rows, in, out | dense, ms | GFLOP/s |");
  for (const std::string& name : encodings) std::printf(" %s |", name.c_str());
  const bool int8 = sdgen::ops::has_int8();
  std::printf("%s\n|---|---|---|---|", int8 ? " int8 |" : "");
  for (std::size_t i = 0; i < encodings.size() + (int8 ? 1 : 0); ++i) std::printf("---|");
  std::printf("\n");
  for (const Shape& shape : kShapes) {
    const std::int64_t n = rows ? rows : shape.rows;
    const at::Tensor x = at::randn({n, shape.in}).to(type), bias = at::randn({shape.out}).to(type);
    std::vector<std::function<void()>> products;
    const auto add = [&](sdgen::Matrix matrix) {
      products.emplace_back([&x, &bias, matrix = std::move(matrix)] { matrix.times(x, bias); });
    };
    add(sdgen::Matrix(sdgen::ops::packed_linear(at::randn({shape.out, shape.in}).to(type))));
    for (const std::string& name : encodings) {
      const auto encoding = sdgen::find_encoding(name);
      if (!encoding) throw std::runtime_error("no encoding is called " + name);
      add(sdgen::Matrix(random_codes(*encoding, shape.out, shape.in)));
    }
    if (int8)
      products.emplace_back([&x, &bias,
                             matrix = sdgen::ops::int8_matrix(at::randint(-127, 128, {shape.out, shape.in}, at::kChar),
                                                              at::full({shape.out}, 0.001, at::kFloat))] {
        sdgen::ops::linear_int8(x, matrix, bias, {});
      });
    std::vector<double> least(products.size(), std::numeric_limits<double>::max());
    for (int round = 0; round <= rounds; ++round)  // the first does not count
      for (std::size_t i = 0; i < products.size(); ++i) {
        const double took = seconds(products[i]);
        if (round > 0) least[i] = std::min(least[i], took);
      }
    std::printf("| %s | %ld, %ld, %ld | %.2f | %.0f |", shape.what, long(n), long(shape.in), long(shape.out),
                least[0] * 1e3, 2e-9 * double(n) * double(shape.in) * double(shape.out) / least[0]);
    for (std::size_t i = 1; i < least.size(); ++i) std::printf(" %.2f: %.2f x |", least[i] * 1e3, least[i] / least[0]);
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "sdgen_products: %s\n", error.what());
  return 1;
}
