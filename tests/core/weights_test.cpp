#include "io/weights.h"

#include <fstream>

#include "base/scratch.h"
#include "core/fixture.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

std::string fault_text(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::input);
    return error.what();
  }
  return "";
}

void expect_mentions(const std::string& text, std::initializer_list<const char*> words) {
  for (const char* word : words) EXPECT_NE(text.find(word), std::string::npos) << "no '" << word << "' in: " << text;
}

// A safetensors file of one float32 tensor [2, 3] of the given name and values from `first` up.
fs::path write_file(const std::string& file, const std::string& tensor, float first, const std::string& dtype = "F32") {
  static const Scratch scratch;
  const fs::path path = scratch / file;
  const std::size_t size = dtype == "F32" ? 4 : 8;
  std::string header =
      concat("{\"", tensor, "\":{\"dtype\":\"", dtype, "\",\"shape\":[2,3],\"data_offsets\":[0,", 6 * size, "]}}");
  const std::uint64_t length = header.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&length), 8) << header;
  for (int i = 0; i < 6; ++i) {
    const float value = first + i;
    const std::int64_t integer = i;
    out.write(size == 4 ? reinterpret_cast<const char*>(&value) : reinterpret_cast<const char*>(&integer), size);
  }
  return path;
}

TEST(Weights, ReadsThroughScopesAndCasts) {
  const fs::path path = write_file("a.safetensors", "down.0.conv.weight", 1);
  const Weights w = Weights::open({path}, at::kCPU, at::kHalf);
  const Weights scope = w / "down.0" / "conv";
  EXPECT_TRUE(scope.has("weight"));
  EXPECT_FALSE(scope.has("bias"));
  EXPECT_EQ(w.unread(), std::vector<std::string>{"down.0.conv.weight"});
  const at::Tensor t = scope.get("weight", {2, 3});
  EXPECT_EQ(t.scalar_type(), at::kHalf);
  EXPECT_EQ(t[1][2].item<float>(), 6);
  EXPECT_TRUE(w.unread().empty());
}

TEST(Weights, SaysWhatIsMissingOrMisshapen) {
  const fs::path path = write_file("b.safetensors", "conv.weight", 1);
  const Weights w = Weights::open({path}, at::kCPU, at::kFloat);
  expect_mentions(fault_text([&] { (w / "conv").get("bias", {7}); }), {"b.safetensors", "'conv.bias'", "[7]"});
  expect_mentions(fault_text([&] {
                    (w / "conv").get("weight", {3, 2});
                  }),
                  {"b.safetensors", "'conv.weight'", "[2,3]", "[3,2]"});
}

TEST(Weights, JoinsShardsAndRefusesDuplicates) {
  const fs::path a = write_file("s1.safetensors", "x", 1), b = write_file("s2.safetensors", "y", 10),
                 c = write_file("s3.safetensors", "x", 5);
  EXPECT_EQ(Weights::open({a, b}, at::kCPU, at::kFloat).get("y", {2, 3})[0][0].item<float>(), 10);
  expect_mentions(fault_text([&] {
                    Weights::open({a, c}, at::kCPU, at::kFloat);
                  }),
                  {"s3.safetensors", "'x'", "s1.safetensors"});
}

TEST(Weights, RefusesIntegersAsWeights) {
  const fs::path path = write_file("i.safetensors", "ids", 0, "I64");
  expect_mentions(fault_text([&] {
                    Weights::open({path}, at::kCPU, at::kFloat).get("ids", {2, 3});
                  }),
                  {"'ids'", "I64"});
}

TEST(Weights, MapAndPatchApplyToFullNames) {
  const fs::path path = write_file("m.safetensors", "old.name", 1);
  const Weights w =
      Weights::open({path}, at::kCPU, at::kFloat)
          .map([](const std::string& name) { return name == "new.name" ? std::string("old.name") : name; })
          .patch([](const std::string& name, at::Tensor t) { return name == "new.name" ? t * 2 : t; });
  EXPECT_EQ((w / "new").get("name", {2, 3})[0][0].item<float>(), 2);
  EXPECT_TRUE(w.unread().empty());
}

TEST(Weights, AFileCutWhileItIsReadIsAnError) {
  const fs::path path = write_file("cut.safetensors", "x", 1);
  const Weights w = Weights::open({path}, at::kCPU, at::kFloat);
  fs::resize_file(path, fs::file_size(path) - 8);
  expect_mentions(fault_text([&] { w.get("x", {2, 3}); }), {"cut.safetensors"});
}

}  // namespace
}  // namespace sdgen
