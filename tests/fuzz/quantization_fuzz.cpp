// Codes with any description beside them are numbers that can all be read, or are refused with Error(input).
//
// A line "NAME TEXT" is a tensor of bytes that describes others; those follow as table.h has them, of zeros but for the
// lists of bitsandbytes' types, without which no description of these is read.
#include <cstring>

#include "fuzz.h"
#include "io/decode.h"
#include "io/tensor_table.h"
#include "table.h"

using namespace sdgen;

namespace {

std::vector<std::uint8_t> file_of(std::string_view text) {
  constexpr std::uint64_t kMost = 1 << 16;
  const std::string_view first = fuzz::take_line(text);
  const std::size_t blank = std::min(first.find(' '), first.size());
  const std::string name(first.substr(0, blank)), said(first.substr(std::min(blank + 1, first.size())));
  std::uint64_t size = 0;
  Json header = Json::parse(fuzz::table_header(text, kMost, size));
  const bool described = valid_utf8_prefix(name) == name.size() && name != "__metadata__" && !header.contains(name);
  if (described)
    header[name] = {{"dtype", "U8"}, {"shape", {said.size()}}, {"data_offsets", {size, size + said.size()}}};
  std::string bytes = header.dump(), data(size, '\0');
  for (const auto& [called, where] : header.items()) {
    if (!called.ends_with(".quant_map") || where["shape"] != Json({16}) || where["dtype"] != "F32") continue;
    const Encoding encoding = name.find("nf4") != name.npos ? Encoding::NF4 : Encoding::FP4;
    for (std::uint8_t code = 0; code < 16; ++code) {
      float pair[2];
      const std::byte codes{static_cast<std::uint8_t>(code << 4)};
      decode(encoding, {&codes, 1}, pair);
      std::memcpy(data.data() + where["data_offsets"][0].get<std::size_t>() + 4 * std::size_t{code}, pair, 4);
    }
  }
  if (described) data += said;
  std::string length;
  for (int shift = 0; shift < 64; shift += 8) length += static_cast<char>(std::uint64_t{bytes.size()} >> shift & 0xFF);
  bytes = length + bytes + data;
  return {bytes.begin(), bytes.end()};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::vector<std::uint8_t> file = file_of({reinterpret_cast<const char*>(bytes), size});
  const fuzz::MemoryFile memory(file);
  fuzz::accepts({Fault::input}, [&] {
    const TensorTable table({memory.path()});
    for (const auto& [name, entry] : table.tensors()) {
      fuzz::require(stored_bytes(entry) <= file.size(), "the size of a tensor", name);
      if (!has_numbers(entry)) continue;
      const std::uint64_t count = entry.where->elements();
      std::vector<float> numbers(count), last(1);
      read_floats(entry, 0, count, numbers.data());
      if (count == 0) continue;
      read_floats(entry, count - 1, 1, last.data());
      fuzz::require(last[0] == numbers.back() || (last[0] != last[0] && numbers.back() != numbers.back()),
                    "the last number by itself", name);
    }
  });
  return 0;
}
