#include "text/sentencepiece_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <unordered_set>
#include <utility>

#include "io/file.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::uint64_t kMaxBytes = 16u << 20;
constexpr std::size_t kMaxPieceBytes = 2048;  // the library trains pieces of 512 characters at most
constexpr std::size_t kMaxPieces = 2'000'000;
constexpr float kMaxScore = 1e6;

// Wire types of a protocol buffer (protobuf.dev/programming-guides/encoding).
enum class Wire { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

struct Field {
  std::uint64_t number = 0;
  Wire wire = Wire::varint;
  std::uint64_t value = 0;      // varint, fixed64, fixed32
  std::string_view bytes = {};  // of Wire::bytes
};

// Steps through the fields of one message. Never recurses, copies nothing, and checks every length against what is
// left.
class Message {
 public:
  Message(std::string_view bytes, std::string who) : rest_(bytes), size_(bytes.size()), who_(std::move(who)) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const std::uint64_t tag = varint();
    field = {.number = tag >> 3, .wire = static_cast<Wire>(tag & 7)};
    switch (field.wire) {
      case Wire::varint:
        field.value = varint();
        break;
      case Wire::fixed64:
        field.value = fixed(8);
        break;
      case Wire::fixed32:
        field.value = fixed(4);
        break;
      case Wire::bytes:
        field.bytes = take(varint());
        break;
      default:
        fail(concat("wire type ", tag & 7));
    }
    if (field.number == 0) fail("field number 0");
    return true;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Fault::input, concat(who_, ": byte ", size_ - rest_.size(), " of ", size_, ": ", what,
                                     ": this is not a SentencePiece model, or the file is damaged"));
  }

 private:
  std::string_view take(std::uint64_t count) {
    if (count > rest_.size()) fail(concat("a field of ", count, " bytes where ", rest_.size(), " are left"));
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<std::uint8_t>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail("a number of more than ten bytes");
  }

  std::uint64_t fixed(int count) {
    const std::string_view bytes = take(static_cast<std::uint64_t>(count));
    std::uint64_t value = 0;
    for (int i = 0; i < count; ++i) value |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(bytes[i])) << (8 * i);
    return value;
  }

  std::string_view rest_;
  std::size_t size_;
  std::string who_;
};

void expect(const Message& message, const Field& field, Wire wire) {
  if (field.wire != wire) message.fail(concat("field ", field.number, " has another type than it should"));
}

// A value of an enumeration 1 ... last.
template <class Enum>
Enum enumeration(const Message& message, const Field& field, Enum last) {
  expect(message, field, Wire::varint);
  if (field.value < 1 || field.value > static_cast<std::uint64_t>(last)) {
    message.fail(concat("field ", field.number, " has the unknown value ", field.value));
  }
  return static_cast<Enum>(field.value);
}

SentencePieceModel::Piece parse_piece(std::string_view bytes, const std::string& who) {
  SentencePieceModel::Piece piece;
  Message message(bytes, who);
  for (Field field; message.next(field);) {
    if (field.number == 1) {
      expect(message, field, Wire::bytes);
      piece.text = field.bytes;
    } else if (field.number == 2) {
      expect(message, field, Wire::fixed32);
      piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    } else if (field.number == 3) {
      piece.type = enumeration(message, field, SentencePieceModel::Type::byte);
    }
  }
  return piece;
}

void check_pieces(const std::vector<SentencePieceModel::Piece>& pieces, const std::string& who) {
  std::unordered_set<std::string_view> texts;
  texts.reserve(pieces.size());
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    const std::string& text = pieces[id].text;
    const auto fail = [&](const std::string& what) {
      const std::string start = printable(text.substr(0, valid_utf8_prefix(text.substr(0, 40))));
      throw Error(Fault::input, concat(who, ": piece ", id, " '", start, "' ", what, ": the file is damaged"));
    };
    if (text.empty()) fail("has no text");
    if (text.size() > kMaxPieceBytes) fail(concat("has a text of ", text.size(), " bytes"));
    if (valid_utf8_prefix(text) != text.size()) fail("has a text that is not UTF-8");
    if (text.find('\0') != std::string::npos) fail("has a text with a NUL");
    if (!(std::abs(pieces[id].score) <= kMaxScore)) fail(concat("has a score of ", pieces[id].score));
    if (!texts.insert(text).second) fail("comes a second time");
  }
}

// A unit of a double array (github.com/s-yata/darts-clone), as far as the library follows it.
struct Unit {
  std::uint32_t bits;
  bool is_value() const { return bits >> 31 != 0; }
  std::size_t label() const { return bits & 0xFF; }
  bool has_leaf() const { return (bits >> 8 & 1) != 0; }
  std::size_t offset() const { return static_cast<std::size_t>(bits >> 10) << ((bits & 1u << 9) >> 6); }
  std::size_t value() const { return bits & 0x7FFFFFFF; }
};

std::uint32_t little_endian(std::string_view bytes) {
  std::uint32_t result = 0;
  for (int i = 3; i >= 0; --i) result = result << 8 | static_cast<std::uint8_t>(bytes[static_cast<std::size_t>(i)]);
  return result;
}

// The library steps from the unit `at` to (at ^ offset) ^ label, which has to be that label's, and stays in blocks of
// 256 units. It checks no index, and has room for 32 rules that begin with each other.
class Trie {
 public:
  explicit Trie(std::string_view bytes) {
    for (std::size_t i = 0; i < bytes.size(); i += 4) units_.push_back({little_endian(bytes.substr(i, 4))});
  }

  // What is wrong with it, where `replacements` is what its values are offsets into; empty: nothing.
  std::string fault(std::string_view replacements) const {
    for (std::size_t at = 0; at < units_.size(); ++at) {
      if (at > 0 && units_[at].is_value()) continue;
      const std::size_t next = at ^ units_[at].offset();
      if ((next | 0xFF) >= units_.size()) return concat("unit ", at, " of its trie leads outside");
      if (!units_[at].has_leaf()) continue;
      const std::size_t begin = units_[next].value();
      if (begin >= replacements.size() || (replacements[begin] & 0xC0) == 0x80)
        return concat("unit ", at, " of its trie has no replacement");
    }
    return deepest() > kMaxRule ? concat("it has rules of more than ", kMaxRule, " bytes") : "";
  }

 private:
  static constexpr int kMaxRule = 32;

  // The length of the longest rule, or something above kMaxRule: a trie from a stranger can have circles. Each round
  // takes every unit as deep as the deepest that leads to it.
  int deepest() const {
    std::vector<int> depth(units_.size(), -1);  // of the units whose at ^ label this is
    depth[units_[0].offset()] = 0;
    int deepest = 0;
    for (bool changed = true; changed && deepest <= kMaxRule;) {
      changed = false;
      for (std::size_t at = 0; at < units_.size(); ++at) {
        if (units_[at].is_value()) continue;
        const int above = depth[at ^ units_[at].label()];
        int& below = depth[at ^ units_[at].offset()];
        if (above < 0 || below > above) continue;
        below = above + 1;
        deepest = std::max(deepest, below);
        changed = true;
      }
    }
    return deepest;
  }

  std::vector<Unit> units_;
};

// The normalizer's rules: u32 little endian, size in bytes of a double-array trie; the trie's units, u32 each; then the
// replacements, each ended by a NUL.
void check_charsmap(std::string_view bytes, const std::string& who) {
  if (bytes.empty()) return;
  const auto fail = [&](const std::string& what) {
    throw Error(Fault::input, who + ": precompiled_charsmap: " + what + ": the file is damaged");
  };
  if (bytes.size() < 4) fail(concat("has ", bytes.size(), " bytes, too few for its header"));
  const std::uint32_t size = little_endian(bytes);
  bytes.remove_prefix(4);
  if (size >= bytes.size() || size % 1024 != 0 || size == 0)
    fail(concat("says that its trie has ", size, " bytes, but ", bytes.size(), " follow"));
  const std::string_view replacements = bytes.substr(size);
  if (valid_utf8_prefix(replacements) != replacements.size()) fail("its replacements are not UTF-8");
  if (replacements.back() != '\0') fail("its last replacement has no end");
  if (const std::string fault = Trie(bytes.substr(0, size)).fault(replacements); !fault.empty()) fail(fault);
}

void append_field(std::string& bytes, char number, std::string_view content) {
  bytes += static_cast<char>(number << 3 | static_cast<char>(Wire::bytes));
  for (std::size_t size = content.size();; size >>= 7) {
    bytes += static_cast<char>(size < 0x80 ? size : size | 0x80);
    if (size < 0x80) break;
  }
  bytes += content;
}

}  // namespace

std::string model_for_library(const SentencePieceModel& model, int unknown_id, const std::string& who) {
  using Type = SentencePieceModel::Type;
  check_pieces(model.pieces, who);
  check_charsmap(model.charsmap, who);
  std::string bytes, field;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    field.clear();
    append_field(field, 1, model.pieces[id].text);
    field += '\x15';  // score: fixed32
    const auto score = std::bit_cast<std::uint32_t>(model.pieces[id].score);
    for (int shift = 0; shift < 32; shift += 8) field += static_cast<char>(score >> shift);
    field += '\x18';  // type
    field += static_cast<char>(static_cast<int>(id) == unknown_id ? Type::unknown : Type::normal);
    append_field(bytes, 1, field);
  }
  append_field(bytes, 2, "\x18\x01");  // trainer_spec: model_type, unigram
  field.clear();
  append_field(field, 2, model.charsmap);
  field += "\x18\x01\x20\x01\x28\x01";  // add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces
  append_field(bytes, 3, field);
  return bytes;
}

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& who) {
  SentencePieceModel model;
  Message message(bytes, who);
  for (Field field; message.next(field);) {
    if (field.number < 1 || field.number > 3) continue;  // self test, denormalizer, extensions
    expect(message, field, Wire::bytes);
    if (field.number == 1) {
      if (model.pieces.size() == kMaxPieces) message.fail(concat("more than ", kMaxPieces, " pieces"));
      model.pieces.push_back(parse_piece(field.bytes, concat(who, ": piece ", model.pieces.size())));
      continue;
    }
    Message spec(field.bytes, who + (field.number == 2 ? ": trainer_spec" : ": normalizer_spec"));
    for (Field entry; spec.next(entry);) {
      if (field.number == 2 && entry.number == 3) {
        expect(spec, entry, Wire::varint);
        if (entry.value != 1)
          throw Error(Fault::input, concat(who, ": is a SentencePiece model of type ", entry.value,
                                           ", which is not supported: T5's are unigram models (type 1)"));
      } else if (field.number == 3 && entry.number == 2) {
        expect(spec, entry, Wire::bytes);
        model.charsmap = entry.bytes;
      }
    }
  }
  if (model.pieces.empty()) message.fail("no pieces");
  return model;
}

SentencePieceModel read_sentencepiece_model(const std::filesystem::path& path) {
  return parse_sentencepiece_model(read_file(path, kMaxBytes), path.string());
}

std::string spelled_piece(const std::string& piece) {
  constexpr std::string_view blank = "\xE2\x96\x81";
  std::string text;
  for (std::size_t at = 0; at < piece.size();) {
    const bool is_blank = piece.compare(at, blank.size(), blank) == 0;
    text += is_blank ? ' ' : piece[at];
    at += is_blank ? blank.size() : 1;
  }
  return text;
}

}  // namespace sdgen
