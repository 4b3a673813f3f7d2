// A test for each rule of the format (ggml's docs/gguf.md), then the numbers of its blocks beside the reference
// reader's (tests/fixtures/encodings.safetensors).
#include "io/gguf.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "base/scratch.h"
#include "io/decode.h"
#include "io/safetensors.h"
#include "io/tensor_table.h"

namespace sdgen {
namespace {

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
std::string text(std::string_view value) { return raw<std::uint64_t>(value.size()) + std::string(value); }

struct Part {
  std::string name;
  std::vector<std::uint64_t> shape;  // as the format has it, the fastest first
  std::uint32_t type;
  std::uint64_t offset;
};

// A file of parts, and `data` bytes behind the padding.
struct File {
  std::uint32_t version = 3;
  std::vector<std::string> entries;  // key, type, value
  std::vector<Part> parts;
  std::size_t data = 0, alignment = 32;

  std::string header() const {
    std::string bytes = "GGUF" + raw(version) + raw<std::uint64_t>(parts.size()) + raw<std::uint64_t>(entries.size());
    for (const std::string& entry : entries) bytes += entry;
    for (const Part& part : parts) {
      bytes += text(part.name) + raw<std::uint32_t>(static_cast<std::uint32_t>(part.shape.size()));
      for (const std::uint64_t n : part.shape) bytes += raw(n);
      bytes += raw(part.type) + raw(part.offset);
    }
    return bytes;
  }
  std::string bytes() const {
    std::string all = header();
    all.resize((all.size() + alignment - 1) / alignment * alignment + data);
    return all;
  }
};

std::string word(std::string_view key, std::string_view value) {
  return text(key) + raw<std::uint32_t>(8) + text(value);
}
std::string list(std::string_view key, const std::vector<std::int32_t>& values) {
  std::string bytes = text(key) + raw<std::uint32_t>(9) + raw<std::uint32_t>(5) + raw<std::uint64_t>(values.size());
  for (const std::int32_t value : values) bytes += raw(value);
  return bytes;
}

std::string texts(std::string_view key, const std::vector<std::string>& values) {
  std::string bytes = text(key) + raw<std::uint32_t>(9) + raw<std::uint32_t>(8) + raw<std::uint64_t>(values.size());
  for (const std::string& value : values) bytes += text(value);
  return bytes;
}

constexpr std::uint32_t kF32 = 0, kQ8 = 8, kQ4K = 12;

class GgufTest : public testing::Test {
 protected:
  Gguf open(const std::string& bytes) { return Gguf(scratch_.write("a.gguf", bytes)); }
  std::string refusal(const std::string& bytes) {
    const std::string message = message_of(Fault::input, [&] { open(bytes); });
    EXPECT_TRUE(message.starts_with((scratch_ / "a.gguf").string() + ": ")) << message;
    return message;
  }
  std::string refusal(const File& file) { return refusal(file.bytes()); }

  // Metadata of every type, a float32 vector, and eight-bit blocks that were a kernel of 3x3 before.
  File valid() const {
    return {.entries = {word("general.architecture", "flux"), list("comfy.gguf.orig_shape.q", {2, 4, 2, 4}),
                        text("n") + raw<std::uint32_t>(4) + raw<std::uint32_t>(7),
                        text("yes") + raw<std::uint32_t>(7) + raw<std::uint8_t>(1),
                        text("words") + raw<std::uint32_t>(9) + raw<std::uint32_t>(8) + raw<std::uint64_t>(2) +
                            text("a") + text("bc")},
            .parts = {{"v", {3}, kF32, 0}, {"q", {32, 2}, kQ8, 32}},
            .data = 32 + 68};
  }

  Scratch scratch_;
};

TEST_F(GgufTest, ReadsNamesShapesAndMetadata) {
  const Gguf file = open(valid().bytes());
  ASSERT_EQ(file.tensors().size(), 2u);
  const StoredTensor &v = file.tensors().at("v"), &q = file.tensors().at("q");
  EXPECT_EQ(v.shape, (std::vector<std::int64_t>{3}));
  EXPECT_EQ(v.encoding, Encoding::F32);
  EXPECT_EQ(q.shape, (std::vector<std::int64_t>{2, 4, 2, 4})) << "what it was before";
  EXPECT_EQ(q.encoding, Encoding::Q8_0);
  EXPECT_EQ(q.elements(), 64u);
  EXPECT_EQ(q.begin, v.begin + 32);
  EXPECT_EQ(v.begin % 32, 0u);
  const TensorFile::Metadata expected = {{"general.architecture", "flux"}, {"n", "7"}, {"yes", "true"}};
  EXPECT_EQ(file.metadata(), expected);
  File plain = valid();
  plain.entries.erase(plain.entries.begin() + 1);
  EXPECT_EQ(open(plain.bytes()).tensors().at("q").shape, (std::vector<std::int64_t>{2, 32})) << "rows come first";
  plain.version = 2;
  EXPECT_EQ(open(plain.bytes()).tensors().size(), 2u);
  const TensorTable table({scratch_.write("b.gguf", plain.bytes())});
  EXPECT_NE(table.find("q"), nullptr) << "known by its first bytes";
}

TEST_F(GgufTest, AlignmentIsTheFiles) {
  File file = valid();
  file.entries.push_back(text("general.alignment") + raw<std::uint32_t>(4) + raw<std::uint32_t>(128));
  file.alignment = 128;
  file.parts[1].offset = 128;
  file.data = 128 + 68;
  EXPECT_EQ(open(file.bytes()).tensors().at("v").begin % 128, 0u);
  for (const std::uint32_t wrong : {0u, 3u, 48u, 1u << 30}) {
    file.entries.back() = text("general.alignment") + raw<std::uint32_t>(4) + raw(wrong);
    EXPECT_CONTAINS(refusal(file), "power of two");
  }
  file.entries.back() = word("general.alignment", "32");
  EXPECT_CONTAINS(refusal(file), "power of two");
}

TEST_F(GgufTest, EveryTruncationIsRefused) {
  const std::string whole = valid().bytes();
  for (std::size_t size = 4; size < whole.size(); ++size) refusal(whole.substr(0, size));
  open(whole);
}

TEST_F(GgufTest, SaysWhatIsWrong) {
  const auto with = [this](const auto& change) {
    File file = valid();
    change(file);
    return refusal(file);
  };
  EXPECT_CONTAINS(with([](File& f) { f.version = 1; }), "GGUF of version 1, sdgen reads 2 and 3");
  EXPECT_CONTAINS(with([](File& f) { f.version = 0x03000000; }), "big-endian");
  EXPECT_CONTAINS(with([](File& f) { f.parts[1].name = "v"; }), "tensor 'v' is there twice");
  EXPECT_CONTAINS(with([](File& f) { f.entries.push_back(f.entries[0]); }), "'general.architecture' is there twice");
  EXPECT_CONTAINS(with([](File& f) { f.entries.push_back(f.entries[1]); }), "is there twice");
  EXPECT_CONTAINS(with([](File& f) { f.parts[0].shape = {1, 1, 1, 1, 3}; }), "has 5 dimensions, GGUF has up to 4");
  EXPECT_CONTAINS(with([](File& f) { f.parts[0].shape = {1ull << 63}; }), "overflows 64 bits");
  EXPECT_CONTAINS(with([](File& f) { f.parts[0].shape = {1ull << 31, 1ull << 31, 1ull << 31}; }), "overflows 64 bits");
  EXPECT_CONTAINS(with([](File& f) { f.parts[1].shape = {31, 2}; }), "rows of 31 numbers are no whole blocks of Q8_0");
  EXPECT_CONTAINS(with([](File& f) { f.parts[1].type = 17; }),
                  "tensor 'q' is stored as IQ2_XS, which sdgen does not read");
  for (const auto& [type, name] : {std::pair{9u, "Q8_1"},
                                   {15, "Q8_K"},
                                   {16, "IQ2_XXS"},
                                   {18, "IQ3_XXS"},
                                   {19, "IQ1_S"},
                                   {21, "IQ3_S"},
                                   {22, "IQ2_S"},
                                   {23, "IQ4_XS"},
                                   {29, "IQ1_M"},
                                   {34, "TQ1_0"},
                                   {35, "TQ2_0"},
                                   {39, "MXFP4"},
                                   {40, "NVFP4"}})
    EXPECT_CONTAINS(with([type = type](File& f) { f.parts[1].type = type; }),
                    concat("is stored as ", name, ", which sdgen does not read; get the model as Q8_0 or Q4_K"));
  EXPECT_CONTAINS(with([](File& f) { f.parts[1].type = 4; }), "is of type 4, which sdgen does not know");
  EXPECT_CONTAINS(with([](File& f) { f.parts[1].offset = 40; }), "which 32, the alignment, does not divide");
  EXPECT_CONTAINS(with([](File& f) { f.parts[1].offset = 0; }), "within another tensor");
  EXPECT_CONTAINS(with([](File& f) { f.parts[1].offset = 64, f.data += 32; }), "there is a hole");
  EXPECT_CONTAINS(with([](File& f) { f.parts[1].offset = ~0ull - 31; }), "overflows 64 bits");
  EXPECT_CONTAINS(with([](File& f) { f.data += 64; }), "bytes follow after the last tensor");
  EXPECT_CONTAINS(with([](File& f) {
                    f.entries[1] = list("comfy.gguf.orig_shape.q", {2, 4, 2, 3});
                  }),
                  "has 48 numbers, the tensor 64");
  EXPECT_CONTAINS(with([](File& f) { f.entries[1] = list("comfy.gguf.orig_shape.x", {2}); }), "shape of no tensor");
  EXPECT_CONTAINS(with([](File& f) { f.entries[1] = list("comfy.gguf.orig_shape.q", {-8, -8}); }), "is no shape");
  EXPECT_CONTAINS(with([](File& f) { f.entries.push_back(text("x") + raw<std::uint32_t>(13)); }), "has type 13");
  EXPECT_CONTAINS(
      with([](File& f) {
        f.entries.push_back(text("x") + raw<std::uint32_t>(9) + raw<std::uint32_t>(9) + raw<std::uint64_t>(1));
      }),
      "a list of lists");
  EXPECT_CONTAINS(with([](File& f) { f.entries.push_back(raw<std::uint64_t>(1ull << 40)); }), "sdgen reads up to");
  EXPECT_CONTAINS(refusal("GGUF" + raw<std::uint32_t>(3) + raw<std::uint64_t>(1ull << 40) + raw<std::uint64_t>(0)),
                  "tensors, sdgen reads up to");
  EXPECT_CONTAINS(refusal("GGUF" + raw<std::uint32_t>(3) + raw<std::uint64_t>(0) + raw<std::uint64_t>(1ull << 40)),
                  "entries of metadata, sdgen reads up to");
}

TEST_F(GgufTest, DamagedBytesAreReadOrRefused) {
  std::mt19937 random(5);
  const std::string whole = valid().bytes();
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = whole;
    for (unsigned n = 0; n <= random() % 3; ++n) bytes[4 + random() % (bytes.size() - 4)] = static_cast<char>(random());
    try {
      const Gguf file = open(bytes);
      for (const auto& [name, where] : file.tensors()) {
        std::vector<std::byte> out(where.bytes());
        file.read(where, 0, out);
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::input) << error.what();
    }
  }
}

// --- Numbers

std::vector<std::byte> bytes_of(const TensorFile& file, const std::string& name) {
  const StoredTensor& where = file.tensors().at(name);
  std::vector<std::byte> bytes(where.bytes());
  file.read(where, 0, bytes);
  return bytes;
}

TEST(Decode, BlocksAreTheReferenceReaders) {
  const Safetensors file(std::filesystem::path(SDGEN_FIXTURES) / "encodings.safetensors");
  int encodings = 0;
  for (const auto& [name, where] : file.tensors()) {
    if (!name.ends_with(".blocks")) continue;
    const std::string called = name.substr(0, name.size() - 7);
    SCOPED_TRACE(called);
    const std::optional<Encoding> encoding = find_encoding(called);
    ASSERT_TRUE(encoding && decodes(*encoding));
    const std::vector<std::byte> blocks = bytes_of(file, name), numbers = bytes_of(file, called + ".numbers");
    const std::size_t count = blocks.size() / info_of(*encoding).bytes * info_of(*encoding).elements;
    ASSERT_EQ(numbers.size(), count * sizeof(float));
    std::vector<float> ours(count), right(count);
    std::memcpy(right.data(), numbers.data(), numbers.size());
    decode(*encoding, blocks, ours.data());
    for (std::size_t i = 0; i < count; ++i) {
      if (std::isnan(right[i]))
        EXPECT_TRUE(std::isnan(ours[i])) << i;
      else
        EXPECT_EQ(std::bit_cast<std::uint32_t>(ours[i]), std::bit_cast<std::uint32_t>(right[i])) << i;
    }
    ++encodings;
  }
  EXPECT_EQ(encodings, 15);
}

TEST_F(GgufTest, NumbersFromTheMiddleOfBlocks) {
  File file;
  file.parts = {{"k", {512, 40}, kQ4K, 0}};
  file.data = std::size_t{40} * 2 * 144;
  std::string bytes = file.bytes();
  std::mt19937 random(7);
  for (std::size_t i = bytes.size() - file.data; i < bytes.size(); ++i) bytes[i] = static_cast<char>(random() % 60);
  const TensorTable table({scratch_.write("k.gguf", bytes)});
  const TensorTable::Entry& entry = table.tensors().at("k");
  std::vector<float> whole(512 * 40);
  read_floats(entry, 0, whole.size(), whole.data());
  for (const auto& [first, count] : {std::pair<std::size_t, std::size_t>{0, 1}, {255, 2}, {1000, 17000}, {20479, 1}}) {
    std::vector<float> part(count);
    read_floats(entry, first, count, part.data());
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(first))) << first;
  }
}

TEST_F(GgufTest, GivesListsOfItsMetadata) {
  const std::vector<std::string> tokens = {"a", "b", "\u0120c"};
  const File file{.entries = {word("general.architecture", "qwen3"), list("other.list", {7}),
                              texts("tokenizer.ggml.tokens", tokens), word("tokenizer.ggml.pre", "qwen2"),
                              list("tokenizer.ggml.token_type", {1, 3, 4})},
                  .parts = {}};
  const std::filesystem::path path = scratch_.write("lists.gguf", file.bytes());
  const GgufLists lists = gguf_lists(path, "tokenizer.ggml.");
  EXPECT_EQ(lists.texts, (std::map<std::string, std::vector<std::string>>{{"tokenizer.ggml.tokens", tokens}}));
  EXPECT_EQ(lists.numbers,
            (std::map<std::string, std::vector<std::int64_t>>{{"tokenizer.ggml.token_type", {1, 3, 4}}}));
  EXPECT_EQ(Gguf(path).metadata().at("tokenizer.ggml.pre"), "qwen2");
  std::string cut = file.bytes();
  cut.resize(file.header().size() - 6);
  EXPECT_CONTAINS(message_of(Fault::input, [&] { gguf_lists(scratch_.write("cut.gguf", cut), "tokenizer.ggml."); }),
                  "tokenizer.ggml.token_type");
}

}  // namespace
}  // namespace sdgen
