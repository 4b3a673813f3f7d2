#include "weights/weights.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/roll.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

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

// Bytes of address space that the process has.
std::size_t mapped() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * 4096;
}

TEST(Weights, ATensorByItselfTakesNoMoreThanItsOwnMemory) {
  const TensorTable table({write_file("alone.safetensors", "lora.down", 1)});
  const std::size_t before = mapped();
  const at::Tensor tensor = read_tensor(table, "lora.down", at::kBFloat16);
  EXPECT_LT(mapped() - before, 4u << 20) << "networks' tensors share pieces of 32 MB; files of adapters have thousands";
  EXPECT_EQ(tensor.scalar_type(), at::kBFloat16);
  EXPECT_EQ(tensor.sizes(), (at::IntArrayRef{2, 3}));
  EXPECT_EQ(tensor[1][2].item<float>(), 6);
  const TensorTable integers({write_file("integers.safetensors", "lora.up", 1, "I64")});
  expect_mentions(fault_text([&] { read_tensor(integers, "lora.up", at::kFloat); }),
                  {"integers.safetensors", "'lora.up'", "I64", "convert it"});
}

TEST(Weights, ReadsThroughScopesAndCasts) {
  const fs::path path = write_file("a.safetensors", "down.0.conv.weight", 1);
  const Weights w = test::open_weights({path}, at::kCPU, at::kHalf);
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
  const Weights w = test::open_weights({path}, at::kCPU, at::kFloat);
  expect_mentions(fault_text([&] { (w / "conv").get("bias", {7}); }), {"b.safetensors", "'conv.bias'", "[7]"});
  expect_mentions(fault_text([&] {
                    (w / "conv").get("weight", {3, 2});
                  }),
                  {"b.safetensors", "'conv.weight'", "[2,3]", "[3,2]"});
}

TEST(Weights, JoinsShardsAndRefusesDuplicates) {
  const fs::path a = write_file("s1.safetensors", "x", 1), b = write_file("s2.safetensors", "y", 10),
                 c = write_file("s3.safetensors", "x", 5);
  EXPECT_EQ(test::open_weights({a, b}, at::kCPU, at::kFloat).get("y", {2, 3})[0][0].item<float>(), 10);
  expect_mentions(fault_text([&] {
                    test::open_weights({a, c}, at::kCPU, at::kFloat);
                  }),
                  {"s3.safetensors", "'x'", "s1.safetensors"});
}

TEST(Weights, RefusesIntegersAsWeights) {
  const fs::path path = write_file("i.safetensors", "ids", 0, "I64");
  expect_mentions(fault_text([&] {
                    test::open_weights({path}, at::kCPU, at::kFloat).get("ids", {2, 3});
                  }),
                  {"'ids'", "I64"});
}

TEST(Weights, MapAndPatchApplyToFullNames) {
  const fs::path path = write_file("m.safetensors", "old.name", 1);
  const Weights w =
      test::open_weights({path}, at::kCPU, at::kFloat)
          .map([](const std::string& name) { return name == "new.name" ? std::string("old.name") : name; })
          .patch({.touches = [](const std::string& name) { return name == "new.name"; },
                  .change = [](const std::string&, at::Tensor t) { return t * 2; }});
  EXPECT_EQ((w / "new").get("name", {2, 3})[0][0].item<float>(), 2);
  EXPECT_TRUE(w.unread().empty());
}

TEST(Weights, AFileCutWhileItIsReadIsAnError) {
  const fs::path path = write_file("cut.safetensors", "x", 1);
  const Weights w = test::open_weights({path}, at::kCPU, at::kFloat);
  fs::resize_file(path, fs::file_size(path) - 8);
  expect_mentions(fault_text([&] { w.get("x", {2, 3}); }), {"cut.safetensors"});
}

// A stack of three matrices, a transposed one, a 1x1 kernel, as OpenCLIP's and CompVis' files have them.
TEST(Weights, ReadsFromOtherPlaces) {
  const fs::path path = write_file("place.safetensors", "stack", 0);  // [[0, 1, 2], [3, 4, 5]]
  const Weights w(std::make_shared<TensorTable>(std::vector{path}), at::kCPU, at::kFloat);
  const Weights second = w.map([](const std::string&) { return Place("stack", 1, 2); });
  EXPECT_TRUE(second.has("anything"));
  EXPECT_TRUE(second.get("q.weight", {1, 3}).equal(at::tensor({3.f, 4.f, 5.f}).view({1, 3})));
  const Weights turned = w.map([](const std::string&) { return Place("stack", 0, 1, true); });
  EXPECT_TRUE(turned.get("p.weight", {3, 2}).equal(at::tensor({0.f, 3.f, 1.f, 4.f, 2.f, 5.f}).view({3, 2})));
  EXPECT_EQ(w.get("stack", {2, 3, 1, 1}).sizes(), (std::vector<std::int64_t>{2, 3, 1, 1}));
  // Maps compose: the outer name is turned into the inner one, and that into a place.
  const Weights both = second.map([](const std::string& name) { return Place("x." + name); });
  EXPECT_EQ(both.get("y", {1, 3})[0][0].item<float>(), 3);
  // The error speaks of the file's own tensor: its name, and the shape of the whole stack.
  expect_mentions(fault_text([&] { second.get("q.weight", {4, 3}); }), {"'stack' (q.weight)", "[2,3]", "[8,3]"});
  expect_mentions(fault_text([&] { turned.get("p.weight", {2, 3}); }), {"'stack'", "[2,3]", "[3,2]"});
}

// Flux's fused projections are stacks of parts of several heights; the last norms of originals say the shift first.
TEST(Weights, ReadsSeveralPartsAndSwapsHalves) {
  static const Scratch scratch;
  std::string header = R"({"stack":{"dtype":"F32","shape":[14,2],"data_offsets":[0,112]}})";
  const std::uint64_t length = header.size();
  const fs::path path = scratch / "parts.safetensors";
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&length), 8) << header;
  const at::Tensor all = at::arange(28, at::kFloat).view({14, 2});
  out.write(static_cast<const char*>(all.const_data_ptr()), 112);
  out.close();
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const Weights w(std::make_shared<TensorTable>(std::vector{path}), at::kCPU, dtype);
    const auto at_place = [&w](int part, int parts, int count, bool swapped) {
      return w.map([=](const std::string&) {
        Place place("stack", part, parts);
        place.count = count;
        place.swapped = swapped;
        return place;
      });
    };
    EXPECT_TRUE(at_place(3, 7, 4, false).get("x", {8, 2}).equal(all.narrow(0, 6, 8).to(dtype)));
    EXPECT_TRUE(at_place(1, 7, 2, false).get("x", {4, 2}).equal(all.narrow(0, 2, 4).to(dtype)));
    EXPECT_TRUE(at_place(0, 1, 1, true).get("x", {14, 2}).equal(all.roll(7, 0).to(dtype)));
    EXPECT_TRUE(at_place(1, 7, 4, true).get("x", {8, 2}).equal(all.narrow(0, 2, 8).roll(4, 0).to(dtype)));
    // A further map names the file's tensor, and the halves stay swapped.
    const Weights outer = w.map([](const std::string&) { return Place("stack"); }).map([](const std::string& name) {
      Place place(name);
      place.swapped = true;
      return place;
    });
    EXPECT_TRUE(outer.get("x", {14, 2}).equal(all.roll(7, 0).to(dtype)));
    expect_mentions(fault_text([&] { at_place(3, 7, 4, false).get("x", {4, 2}); }), {"'stack' (x)", "[14,2]", "[7,2]"});
    expect_mentions(fault_text([&] { at_place(3, 7, 4, false).get("x", {6, 2}); }), {"'stack'", "[6,2]", "4 equal"});
    expect_mentions(fault_text([&] { at_place(0, 1, 1, true).get("x", {7, 2}); }), {"'stack'", "[7,2]", "2 equal"});
  }
}

TEST(Weights, OnTheMetaDeviceOnlyLooks) {
  const fs::path path = write_file("meta.safetensors", "a", 0);
  const Weights w = test::open_weights({path}, at::kMeta, at::kFloat);
  EXPECT_TRUE(w.get("a", {2, 3}).is_meta());
  EXPECT_TRUE(w.unread().empty());
  EXPECT_NE(fault_text([&] { w.get("a", {3, 2}); }), "");
  EXPECT_NE(fault_text([&] { w.get("b", {3, 2}); }), "");
}

// More than one chunk and more than one thread, in inference mode or not: every element arrives where it belongs.
TEST(Weights, CastsLargeTensors) {
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  static const Scratch scratch;
  const fs::path path = scratch / "large.safetensors";
  constexpr std::int64_t rows = 1700, columns = 2001;
  // A prime below 2048, so that no two pieces are the same.
  const at::Tensor numbers = at::arange(rows * columns, at::kFloat).remainder(2039).to(at::kHalf).view({rows, columns});
  const std::string header = concat("{\"t\":{\"dtype\":\"F16\",\"shape\":[", rows, ',', columns,
                                    "],\"data_offsets\":[0,", 2 * rows * columns, "]}}");
  const std::uint64_t length = header.size();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(&length), 8)
      .write(header.data(), header.size())
      .write(static_cast<const char*>(numbers.data_ptr()), 2 * rows * columns);
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const c10::InferenceMode inference(dtype == at::kFloat);
    EXPECT_TRUE(test::open_weights({path}, at::kCPU, dtype).get("t", {rows, columns}).equal(numbers.to(dtype)));
    const Weights half =
        test::open_weights({path}, at::kCPU, dtype).map([](const std::string& name) { return Place(name, 1, 2); });
    EXPECT_TRUE(half.get("t", {rows / 2, columns}).equal(numbers.slice(0, rows / 2).to(dtype)));
  }
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace sdgen
