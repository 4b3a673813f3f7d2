// Encoders beside the reference writers (tests/fixtures/encoders.safetensors), tables whose tensors are encoded as they
// are read, and what is written of them.
#include "io/encode.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/scratch.h"
#include "formats/quantize.h"
#include "io/atomic_file.h"
#include "io/decode.h"
#include "io/encoded_tensors.h"
#include "io/file.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/write_tensors.h"

namespace sdgen {
namespace {

template <class T>
std::vector<T> values_of(const TensorFile& file, const std::string& name) {
  const StoredTensor& where = file.tensors().at(name);
  std::vector<T> values(where.bytes() / sizeof(T));
  file.read(where, 0, std::as_writable_bytes(std::span(values)));
  return values;
}

std::vector<std::byte> encoded(Encoding encoding, const std::vector<float>& numbers, float scale = 1) {
  const EncodingInfo& info = info_of(encoding);
  std::vector<std::byte> bytes(numbers.size() / info.elements * info.bytes);
  encode(encoding, numbers, bytes.data(), scale);
  return bytes;
}

// Of each block, by the weights of encode_q4_k.cpp.
std::vector<double> weighted_errors(const std::vector<float>& x, const std::vector<float>& read) {
  std::vector<double> errors;
  for (std::size_t block = 0; block < x.size(); block += 256) {
    double squares = 0, error = 0;
    for (std::size_t i = block; i < block + 256; ++i) squares += double(x[i]) * x[i];
    for (std::size_t i = block; i < block + 256; ++i)
      error += (std::abs(double(x[i])) + std::sqrt(squares / 256)) * std::pow(double(x[i]) - read[i], 2);
    errors.push_back(error);
  }
  return errors;
}

TEST(Encode, IsTheReferenceWriters) {
  const Safetensors file(std::filesystem::path(SDGEN_FIXTURES) / "encoders.safetensors");
  int compared = 0;
  for (const auto& [name, where] : file.tensors()) {
    const std::size_t dot = name.find('.');
    const auto encoding = find_encoding(name.substr(dot + 1));
    if (!encoding || *encoding == Encoding::F32) continue;
    SCOPED_TRACE(name);
    const auto numbers = values_of<float>(file, name.substr(0, dot) + ".F32");
    const float scale = takes_scale(*encoding) ? scale_of(*encoding, largest_of(numbers)) : 1;
    EXPECT_EQ(encoded(*encoding, numbers, scale), values_of<std::byte>(file, name));
    ++compared;
  }
  EXPECT_EQ(compared, 13 * 5 - 1) << "half precision has no place for the huge ones";
}

TEST(Encode, Q4KLosesLessThanRoundingOfTheExtremes) {
  const Safetensors file(std::filesystem::path(SDGEN_FIXTURES) / "encoders.safetensors");
  double all = 0, plain = 0;
  for (const auto& [name, where] : file.tensors()) {
    if (!name.ends_with(".plain")) continue;
    const std::string kind = name.substr(0, name.size() - 6);
    const auto numbers = values_of<float>(file, kind + ".F32");
    const auto bytes = encoded(Encoding::Q4_K, numbers);
    std::vector<float> read(numbers.size());
    decode(Encoding::Q4_K, bytes, read.data());
    const std::vector<double> errors = weighted_errors(numbers, read), others = values_of<double>(file, name);
    ASSERT_EQ(errors.size(), others.size());
    for (std::size_t i = 0; i < errors.size(); ++i) EXPECT_LE(errors[i], others[i] * 1.000001) << kind << ' ' << i;
    if (kind == "normal")
      for (std::size_t i = 0; i < errors.size(); ++i) all += errors[i], plain += others[i];
    if (kind == "zero") {
      EXPECT_EQ(read, numbers);
    }
  }
  EXPECT_GT(plain, 0);
  EXPECT_LT(all, 0.835 * plain) << "searching is worth it";
}

TEST(Encode, WholeNumbersOfAGridAreExact) {
  std::vector<float> numbers(512);
  std::mt19937 random(3);
  for (float& x : numbers) x = 0.25F * static_cast<float>(random() % 16) - 1;
  for (std::size_t i = 0; i < numbers.size(); i += 16) numbers[i] = -1, numbers[i + 1] = 2.75F;
  std::vector<float> read(numbers.size());
  decode(Encoding::Q8_0, encoded(Encoding::Q8_0, std::vector<float>(512, -3.5F)), read.data());
  EXPECT_NEAR(read[7], -3.5F, 2e-3F);
  decode(Encoding::Q4_K, encoded(Encoding::Q4_K, numbers), read.data());
  for (std::size_t i = 0; i < numbers.size(); ++i) EXPECT_NEAR(read[i], numbers[i], 3e-3F) << i;
}

TEST(Encode, EveryFloat16AndFloat8IsItself) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float x = from_half(static_cast<std::uint16_t>(bits));
    if (!std::isnan(x)) {
      ASSERT_EQ(to_half(x), bits);
    }
  }
  for (int bits = 0; bits < 256; ++bits) {
    const auto code = static_cast<std::byte>(bits);
    float x = 0;
    decode(Encoding::F8_E4M3, {&code, 1}, &x);
    if (!std::isnan(x)) {
      ASSERT_EQ(encoded(Encoding::F8_E4M3, {x})[0], code);
    }
  }
  for (int bits = 0; bits < 0x7E; ++bits) {  // between two codes the even one
    const std::byte codes[] = {static_cast<std::byte>(bits), static_cast<std::byte>(bits + 1)};
    float x[2];
    decode(Encoding::F8_E4M3, codes, x);
    EXPECT_EQ(encoded(Encoding::F8_E4M3, {(x[0] + x[1]) / 2})[0], codes[bits % 2]);
  }
  EXPECT_EQ(to_half(65519.9F), 0x7BFF);
  EXPECT_EQ(to_half(65520), 0x7C00);
  EXPECT_EQ(largest_of(std::vector<float>{1, -3, 2}), 3);
  EXPECT_TRUE(std::isnan(largest_of(std::vector<float>{1, std::nanf(""), INFINITY})));
}

// --- Tables

class EncodedTable : public testing::Test {
 protected:
  struct Tensor {
    std::vector<std::int64_t> shape;
    std::vector<float> numbers;
  };
  static Tensor random(std::vector<std::int64_t> shape, unsigned seed) {
    std::int64_t count = 1;
    for (const std::int64_t n : shape) count *= n;
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal(0, 0.05F);
    std::vector<float> numbers(static_cast<std::size_t>(count));
    for (float& x : numbers) x = normal(generator);
    return {std::move(shape), std::move(numbers)};
  }
  std::filesystem::path file(const std::map<std::string, Tensor>& tensors, const std::string& name = "a.safetensors") {
    Json header{{"__metadata__", {{"modelspec.title", "a"}, {"format", "pt"}}}};
    std::string data;
    for (const auto& [called, t] : tensors) {
      const std::size_t begin = data.size();
      data.append(reinterpret_cast<const char*>(t.numbers.data()), t.numbers.size() * 4);
      header[called] = {{"dtype", "F32"}, {"shape", t.shape}, {"data_offsets", {begin, data.size()}}};
    }
    return scratch_.write(name, safetensors_bytes(header.dump(), data));
  }
  std::shared_ptr<const TensorTable> table(const std::filesystem::path& path) {
    return std::make_shared<const TensorTable>(std::vector{path});
  }
  static std::vector<float> read(const TensorTable& table, const std::string& name) {
    const TensorTable::Entry& entry = table.tensors().at(name);
    std::vector<float> numbers(entry.where->elements());
    read_floats(entry, 0, numbers.size(), numbers.data());
    return numbers;
  }
  static TensorsToWrite all_of(const TensorFile& file) {
    TensorsToWrite what{.from = file, .tensors = {}, .metadata = file.metadata(), .threads = 3};
    for (const auto& [name, tensor] : file.tensors()) what.tensors.emplace(name, &tensor);
    return what;
  }

  Scratch scratch_;
  const std::string matrix_ = "transformer_blocks.0.ff.net.2.weight", kernel_ = "conv.weight";
};

TEST_F(EncodedTable, ReadsTheSameAsAFileThatItIsWrittenTo) {
  const auto plain = table(file({{matrix_, random({96, 512}, 1)}, {kernel_, random({4, 2, 3, 3}, 2)}}));
  for (const Quantize how : {Quantize::q8_0, Quantize::q4_k, Quantize::float8, Quantize::int8}) {
    SCOPED_TRACE(quantize_name(how));
    const Quantized q = quantized(plain, "", how);
    EXPECT_EQ(q.matrices, 1u);
    EXPECT_EQ(q.others, 0u);
    const bool blocks = how == Quantize::q8_0 || how == Quantize::q4_k;
    const EncodedTensors all(plain, [&](const std::string& name, const TensorTable::Entry& entry) {
      return std::optional(quantized_encoding(how, name, entry).value_or(entry.where->encoding));
    });
    const auto path = scratch_ / (blocks ? "b.gguf" : "b.safetensors");
    const std::uint64_t size = (blocks ? kGgufFormat : kSafetensorsFormat).write(path, all_of(all), true);
    EXPECT_EQ(size, std::filesystem::file_size(path));
    const TensorTable written({path});
    EXPECT_EQ(written.tensors().size(), 2u) << "scales are part of their codes";
    EXPECT_EQ(written.tensors().at(matrix_).where->encoding, q.table->tensors().at(matrix_).where->encoding);
    EXPECT_EQ(written.tensors().at(kernel_).where->shape, (std::vector<std::int64_t>{4, 2, 3, 3}));
    EXPECT_EQ(read(written, kernel_), read(*plain, kernel_));
    const std::vector<float> numbers = read(written, matrix_), exact = read(*plain, matrix_);
    EXPECT_EQ(numbers, read(*q.table, matrix_));
    double error = 0, length = 0;
    for (std::size_t i = 0; i < exact.size(); ++i)
      error += std::pow(numbers[i] - exact[i], 2), length += std::pow(exact[i], 2);
    EXPECT_LT(std::sqrt(error / length), how == Quantize::q4_k ? 0.08 : how == Quantize::float8 ? 0.03 : 0.01);
    EXPECT_GT(error, 0);
    // A part from anywhere, in whole blocks, is the same.
    const TensorTable::Entry& entry = q.table->tensors().at(matrix_);
    std::vector<std::byte> whole(entry.where->bytes()), part(entry.where->bytes() / 96 * 5);
    entry.file->read(*entry.where, 0, whole);
    entry.file->read(*entry.where, entry.where->bytes() / 96 * 7, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + std::ptrdiff_t(entry.where->bytes() / 96 * 7)));
  }
}

TEST_F(EncodedTable, RowsThatAreNoWholeBlocksFallBack) {
  const auto plain =
      table(file({{"blocks.0.a.weight", random({2, 96}, 1)}, {"blocks.0.b.weight", random({2, 40}, 2)}}));
  const Quantized q = quantized(plain, "", Quantize::q4_k);
  EXPECT_EQ(q.table->tensors().at("blocks.0.a.weight").where->encoding, Encoding::Q8_0);
  EXPECT_EQ(q.table->tensors().at("blocks.0.b.weight").where->encoding, Encoding::F32);
  EXPECT_EQ(q.others, 1u);
}

TEST(QuantizedEncoding, IsOfMatricesInBlocksAlone) {
  const StoredTensor matrix{Encoding::F16, {64, 64}, 0, 8192}, kernel{Encoding::F16, {64, 64, 1, 1}, 0, 8192},
      vector{Encoding::F16, {64}, 0, 128}, codes{Encoding::Q5_0, {64, 64}, 0, 2816};
  const auto is = [](const std::string& name, const StoredTensor& tensor) {
    return quantized_encoding(Quantize::q8_0, name, {nullptr, &tensor}).has_value();
  };
  for (const char* name :
       {"transformer_blocks.3.attn.to_q.weight", "single_transformer_blocks.0.norm.linear.weight",
        "double_blocks.0.img_mlp.0.weight", "model.diffusion_model.joint_blocks.1.x_block.attn.qkv.weight",
        "layers.0.attention.qkv.weight", "noise_refiner.1.feed_forward.w2.weight",
        "context_refiner.0.attention.to_q.weight", "model.layers.3.self_attn.q_proj.weight", "blocks.2.mlp.fc1.weight",
        "encoder.block.0.layer.0.SelfAttention.q.weight", "enc.blk.0.attn_q.weight",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight",
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.ff.net.0.proj.weight"}) {
    EXPECT_TRUE(is(name, matrix)) << name;
    EXPECT_FALSE(is(name, kernel)) << name;
    EXPECT_FALSE(is(name, vector)) << name;
    EXPECT_FALSE(is(name, codes)) << name << ": stays as it is stored";
  }
  for (const char* name : {"x_embedder.weight",
                           "context_embedder.weight",
                           "time_text_embed.timestep_embedder.linear_1.weight",
                           "t_block.1.weight",
                           "t_embedder.mlp.0.weight",
                           "final_layer.linear.weight",
                           "norm_out.linear.weight",
                           "proj_out.weight",
                           "down_blocks.0.resnets.0.time_emb_proj.weight",
                           "input_blocks.1.0.emb_layers.1.weight",
                           "down_blocks.0.attentions.0.proj_in.weight",
                           "label_emb.0.0.weight",
                           "mid_block.attentions.0.to_q.weight",
                           "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                           "enc.blk.0.attn_rel_b.weight",
                           "shared.weight",
                           "cap_embedder.1.weight",
                           "model.embed_tokens.weight",
                           "text_model.encoder.layers.0.self_attn.q_proj.weight",
                           "transformer.resblocks.0.attn.in_proj_weight",
                           "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight",
                           "transformer_blocks.0.scale_shift_table",
                           "transformer_blocks.0.attn.to_q.lora_A"})
    EXPECT_FALSE(is(name, matrix)) << name;
  EXPECT_FALSE(quantized_encoding(Quantize::none, "blocks.0.a.weight", {nullptr, &matrix}));
}

TEST_F(EncodedTable, NamesWhatHasNoCodes) {
  Tensor bad = random({2, 256}, 1);
  const auto refusal = [&](float number, Quantize how) {
    bad.numbers[300] = number;
    const Quantized q = quantized(table(file({{matrix_, bad}})), "", how);
    return message_of(Fault::input, [&] { read(*q.table, matrix_); });
  };
  for (const Quantize how : {Quantize::q8_0, Quantize::q4_k, Quantize::float8, Quantize::int8})
    for (const float number : {std::nanf(""), INFINITY, -INFINITY}) {
      const std::string message = refusal(number, how);
      EXPECT_CONTAINS(message, "a.safetensors: tensor '" + matrix_ + "' has NaN or infinity");
    }
  EXPECT_CONTAINS(refusal(1e8F, Quantize::q4_k), "has 1e+08, which is too large for Q4_K");
  EXPECT_CONTAINS(refusal(1e8F, Quantize::q8_0), "too large for Q8_0");
}

TEST_F(EncodedTable, GgufKeepsShapesThatItDoesNotHave) {
  const auto plain = table(file({{"k", random({2, 2, 2, 2, 32}, 1)}, {"v", random({5}, 2)}, {"s", random({}, 3)}}));
  const EncodedTensors all(plain, [](const std::string& name, const TensorTable::Entry&) {
    return std::optional(name == "k" ? Encoding::F16 : Encoding::F32);
  });
  TensorsToWrite what = all_of(all);
  what.metadata = {{"general.architecture", "flux"}};
  kGgufFormat.write(scratch_ / "a.gguf", what, true);
  const Gguf file(scratch_ / "a.gguf");
  EXPECT_EQ(file.tensors().at("k").shape, (std::vector<std::int64_t>{2, 2, 2, 2, 32}));
  EXPECT_EQ(file.tensors().at("s").shape, std::vector<std::int64_t>());
  EXPECT_EQ(file.metadata().at("general.architecture"), "flux");
  EXPECT_EQ(file.metadata().at("general.quantization_version"), "2");
  what.tensors = {{std::string(128, 'n'), &all.tensors().at("v")}};
  EXPECT_CONTAINS(message_of(Fault::input, [&] { kGgufFormat.write(scratch_ / "b.gguf", what, true); }),
                  "has 128 bytes");
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "b.gguf"));
}

TEST_F(EncodedTable, AFileIsWholeOrNotThere) {
  const auto plain = table(file({{"w", random({64, 64}, 1)}}));
  const EncodedTensors all(plain, [](const std::string&, const TensorTable::Entry&) { return Encoding::F16; });
  TensorsToWrite what = all_of(all);
  what.written = [](std::uint64_t) { throw Cancelled(); };
  EXPECT_THROW(kSafetensorsFormat.write(scratch_ / "b.safetensors", what, true), Cancelled);
  EXPECT_EQ(scratch_.names(), std::set<std::string>{"a.safetensors"});
  std::filesystem::resize_file(scratch_ / "a.safetensors", 4000);
  what.written = {};
  EXPECT_CONTAINS(message_of(Fault::input, [&] { kSafetensorsFormat.write(scratch_ / "b.safetensors", what, true); }),
                  "a.safetensors");
  EXPECT_EQ(scratch_.names(), std::set<std::string>{"a.safetensors"});
}

TEST(AtomicFile, MustHoldWhatWasPromised) {
  const Scratch scratch;
  const std::string bytes = "four";
  const auto make = [&](const Put& put) { put(std::as_bytes(std::span(bytes))); };
  message_of(Fault::internal, [&] { write_file_atomically(scratch / "a", 5, make, true); });
  EXPECT_TRUE(scratch.names().empty());
  write_file_atomically(scratch / "a", 4, make, true);
  EXPECT_EQ(contents(scratch / "a"), "four");
  message_of(Fault::output, [&] { write_file_atomically(scratch / "a", 4, make, /*overwrite=*/false); });
}

}  // namespace
}  // namespace sdgen
