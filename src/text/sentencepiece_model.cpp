#include "text/sentencepiece_model.h"

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
      if (field.bytes.size() > kMaxPieceBytes) message.fail(concat("a text of ", field.bytes.size(), " bytes"));
      piece.text = field.bytes;
    } else if (field.number == 2) {
      expect(message, field, Wire::fixed32);
      piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    } else if (field.number == 3) {
      piece.type = enumeration(message, field, SentencePieceModel::Type::byte);
    }
  }
  if (piece.text.empty()) message.fail("an empty text");
  if (valid_utf8_prefix(piece.text) != piece.text.size()) message.fail("a text that is not UTF-8");
  if (piece.text.find('\0') != std::string::npos) message.fail("a text with a NUL");
  if (!std::isfinite(piece.score)) message.fail("a score that is not a finite number");
  return piece;
}

}  // namespace

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
  std::unordered_set<std::string_view> texts;
  texts.reserve(model.pieces.size());
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const std::string& text = model.pieces[id].text;
    if (!texts.insert(text).second) {
      throw Error(Fault::input, concat(who, ": piece ", id, " '", printable(text), "' comes a second time"));
    }
  }
  return model;
}

SentencePieceModel read_sentencepiece_model(const std::filesystem::path& path) {
  return parse_sentencepiece_model(read_file(path, kMaxBytes), path.string());
}

}  // namespace sdgen
