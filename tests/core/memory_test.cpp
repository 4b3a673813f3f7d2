// Where tensors' memory comes from. What lacks memory is made smaller: batches in halves, the decoder in tiles; and
// what is then recorded is what was done.
#include "device/memory.h"

#include <ATen/ops/full.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>
#include <random>

#include "core/drawn.h"
#include "program/aligned_memory.h"
#include "sdgen/error.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

// Stands in for libtorch's CPU allocator while it lives, and refuses what is larger than `limit` bytes in its words.
class Stingy : public c10::Allocator {
 public:
  explicit Stingy(std::size_t limit) : limit_(limit) { c10::SetCPUAllocator(this); }
  ~Stingy() override { c10::SetCPUAllocator(own_); }
  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes > limit_) {
      ++refusals;
      TORCH_CHECK(false, "DefaultCPUAllocator: can't allocate memory: you tried to allocate ", bytes, " bytes.");
    }
    for (std::size_t seen = largest; bytes > seen && !largest.compare_exchange_weak(seen, bytes);) {
    }
    return own_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return own_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { own_->copy_data(to, from, bytes); }

  void set_limit(std::size_t limit) { limit_ = limit; }

  std::atomic<std::size_t> largest = 0, refusals = 0;

 private:
  std::atomic<std::size_t> limit_;
  c10::Allocator* own_ = c10::GetCPUAllocator();
};

struct Witness : Observer {
  void stage(Stage stage, std::size_t, double) override {
    if (stage == Stage::denoise && denoised) denoised();
  }
  void computed(std::size_t first, const Computation& how) override { batches.push_back({first, how}); }
  void warning(const std::string& message) override { warnings.push_back(message); }
  std::vector<std::pair<std::size_t, Computation>> batches;
  std::vector<std::string> warnings;
  std::function<void()> denoised;
};

class Memory : public testing::Test {
 protected:
  static Pipeline load(int batch_size, bool tiles = false) {
    LoadOptions options;
    options.device = "cpu";
    options.precision = Precision::float32;
    options.batch_size = batch_size;
    options.vae_tiling = tiles;
    Observer nobody;
    return Pipeline::load(std::filesystem::path(SDGEN_FIXTURES) / "tiny-sd", options, nobody);
  }

  // `count` pictures with no larger block of memory than `limit`, or that from the first decoding on; sets `largest` to
  // the largest that there was.
  enum class From { start, decoding };
  std::vector<std::vector<std::uint8_t>> draw(const Pipeline& pipeline, int count, int width,
                                              std::size_t limit = kNoLimit, From from = From::start) {
    std::vector<Request> requests(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < requests.size(); ++i) {
      requests[i].prompt = "a fox";
      requests[i].seed = i;
      requests[i].steps = 1;
      requests[i].guidance_scale = 1;  // the decoder needs more than the network then
      requests[i].width = width;
      requests[i].height = 64;
      requests[i].init_image = init_image;
      if (init_image) requests[i].strength = 1;
    }
    const std::vector<Plan> plans = test::planned(pipeline, requests);
    std::vector<std::vector<std::uint8_t>> pictures;
    pipeline.prepare(plans[0], witness);
    witness = {};
    Stingy allocator(from == From::start ? limit : kNoLimit);
    if (from == From::decoding) witness.denoised = [&] { allocator.set_limit(limit); };
    pipeline.draw(
        plans, [&](std::size_t, Image image) { pictures.push_back(std::move(image.rgb)); }, witness);
    largest = allocator.largest;
    refusals = allocator.refusals;
    witness.denoised = {};
    return pictures;
  }

  std::shared_ptr<const Image> init_image;
  std::size_t largest = 0, refusals = 0;
  Witness witness;
};

TEST_F(Memory, ABatchThatDoesNotFitIsMadeInHalves) {
  const auto twos = draw(load(2), 4, 256);
  const std::size_t enough = largest;
  const Pipeline fours = load(4);
  draw(fours, 4, 256);
  ASSERT_GT(largest, enough);
  ASSERT_EQ(witness.batches.size(), 1u);
  EXPECT_EQ(witness.batches[0].second.batch_size, 4);
  EXPECT_TRUE(witness.warnings.empty());

  EXPECT_EQ(draw(fours, 4, 256, enough), twos);
  EXPECT_GT(refusals, 0u);
  ASSERT_EQ(witness.batches.size(), 2u);
  for (const auto& [first, how] : witness.batches) EXPECT_EQ(how.batch_size, 2) << first;
  ASSERT_FALSE(witness.warnings.empty());
  EXPECT_NE(witness.warnings.back().find("2 at a time"), std::string::npos) << witness.warnings.back();
}

TEST_F(Memory, APictureThatDoesNotFitIsAnErrorOfTheDevice) {
  const Pipeline pipeline = load(2);
  try {
    draw(pipeline, 2, 64, 1000);
    FAIL() << "no memory was needed";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::device);
    EXPECT_NE(std::string(error.what()).find("try a smaller size"), std::string::npos) << error.what();
  }
}

TEST_F(Memory, APictureThatDoesNotFitIntoTheDecoderIsDecodedInTiles) {
  const auto tiled = draw(load(1, /*tiles=*/true), 1, 2048);
  const std::size_t enough = largest;
  const Pipeline whole = load(1);
  const auto undivided = draw(whole, 1, 2048);
  ASSERT_GT(largest, enough);
  ASSERT_EQ(witness.batches.size(), 1u);
  EXPECT_FALSE(witness.batches[0].second.vae_tiling);

  EXPECT_EQ(draw(whole, 1, 2048, enough), tiled);
  EXPECT_GT(refusals, 0u);
  ASSERT_EQ(witness.batches.size(), 1u);
  EXPECT_TRUE(witness.batches[0].second.vae_tiling);
  ASSERT_EQ(witness.warnings.size(), 1u);
  EXPECT_NE(witness.warnings[0].find("again in tiles"), std::string::npos) << witness.warnings[0];
}

// Encoder and decoder are both in tiles or neither, so that the record has one answer.
class MemoryOfPictures : public Memory {
 protected:
  MemoryOfPictures() {
    Image picture{2048, 64, std::vector<std::uint8_t>(std::size_t{2048} * 64 * 3)};
    for (std::size_t i = 0; i < picture.rgb.size(); ++i) picture.rgb[i] = static_cast<std::uint8_t>(i * i % 251);
    init_image = std::make_shared<const Image>(std::move(picture));
    tiled_ = draw(load(1, /*tiles=*/true), 1, 2048);
    enough_ = largest;
  }
  void expect_tiles(const std::string& warning) const {
    ASSERT_EQ(witness.batches.size(), 1u);
    EXPECT_TRUE(witness.batches[0].second.vae_tiling);
    ASSERT_EQ(witness.warnings.size(), 1u);
    EXPECT_NE(witness.warnings[0].find(warning), std::string::npos) << witness.warnings[0];
  }
  std::vector<std::vector<std::uint8_t>> tiled_;
  std::size_t enough_;
};

TEST_F(MemoryOfPictures, OneThatDoesNotFitIntoTheEncoderIsInTilesFromThereOn) {
  const Pipeline whole = load(1);
  EXPECT_EQ(draw(whole, 1, 2048, enough_), tiled_);
  expect_tiles("again in tiles");
}

TEST_F(MemoryOfPictures, OneThatFitsIntoTheEncoderAloneIsMadeAnew) {
  const Pipeline whole = load(1);
  EXPECT_NE(draw(whole, 1, 2048), tiled_);
  EXPECT_EQ(draw(whole, 1, 2048, enough_, From::decoding), tiled_);
  expect_tiles("again from the beginning, in tiles");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(AlignedMemory, WhoLooksGetsAnErrorNumberAndLibtorchCpuAnException) {
  void* memory = nullptr;
  EXPECT_EQ(posix_memalign(&memory, 64, std::numeric_limits<std::size_t>::max() / 2), ENOMEM);
  EXPECT_EQ(posix_memalign(&memory, 3, 64), EINVAL);
  EXPECT_EQ(posix_memalign(&memory, 64, 64), 0);
  std::free(memory);
  EXPECT_THROW(c10::alloc_cpu(std::size_t{1} << 60), c10::Error);  // libc10 looks

  EXPECT_TRUE(is_in_libtorch_cpu(dlsym(RTLD_DEFAULT, "_ZN2at11show_configB5cxx11Ev")));
  for (const char* other : {"_ZN3c109alloc_cpuEm", "posix_memalign", "malloc"}) {
    ASSERT_NE(dlsym(RTLD_DEFAULT, other), nullptr) << other;
    EXPECT_FALSE(is_in_libtorch_cpu(dlsym(RTLD_DEFAULT, other))) << other;
  }
  EXPECT_FALSE(is_in_libtorch_cpu(&memory));
}
#endif

// Without the pages of files: of libtorch's code more is read with every operator that is new.
std::size_t resident_bytes() {
  std::size_t total = 0, resident = 0, of_files = 0;
  std::ifstream("/proc/self/statm") >> total >> resident >> of_files;
  return (resident - of_files) * 4096;
}

TEST(KeptBlocks, BelongToOneTensorAtATimeAndGoBackAtTheEnd) {
  keep_large_blocks();
  const std::size_t before = resident_bytes();
  std::mt19937 random(1);
  const auto below = [&random](std::size_t n) { return std::size_t(random() % n); };
  std::vector<std::pair<at::Tensor, int>> living;
  std::size_t bytes = 0, most = 0;
  for (int i = 0; i < 600; ++i) {
    if (living.size() < 5 || (living.size() < 12 && below(2) == 0)) {
      const auto size = static_cast<std::int64_t>((std::size_t{1} << 20) + below(std::size_t{5} << 20));
      living.emplace_back(at::full({size}, i % 251, at::kByte), i % 251);
      most = std::max(most, bytes += std::size_t(size));
    } else {
      std::swap(living[below(living.size())], living.back());
      const auto& [tensor, value] = living.back();
      ASSERT_TRUE(tensor.eq(value).all().item<bool>()) << "another tensor's numbers, in step " << i;
      bytes -= tensor.nbytes();
      living.pop_back();
    }
  }
  EXPECT_LT(resident_bytes(), before + 2 * most);  // parts that are free are joined
  living.clear();
  release_kept_blocks();
  EXPECT_LT(resident_bytes(), before + (std::size_t{8} << 20));
}

}  // namespace
}  // namespace sdgen
