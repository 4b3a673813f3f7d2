// A test for each rule of the format (github.com/huggingface/safetensors, README and tensor.rs), then what goes beyond.
#include "io/safetensors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <random>

#include "base/scratch.h"

namespace sdgen {
namespace {

class SafetensorsTest : public testing::Test {
 protected:
  Safetensors open(std::string_view bytes) { return Safetensors(scratch_.write("a.safetensors", bytes)); }

  // The message that refuses these bytes; it begins with the file's name.
  std::string refusal(std::string_view bytes) {
    const std::string message = message_of(Fault::input, [&] { open(bytes); });
    EXPECT_TRUE(message.starts_with((scratch_ / "a.safetensors").string() + ": ")) << message;
    return message;
  }
  std::string refusal(std::string_view header, std::string_view data) {
    return refusal(safetensors_bytes(header, data));
  }

  // A file of one tensor 't' of 8 bytes that is described so.
  std::string tensor_refusal(std::string_view description) {
    return refusal("{\"t\":" + std::string(description) + "}", "12345678");
  }

  Scratch scratch_;
};

constexpr std::string_view kValid =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,2],"data_offsets":[4,12]},)"
    R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})";

TEST_F(SafetensorsTest, ReadsNamesShapesAndBytes) {
  const Safetensors file = open(safetensors_bytes(kValid, "AAAAbbbbBBBB"));
  ASSERT_EQ(file.tensors().size(), 2u);
  const StoredTensor& a = file.tensors().at("a");
  const StoredTensor& b = file.tensors().at("b");
  EXPECT_EQ(a.encoding, Encoding::F32);
  EXPECT_TRUE(a.shape.empty());
  EXPECT_EQ(b.encoding, Encoding::F16);
  EXPECT_EQ(b.shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(b.begin, 8 + kValid.size() + 4);
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  std::string bytes(4, '\0');
  file.read(b, 2, std::as_writable_bytes(std::span(bytes)));
  EXPECT_EQ(bytes, "bbBB");
  file.read(b, 8, {});
}

TEST_F(SafetensorsTest, CanBeMoved) {
  Safetensors first = open(safetensors_bytes(kValid, "AAAAbbbbBBBB"));
  const Safetensors second = std::move(first);
  std::string bytes(4, '\0');
  second.read(second.tensors().at("a"), 0, std::as_writable_bytes(std::span(bytes)));
  EXPECT_EQ(bytes, "AAAA");
}

TEST_F(SafetensorsTest, RefusesToReadBeyondATensor) {
  const Safetensors file = open(safetensors_bytes(kValid, "AAAAbbbbBBBB"));
  std::byte bytes[8];
  const StoredTensor& a = file.tensors().at("a");
  message_of(Fault::internal, [&] { file.read(a, 0, std::span(bytes, 5)); });
  message_of(Fault::internal, [&] { file.read(a, 5, std::span(bytes, 0)); });
  message_of(Fault::internal, [&] { file.read(a, UINT64_MAX, std::span(bytes, 2)); });
}

TEST_F(SafetensorsTest, KnowsEveryDtype) {
  for (int i = 0; i <= static_cast<int>(Encoding::U64); ++i) {
    const Encoding encoding = static_cast<Encoding>(i);
    const auto& [name, elements, size] = info_of(encoding);
    EXPECT_EQ(elements, 1u) << name;
    const Safetensors file = open(
        safetensors_bytes(concat(R"({"t":{"dtype":")", name, R"(","shape":[3],"data_offsets":[0,)", 3 * size, "]}}"),
                          std::string(3 * size, 'x')));
    const StoredTensor& tensor = file.tensors().at("t");
    EXPECT_EQ(tensor.encoding, encoding);
    EXPECT_EQ(tensor.elements(), 3u);
    EXPECT_EQ(tensor.bytes(), 3 * size);
  }
  EXPECT_EQ(info_of(Encoding::BF16).bytes, 2u);
  EXPECT_STREQ(info_of(Encoding::F8_E4M3).name, "F8_E4M3");
}

// --- what must be accepted

TEST_F(SafetensorsTest, AcceptsNoTensors) {
  EXPECT_TRUE(open(safetensors_bytes("{}")).tensors().empty());
  EXPECT_TRUE(open(safetensors_bytes(R"({"__metadata__":{}})")).metadata().empty());
}

TEST_F(SafetensorsTest, AcceptsWhitespaceAroundTheHeader) {
  EXPECT_TRUE(open(safetensors_bytes("{}      ")).tensors().empty());
  EXPECT_TRUE(open(safetensors_bytes(" \n\t\r{}")).tensors().empty());
}

TEST_F(SafetensorsTest, AcceptsEmptyTensors) {
  const Safetensors file = open(safetensors_bytes(R"({"e":{"dtype":"F32","shape":[2,0],"data_offsets":[0,0]},)"
                                                  R"("f":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                                  R"("g":{"dtype":"F64","shape":[0],"data_offsets":[1,1]}})",
                                                  "x"));
  EXPECT_EQ(file.tensors().at("e").shape, (std::vector<std::int64_t>{2, 0}));
  EXPECT_EQ(file.tensors().at("g").begin, file.tensors().at("g").end);
}

TEST_F(SafetensorsTest, AcceptsUnicodeNames) {
  EXPECT_EQ(open(safetensors_bytes(R"({"苹果":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"))
                .tensors()
                .count("苹果"),
            1u);
}

// --- the size of the header

TEST_F(SafetensorsTest, RefusesFilesWithoutASize) {
  EXPECT_CONTAINS(refusal(""), "has 0 bytes, too few");
  EXPECT_CONTAINS(refusal("1234567"), "has 7 bytes, too few");
  EXPECT_CONTAINS(refusal(std::string(8, '\0')), "is not a JSON object");
  EXPECT_CONTAINS(refusal(std::string(4096, '\0')), "a download that reserved the space");
}

TEST_F(SafetensorsTest, RefusesHugeHeaders) {
  EXPECT_CONTAINS(refusal(std::string("\x3c\0\0\0\0\xff\xff\xff", 8) + "{}"), "18446742974197923900 bytes");
  EXPECT_CONTAINS(refusal(std::string(8, '\xff')), "18446744073709551615 bytes");
  EXPECT_CONTAINS(refusal(std::string("\x01\xe1\xf5\x05\0\0\0\0", 8)), "the format allows 100000000");
}

TEST_F(SafetensorsTest, RefusesHeadersBeyondTheEnd) {
  EXPECT_CONTAINS(refusal(std::string("\x03\0\0\0\0\0\0\0{}", 10)),
                  "has 3 bytes, but only 2 are there (incomplete download?)");
  EXPECT_CONTAINS(refusal(std::string("\x00\xe1\xf5\x05\0\0\0\0", 8)), "has 100000000 bytes, but only 0 are there");
}

// --- the header's text

TEST_F(SafetensorsTest, RefusesHeadersThatAreNoJsonObject) {
  EXPECT_CONTAINS(refusal("{\"a\xff\":1}", ""), "not valid UTF-8");
  EXPECT_CONTAINS(refusal("\xff", ""), "is not a JSON object");
  EXPECT_CONTAINS(refusal("{", ""), "not valid JSON");
  EXPECT_CONTAINS(refusal("[]", ""), "is not a JSON object");
  EXPECT_CONTAINS(refusal("\"{}\"", ""), "is not a JSON object");
  EXPECT_CONTAINS(refusal("\xef\xbb\xbf{}", ""), "is not a JSON object");
  EXPECT_CONTAINS(refusal("{} {}", ""), "not valid JSON");
  EXPECT_CONTAINS(refusal(std::string_view("{}\0\0", 4), ""), "NUL byte");
  EXPECT_CONTAINS(refusal(std::string_view("{}\0{\"t\":1}", 10), ""), "NUL byte");
}

TEST_F(SafetensorsTest, RefusesWrongTypes) {
  EXPECT_CONTAINS(tensor_refusal("1"), "tensor 't' is not described by an object");
  EXPECT_CONTAINS(tensor_refusal("null"), "tensor 't' is not described by an object");
  EXPECT_CONTAINS(tensor_refusal("{}"), "tensor 't' has no 'dtype'");
  EXPECT_CONTAINS(tensor_refusal(R"({"dtype":"U8","data_offsets":[0,8]})"), "has no 'shape'");
  EXPECT_CONTAINS(tensor_refusal(R"({"dtype":"U8","shape":[8]})"), "has no 'data_offsets'");
  EXPECT_CONTAINS(tensor_refusal(R"({"dtype":8,"shape":[8],"data_offsets":[0,8]})"), "dtype is not a string");
  EXPECT_CONTAINS(tensor_refusal(R"({"dtype":"U8","shape":8,"data_offsets":[0,8]})"), "shape is not a list");
  EXPECT_CONTAINS(tensor_refusal(R"({"dtype":"U8","shape":{"0":8},"data_offsets":[0,8]})"), "shape is not a list");
  for (const char* number : {"-8", "8.0", "7.5", "\"8\"", "true", "null", "[]", "18446744073709551616", "8e0"}) {
    EXPECT_CONTAINS(tensor_refusal(concat(R"({"dtype":"U8","shape":[)", number, R"(],"data_offsets":[0,8]})")),
                    "dimension 0 of its shape is not a non-negative integer");
    EXPECT_CONTAINS(tensor_refusal(concat(R"({"dtype":"U8","shape":[8],"data_offsets":[0,)", number, "]}")),
                    "the end of its data_offsets is not a non-negative integer");
  }
  for (const char* offsets : {"[]", "[8]", "[0,8,8]", "8", "{}"}) {
    EXPECT_CONTAINS(tensor_refusal(concat(R"({"dtype":"U8","shape":[8],"data_offsets":)", offsets, "}")),
                    "data_offsets are not a list of two");
  }
}

TEST_F(SafetensorsTest, RefusesMetadataThatIsNoText) {
  EXPECT_CONTAINS(refusal(R"({"__metadata__":[]})", ""), "__metadata__ is not an object");
  EXPECT_CONTAINS(refusal(R"({"__metadata__":null})", ""), "__metadata__ is not an object");
  EXPECT_CONTAINS(refusal(R"({"__metadata__":{"k":1}})", ""), "__metadata__ 'k' is not a string");
  EXPECT_CONTAINS(refusal(R"({"__metadata__":{"k":{"l":"m"}}})", ""), "__metadata__ 'k' is not a string");
}

TEST_F(SafetensorsTest, RefusesDuplicateNames) {
  const std::string twice = R"("t":{"dtype":"U8","shape":[8],"data_offsets":[0,8]})";
  EXPECT_CONTAINS(refusal("{" + twice + "," + twice + "}", "12345678"), "has the key 't' twice");
  EXPECT_CONTAINS(tensor_refusal(R"({"dtype":"U8","shape":[8],"shape":[8],"data_offsets":[0,8]})"), "'shape' twice");
  EXPECT_CONTAINS(refusal(R"({"__metadata__":{"k":"1","k":"2"}})", ""), "'k' twice");
}

TEST_F(SafetensorsTest, RefusesDeepNesting) {
  EXPECT_CONTAINS(refusal("{\"t\":" + std::string(5'000'000, '['), ""), "nested deeper than 4");
}

TEST_F(SafetensorsTest, RefusesUnknownDtypesByName) {
  const auto dtype = [&](const std::string& name) {
    return tensor_refusal("{\"dtype\":\"" + name + R"(","shape":[8],"data_offsets":[0,8]})");
  };
  EXPECT_CONTAINS(dtype("C64"), "tensor 't' has dtype 'C64', which sdgen does not know");
  EXPECT_CONTAINS(dtype("f32"), "dtype 'f32'");
  EXPECT_CONTAINS(dtype(""), "dtype ''");
  EXPECT_CONTAINS(dtype("\\u001b[2J"), "dtype '\\x1b[2J'");
  for (const char* packed : {"F4", "F6_E2M3", "F6_E3M2"}) EXPECT_CONTAINS(dtype(packed), "packs several elements");
}

// --- shapes and sizes

TEST_F(SafetensorsTest, RefusesShapesThatDisagreeWithTheOffsets) {
  EXPECT_CONTAINS(tensor_refusal(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"),
                  "tensor 't': its shape and dtype need 12 bytes, its data_offsets [0, 8] hold 8");
  EXPECT_CONTAINS(tensor_refusal(R"({"dtype":"F32","shape":[0],"data_offsets":[0,8]})"), "need 0 bytes");
  EXPECT_CONTAINS(tensor_refusal(R"({"dtype":"F64","shape":[],"data_offsets":[0,0]})"), "need 8 bytes");
}

TEST_F(SafetensorsTest, RefusesShapesThatOverflow) {
  for (const char* shape : {"[2,18446744073709551614]", "[2,9223372036854775807]", "[4294967296,4294967296]",
                            "[9223372036854775808]", "[18446744073709551615]", "[4611686018427387904]",
                            "[0,4611686018427387904,4611686018427387904]", "[4294967296,4294967296,0]"}) {
    EXPECT_CONTAINS(tensor_refusal(concat(R"({"dtype":"F16","shape":)", shape, R"(,"data_offsets":[0,0]})")),
                    "its shape overflows");
  }
}

TEST_F(SafetensorsTest, RefusesManyDimensions) {
  EXPECT_CONTAINS(tensor_refusal(R"({"dtype":"U8","shape":[1,1,1,1,1,1,1,1,8],"data_offsets":[0,8]})"),
                  "has 9 dimensions, sdgen reads up to 8");
}

// --- offsets

TEST_F(SafetensorsTest, RefusesOffsetsThatDoNotTile) {
  const auto two = [&](const char* a, const char* b) {
    return refusal(concat(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)", a,
                          R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)", b, "}}"),
                   "12345678");
  };
  EXPECT_CONTAINS(two("[0,4]", "[0,4]"),
                  "tensor 'b' begins at byte 0 of the data, but tensor 'a' ends at 4: they overlap");
  EXPECT_CONTAINS(two("[0,4]", "[3,7]"), "they overlap");
  EXPECT_CONTAINS(two("[4,8]", "[4,8]"),
                  "tensor 'a' begins at byte 4 of the data, but the header ends at 0: there is a hole");
  EXPECT_CONTAINS(two("[0,4]", "[5,9]"), "there is a hole");
  EXPECT_CONTAINS(two("[1,5]", "[5,9]"), "there is a hole");
  EXPECT_CONTAINS(two("[4,0]", "[4,8]"), "its data_offsets [4, 0] run backwards");
  EXPECT_CONTAINS(two("[0,4]", "[18446744073709551612,18446744073709551615]"), "need 4 bytes");
  EXPECT_CONTAINS(two("[0,4]", "[18446744073709551611,18446744073709551615]"), "there is a hole");
}

TEST_F(SafetensorsTest, RefusesAnEmptyTensorInTheMiddleOfAnother) {
  EXPECT_CONTAINS(refusal(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                          R"("e":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                          "1234"),
                  "they overlap");
}

TEST_F(SafetensorsTest, RefusesManyTensorsOnOneRange) {
  std::string header = "{";
  for (int i = 0; i < 1000; ++i) {
    header += concat(i == 0 ? "" : ",", "\"t", i, R"(":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})");
  }
  EXPECT_CONTAINS(refusal(header + "}", std::string(16, 'x')), "they overlap");
}

TEST_F(SafetensorsTest, RefusesDataThatIsCutOrTooLong) {
  const std::string whole = safetensors_bytes(kValid, "AAAAbbbbBBBB");
  EXPECT_CONTAINS(refusal(whole.substr(0, whole.size() - 2)),
                  "the header promises 12 bytes of tensors, the file has 10 (incomplete download?)");
  EXPECT_CONTAINS(refusal(whole + "extra_bogus_data_for_polyglot_file"), "34 bytes follow after the last tensor");
  EXPECT_CONTAINS(refusal("{}", "PK"), "2 bytes follow");
}

// --- memory and time

TEST_F(SafetensorsTest, RefusesCountsThatWouldEatMemory) {
  const auto header = [](int tensors) {
    std::string text = "{";
    text.reserve(std::size_t{60} * static_cast<std::size_t>(tensors));
    for (int i = 0; i < tensors; ++i) {
      text += i == 0 ? "\"" : ",\"";
      text += std::to_string(i);
      text += R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    }
    return text + "}";
  };
  const std::string legal = header(450'000);
  EXPECT_CONTAINS(refusal(legal, ""), "header: holds more than 2800000 values");
  EXPECT_CONTAINS(refusal(header(200'001), ""), "has 200001 tensors, sdgen reads up to 200000");
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  EXPECT_LT(usage.ru_maxrss, 1'500'000 * kSanitizersShare) << "kilobytes";
}

// --- files that are something else

TEST_F(SafetensorsTest, SaysWhatAFileIsInstead) {
  EXPECT_CONTAINS(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull");
  EXPECT_CONTAINS(refusal("<!DOCTYPE html><html>"), "it is a web page");
  EXPECT_CONTAINS(refusal("\n <html><head>"), "it is a web page");
  EXPECT_CONTAINS(refusal("{\"error\":\"Repository not found\"}"), "it is JSON");
  EXPECT_CONTAINS(refusal("Entry not found"), "it is text, not the weights, and begins with 'Entry not found'");
  EXPECT_CONTAINS(refusal(std::string("PK\x03\x04\0\0\x08\x08\0\0", 10)), "it is a pickle");
  EXPECT_CONTAINS(refusal("\x80\x02\x8a\nl\xfc\x9c\x46\xf9"), "it is a pickle");
  EXPECT_CONTAINS(refusal("\x89HDF\r\n\x1a\n"), "HDF5");
  EXPECT_CONTAINS(refusal("\x1f\x8b\x08\x08"
                          "abcdef"),
                  "compressed");
  EXPECT_CONTAINS(refusal("\x01\x02\x03\x04\x05\x06\x07\x08"), "header's size");
}

TEST_F(SafetensorsTest, RefusesWhatIsNoRegularFile) {
  const auto refusal_of = [](const std::filesystem::path& path) {
    return message_of(Fault::input, [&] { Safetensors file(path); });
  };
  EXPECT_CONTAINS(refusal_of(scratch_ / "missing"), "cannot be opened: No such file");
  EXPECT_CONTAINS(refusal_of(scratch_.folder()), "is a folder, expected a regular file");
  EXPECT_CONTAINS(refusal_of("/dev/zero"), "is a device");
  ASSERT_EQ(mkfifo((scratch_ / "pipe").c_str(), 0600), 0);
  EXPECT_CONTAINS(refusal_of(scratch_ / "pipe"), "is a pipe");
  std::filesystem::create_symlink("nowhere", scratch_ / "link");
  EXPECT_CONTAINS(refusal_of(scratch_ / "link"), "No such file");
}

TEST_F(SafetensorsTest, SaysThatAFileShrank) {
  const Safetensors file = open(safetensors_bytes(kValid, "AAAAbbbbBBBB"));
  std::filesystem::resize_file(file.path(), 8 + kValid.size() + 6);
  std::string bytes(8, '\0');
  file.read(file.tensors().at("a"), 0, std::as_writable_bytes(std::span(bytes)).first(4));
  const std::string message =
      message_of(Fault::input, [&] { file.read(file.tensors().at("b"), 0, std::as_writable_bytes(std::span(bytes))); });
  EXPECT_CONTAINS(message, file.path().string());
  EXPECT_CONTAINS(message, "shrank while it was read");
}

// --- mutations: every file is either read or refused with Error(input)

// Opens these bytes and, if they are accepted, reads every tensor.
void open_and_read(const std::filesystem::path& path) {
  try {
    const Safetensors file(path);
    for (const auto& [name, entry] : file.tensors()) {
      std::string bytes(entry.bytes(), '\0');
      file.read(entry, 0, std::as_writable_bytes(std::span(bytes)));
    }
  } catch (const Error& error) {
    ASSERT_EQ(error.fault(), Fault::input) << error.what();
  }
}

TEST_F(SafetensorsTest, RefusesEveryTruncation) {
  const std::string whole = safetensors_bytes(kValid, "AAAAbbbbBBBB");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(refusal(whole.substr(0, size)), "") << size;
  }
}

TEST_F(SafetensorsTest, SurvivesMutations) {
  const std::string whole = safetensors_bytes(kValid, "AAAAbbbbBBBB");
  constexpr std::string_view syntax("{}[]\",:0123456789-.eE \\u\0\xff", 27);
  std::mt19937 random(1);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (int round = 0; round < 5000; ++round) {
    std::string bytes = whole;
    for (std::size_t edits = 1 + below(4); edits > 0; --edits) {
      // Mostly the header: its size is fixed up below, so that the mutation reaches the parser.
      const std::size_t at = below(8) == 0 ? below(bytes.size()) : 8 + below(std::min(bytes.size(), kValid.size()) - 8);
      switch (below(4)) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = syntax[below(syntax.size())];
          break;
        case 2:
          bytes.erase(at, 1 + below(4));
          break;
        default:
          bytes.insert(at, bytes.substr(8 + below(kValid.size() / 2), 1 + below(40)));
      }
    }
    if (below(8) != 0 && bytes.size() > 8 + 12) bytes[0] = static_cast<char>(bytes.size() - 8 - 12);
    ASSERT_NO_FATAL_FAILURE(open_and_read(scratch_.write("m.safetensors", bytes))) << "round " << round;
  }
}

}  // namespace
}  // namespace sdgen
