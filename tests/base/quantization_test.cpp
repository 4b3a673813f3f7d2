// What describes codes: numbers beside those that bitsandbytes and comfy-kitchen make of the same tensors
// (tests/fixtures/quantization.safetensors), and a refusal for each thing that does not fit.
#include "io/quantization.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <map>

#include "base/scratch.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/tensor_table.h"

namespace sdgen {
namespace {

TEST(Quantization, NumbersAreTheReferenceReaders) {
  const TensorTable table({std::filesystem::path(SDGEN_FIXTURES) / "quantization.safetensors"});
  int cases = 0;
  for (const auto& [name, numbers] : table.tensors()) {
    if (!name.ends_with(".numbers")) continue;
    const std::string called = name.substr(0, name.size() - 8);
    SCOPED_TRACE(called);
    const TensorTable::Entry& entry = table.tensors().at(called + ".weight");
    ASSERT_TRUE(has_numbers(entry));
    EXPECT_EQ(entry.where->shape, numbers.where->shape);
    const std::uint64_t count = entry.where->elements();
    std::vector<float> ours(count), right(count), part(3);
    read_floats(entry, 0, count, ours.data());
    read_floats(numbers, 0, count, right.data());
    const bool rotated = entry.scaling.rotated != 0;  // in another order of sums
    for (std::size_t i = 0; i < count; ++i) {
      if (rotated)
        ASSERT_NEAR(ours[i], right[i], 2e-6) << i;
      else if (std::isnan(right[i]))
        ASSERT_TRUE(std::isnan(ours[i])) << i;
      else
        ASSERT_EQ(std::bit_cast<std::uint32_t>(ours[i]), std::bit_cast<std::uint32_t>(right[i])) << i << ' ' << ours[i];
    }
    for (std::size_t i = 0; i + part.size() <= count; i += 7) {
      read_floats(entry, i, part.size(), part.data());
      for (std::size_t k = 0; k < part.size(); ++k)
        ASSERT_TRUE(part[k] == ours[i + k] || std::isnan(ours[i + k])) << "from the middle, " << i;
    }
    ++cases;
  }
  EXPECT_EQ(cases, 70);
  EXPECT_EQ(table.tensors().size(), 2u * 70) << "nothing that describes codes is a tensor of a network";
}

// --- Of ComfyUI

class Scales : public testing::Test {
 protected:
  struct Tensor {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string bytes;
  };
  TensorTable table(const std::map<std::string, Tensor>& tensors, const std::string& metadata = "") {
    Json header = Json::object();
    std::string data;
    if (!metadata.empty()) header["__metadata__"] = {{"_quantization_metadata", metadata}};
    for (const auto& [name, t] : tensors) {
      header[name] = {
          {"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {data.size(), data.size() + t.bytes.size()}}};
      data += t.bytes;
    }
    return TensorTable({scratch_.write("a.safetensors", safetensors_bytes(header.dump(), data))});
  }
  static Tensor json(const std::string& said) { return {"U8", {static_cast<std::int64_t>(said.size())}, said}; }
  static Tensor floats(const std::vector<float>& numbers, std::vector<std::int64_t> shape) {
    std::string bytes(numbers.size() * 4, '\0');
    std::memcpy(bytes.data(), numbers.data(), bytes.size());
    return {"F32", std::move(shape), bytes};
  }
  static std::vector<float> read(const TensorTable& table, const std::string& name) {
    const TensorTable::Entry& entry = table.tensors().at(name);
    std::vector<float> numbers(entry.where->elements());
    read_floats(entry, 0, numbers.size(), numbers.data());
    return numbers;
  }

  Scratch scratch_;
  Tensor f8() const { return {"F8_E4M3", {2, 2}, std::string("\x38\x40\xB8\x30", 4)}; }  // 1, 2, -1, 0.5
  Tensor i8() const { return {"I8", {2, 2}, std::string("\x01\x02\xFF\x7F", 4)}; }
};

TEST_F(Scales, OldAndNewOfFloat8) {
  const std::vector<float> expected{3, 6, -3, 1.5};
  EXPECT_EQ(read(table({{"a.weight", f8()}, {"a.bias", floats({1}, {1})}}), "a.weight"),
            (std::vector<float>{1, 2, -1, 0.5}));
  const TensorTable old = table({{"scaled_fp8", {"F8_E4M3", {0}, ""}},
                                 {"a.weight", f8()},
                                 {"a.scale_weight", floats({3}, {})},
                                 {"a.scale_input", floats({9}, {})}});
  EXPECT_EQ(read(old, "a.weight"), expected);
  EXPECT_EQ(old.tensors().size(), 1u) << "nothing else is a tensor of a network";
  const TensorTable fresh = table({{"a.weight", f8()},
                                   {"a.weight_scale", floats({3}, {1})},
                                   {"a.input_scale", floats({9}, {})},
                                   {"a.comfy_quant", json(R"({"format": "float8_e4m3fn"})")}});
  EXPECT_EQ(read(fresh, "a.weight"), expected);
  EXPECT_EQ(fresh.tensors().size(), 1u);
  EXPECT_EQ(table({{"model.scaled_fp8", {"F8_E4M3", {2}, "ab"}}, {"model.a.weight", f8()}}).tensors().size(), 1u);
}

TEST_F(Scales, OfRows) {
  const TensorTable rows = table({{"a.weight", i8()},
                                  {"a.weight_scale", floats({2, 10}, {2, 1})},
                                  {"a.comfy_quant", json(R"({"format": "int8_tensorwise"})")}});
  EXPECT_EQ(read(rows, "a.weight"), (std::vector<float>{2, 4, -10, 1270}));
}

TEST_F(Scales, RefusesByName) {
  const auto refusal = [this](const std::map<std::string, Tensor>& tensors, const std::string& metadata = "") {
    return message_of(Fault::input, [&] { table(tensors, metadata); });
  };
  for (const char* format : {"nvfp4", "mxfp8", "convrot_w4a4", "asym_w4a8_int8", "awq_w4a16", "svdquant_w4a4"})
    EXPECT_CONTAINS(
        refusal({{"a.weight", {"U8", {1}, "x"}}, {"a.comfy_quant", json(concat(R"({"format": ")", format, R"("})"))}}),
        concat("'a.comfy_quant' is in the format '", format, "', which is not supported"));
  EXPECT_CONTAINS(refusal({{"a.weight", i8()}}, R"({"layers": {"a": {"format": "nvfp4"}}})"),
                  "'a' is in the format 'nvfp4'");
  const auto rotated = [&](const std::string& keys) {
    return refusal({{"a.weight", i8()}, {"a.comfy_quant", json(R"({"format": "int8_tensorwise", )" + keys + "}")}});
  };
  EXPECT_CONTAINS(rotated(R"("convrot": true)"),
                  "'a.weight' is rotated (convrot) in groups of 256, which do not divide "
                  "the rows of [2,2]");
  EXPECT_CONTAINS(rotated(R"("convrot": 1)"), "'a.comfy_quant' is rotated (convrot) in groups of 256");
  for (const char* odd : {"0", "1", "2", "8", "-4", "\"4\"", "4.5", "262144", "null"})
    EXPECT_CONTAINS(rotated(concat(R"("convrot": true, "convrot_groupsize": )", odd)), "a power of 4 up to 65536");
  EXPECT_CONTAINS(
      refusal({{"a.weight", f8()}, {"a.comfy_quant", json(R"({"format": "float8_e4m3fn", "convrot": true})")}}),
      "expected int8_tensorwise");
  for (const char* odd : {"[1", "[1]", "3", "{}", R"({"format": 3})", R"({"format": null})"})
    EXPECT_CONTAINS(refusal({{"a.weight", i8()}, {"a.comfy_quant", json(odd)}}), "a.comfy_quant");
  EXPECT_CONTAINS(refusal({{"a.weight", i8()}}, R"({"layers": {"a": {"format": 3}}})"), "'a' is in the format ''");
  table({{"a.weight", i8()}}, R"({"layers": [3]})");
  EXPECT_CONTAINS(refusal({{"a.weight", i8()}, {"a.comfy_quant", floats({1}, {1})}}), "expected a description in JSON");
  EXPECT_CONTAINS(refusal({{"a.weight", f8()}, {"a.weight_scale", floats({1, 2, 3}, {3})}}),
                  "the scale 'a.weight_scale' has 3 numbers, expected one, or one for each of the 2 rows");
  EXPECT_CONTAINS(refusal({{"a.weight", f8()}, {"a.weight_scale", {"U8", {1}, "x"}}}), "is stored as U8");
}

// --- bitsandbytes

class FourBits : public Scales {
 protected:
  using Tensors = std::map<std::string, Tensor>;
  static Tensor bytes(std::int64_t count) { return {"U8", {count}, std::string(std::size_t(count), '\x21')}; }
  static Tensor list_of(std::int64_t count, float step) {
    std::vector<float> numbers(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = step * static_cast<float>(i);
    return floats(numbers, {count});
  }
  static Tensor map_of_fp4() {
    return floats({0, 0.0625F / 12, 8.F / 12, 1, 4.F / 12, 6.F / 12, 2.F / 12, 3.F / 12, 0, -0.0625F / 12, -8.F / 12,
                   -1, -4.F / 12, -6.F / 12, -2.F / 12, -3.F / 12},
                  {16});
  }
  // Two scales of 64 numbers, and one of what is left.
  static Tensors single(const std::string& said = kSaid) {
    return {{"a.weight", bytes(65)},
            {"a.weight.absmax", floats({1, 2, 4}, {3})},
            {"a.weight.quant_map", map_of_fp4()},
            {"a.weight.quant_state.bitsandbytes__fp4", json(said)}};
  }
  static Tensors nested(const std::string& said = kNested) {
    Tensors tensors = single(said);
    tensors["a.weight.absmax"] = {"U8", {3}, std::string("\x01\x02\x05")};
    tensors["a.weight.nested_absmax"] = floats({2}, {1});
    tensors["a.weight.nested_quant_map"] = list_of(256, 0.5F);
    return tensors;
  }
  static std::string with(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    EXPECT_NE(at, text.npos) << from;
    return text.replace(at, from.size(), to);
  }
  std::string refusal(const Tensors& tensors) {
    const std::string message = message_of(Fault::input, [&] { table(tensors); });
    EXPECT_TRUE(message.starts_with((scratch_ / "a.safetensors").string() + ": ")) << message;
    return message;
  }
  static Tensors without(Tensors tensors, const std::string& name) {
    EXPECT_EQ(tensors.erase(name), 1u) << name;
    return tensors;
  }
  static Tensors changed(Tensors tensors, const std::string& name, Tensor to) {
    tensors[name] = std::move(to);
    return tensors;
  }
  static constexpr const char* kSaid =
      R"({"quant_type": "fp4", "blocksize": 64, "dtype": "float32", "shape": [13, 10]})";
  static constexpr const char* kNested =
      R"({"quant_type": "fp4", "blocksize": 64, "dtype": "float32", "shape": [13, 10], "nested_blocksize": 256,
          "nested_dtype": "float32", "nested_offset": 0.25})";
};

TEST_F(FourBits, ScalesAreOfBlocksAndMayBeCodes) {
  const TensorTable one = table(single());
  EXPECT_EQ(one.tensors().size(), 1u);
  const StoredTensor& where = *one.find("a.weight");
  EXPECT_EQ(where.shape, (std::vector<std::int64_t>{13, 10}));
  EXPECT_EQ(where.encoding, Encoding::FP4);
  const std::vector<float> numbers = read(one, "a.weight");
  EXPECT_EQ(numbers[0], 8.F / 12);  // 2, then 1 of each byte
  EXPECT_EQ(numbers[1], 0.0625F / 12);
  EXPECT_EQ(numbers[64], 2 * (8.F / 12));
  EXPECT_EQ(numbers[128], 4 * (8.F / 12));
  const std::vector<float> twice = read(table(nested()), "a.weight");
  EXPECT_EQ(twice[0], (0.5F * 2 + 0.25F) * (8.F / 12));
  EXPECT_EQ(twice[128], (2.5F * 2 + 0.25F) * (8.F / 12));
  const std::vector<float> rounded = read(table(single(with(kSaid, "float32", "bfloat16"))), "a.weight");
  EXPECT_EQ(rounded[0], 0.66796875F);
}

TEST_F(FourBits, RefusesWhatDoesNotFit) {
  const std::string state = "a.weight.quant_state.bitsandbytes__fp4";
  for (const auto& [from, to, what] :
       {std::tuple{"\"fp4\"", "\"nf4\"", "has quant_type 'nf4', expected nf4 or fp4, as its name says"},
        {"\"fp4\"", "4", "has no quant_type, expected a name"},
        {": 64", ": 48", "has blocksize 48, expected a power of two from 32 to 4096"},
        {": 64", ": 0", "has blocksize 0"},
        {": 64", ": -64", "has no blocksize, expected a number"},
        {"float32", "float64", "has dtype 'float64', expected float32, float16 or bfloat16"},
        {"[13, 10]", "[]", "has no shape"},
        {"[13, 10]", "[13, 10, 1, 1, 1, 1, 1, 1, 1]", "has no shape of up to 8 sizes"},
        {"[13, 10]", "[13, -10]", "has a shape with -10, expected numbers above 0"},
        {"[13, 10]", "[13, 0]", "has a shape with 0"},
        {"[13, 10]", "[13, 9.5]", "has a shape with 9.5"},
        {"[13, 10]", "[4611686018427387904, 4]", "has a shape that overflows 64 bits"},
        {"[13, 10]", "[13, 11]", "says that 'a.weight' is [13,11], whose codes take 72 bytes; it has 65"},
        {"[13, 10]", "130", "has no shape"},
        {"{", "[", "'a.weight.quant_state"},
        {"\"fp4\"", "\"fp4\x01\"", "'a.weight.quant_state"}}) {
    EXPECT_CONTAINS(refusal(single(with(kSaid, from, to))), what);
  }
  EXPECT_CONTAINS(refusal(changed(single(), state, json("[3]"))), "is not an object");
  EXPECT_CONTAINS(refusal(changed(single(), state, floats({1}, {1}))), "expected a description in JSON");
  for (const auto& [from, to, what] :
       {std::tuple{": 256", ": 100", "has nested_blocksize 100, expected a power of two"},
        {"\"nested_dtype\": \"float32\"", "\"nested_dtype\": \"float16\"", "has a nested_dtype that is not float32"},
        {"0.25", "\"0.25\"", "has no nested_offset, expected a finite number"},
        {"0.25", "1e39", "has no nested_offset"}}) {
    EXPECT_CONTAINS(refusal(nested(with(kNested, from, to))), what);
  }
  for (const char* lacking : {"quant_map", "absmax"})
    EXPECT_CONTAINS(refusal(without(single(), concat("a.weight.", lacking))),
                    concat("describes codes without 'a.weight.", lacking, "'"));
  EXPECT_CONTAINS(refusal(without(single(), "a.weight")), "describes 'a.weight', which is not there");
  EXPECT_CONTAINS(refusal(without(nested(), "a.weight.nested_quant_map")), "without 'a.weight.nested_quant_map'");
  EXPECT_CONTAINS(refusal(without(nested(), "a.weight.nested_absmax")),
                  "'a.weight.absmax' is stored as U8, expected F32");
  EXPECT_CONTAINS(refusal(changed(single(), "a.weight.absmax", floats({1, 2}, {2}))),
                  "whose 'a.weight.absmax' has 2 numbers, expected 3");
  EXPECT_CONTAINS(refusal(changed(nested(), "a.weight.nested_absmax", floats({1, 2}, {2}))),
                  "has 2 numbers, expected 1");
  EXPECT_CONTAINS(refusal(changed(nested(), "a.weight.nested_quant_map", list_of(255, 1))),
                  "has 255 numbers, expected 256");
  EXPECT_CONTAINS(refusal(changed(single(), "a.weight.quant_map", list_of(16, 1))),
                  "whose quant_map says 1 for 1, FP4 has 0.00520833");
  EXPECT_CONTAINS(refusal(changed(single(), "a.weight.quant_map", list_of(15, 1))), "has 15 numbers, expected 16");
  Tensors both = single();
  both["a.weight.quant_state.bitsandbytes__nf4"] = json(with(kSaid, "fp4", "nf4"));
  EXPECT_CONTAINS(refusal(both), "describes codes without 'a.weight.quant_map'");
  Tensors other = single();
  other["a.weight.quant_state.bitsandbytes__int5"] = json(with(kSaid, "fp4", "int5"));
  EXPECT_CONTAINS(refusal(other), "");
}

TEST_F(Scales, EightBitsOfBitsandbytes) {
  std::map<std::string, Tensor> tensors = {{"a.weight", i8()}, {"a.SCB", floats({127, 254}, {2})}};
  EXPECT_EQ(read(table(tensors), "a.weight"), (std::vector<float>{1, 2, -2, 254}));
  const auto refusal = [&](const std::string& name, const Tensor& to) {
    std::map<std::string, Tensor> changed = tensors;
    changed[name] = to;
    return message_of(Fault::input, [&] { table(changed); });
  };
  tensors["a.weight_format"] = {"U8", {}, std::string(1, '\0')};
  const TensorTable told = table(tensors);
  EXPECT_EQ(told.tensors().size(), 1u);
  EXPECT_CONTAINS(refusal("a.weight_format", {"U8", {1}, "\x02"}), "a weight in the format 2, expected 0: rows");
  EXPECT_CONTAINS(refusal("a.weight_format", {"U8", {2}, "\x02\x02"}), "a weight_format of 2 bytes, expected 1");
  EXPECT_CONTAINS(refusal("a.SCB", floats({1, 2, 3}, {3})),
                  "'a.SCB' has 3 numbers, expected one for each of the 2 rows");
  EXPECT_CONTAINS(refusal("a.SCB", {"I32", {2}, "abcdefgh"}), "'a.SCB' is stored as I32, expected F32");
  EXPECT_CONTAINS(refusal("a.weight", f8()), "the scales of an int8 matrix, but the weight is [2,2] of F8_E4M3");
  EXPECT_CONTAINS(refusal("a.weight", {"I8", {4}, "abcd"}), "but the weight is [4] of I8");
  EXPECT_CONTAINS(refusal("b.SCB", floats({1}, {1})), "'b.SCB' has the scales of a layer that is not there");
}

TEST_F(Scales, OtherFormatsAreRefusedByName) {
  for (const auto& [codes, beside, format] : {std::tuple{".qweight", ".wscales", "SVDQuant (nunchaku)"},
                                              {".qweight", ".proj_down", "SVDQuant (nunchaku)"},
                                              {".qweight", ".g_idx", "GPTQ"},
                                              {".qweight", ".qzeros", "AWQ or GPTQ"},
                                              {".weight._data", ".weight._scale", "quanto"},
                                              {".weight._data", ".weight._shift", "quanto"},
                                              {"._weight_qdata", "._weight_scale", "torchao"},
                                              {".weight:qdata", ".weight:scale", "torchao"},
                                              {".weight", ".weight_scale_inv", "float8 in blocks"},
                                              {".weight", ".weight_scale_2", "NVFP4"},
                                              {".weight_packed", ".weight_scale", "compressed-tensors"},
                                              {".W_q", ".meta", "HQQ"}}) {
    const std::map<std::string, Tensor> both = {{concat("x.a", codes), json("ab")}, {concat("x.a", beside), json("a")}};
    const std::string message = message_of(Fault::input, [&] { table(both); });
    EXPECT_CONTAINS(message,
                    concat("'x.a", beside, "' belongs to codes of ", format, ", which are not supported; get"));
    table({{concat("x.a", codes), json("ab")}, {concat("y.a", beside), json("a")}});
  }
}

}  // namespace
}  // namespace sdgen
