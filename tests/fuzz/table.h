// Whole safetensors files from lines of text, so that inputs get past the format to what looks at names and shapes.
#pragma once

#include <charconv>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "fuzz.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace sdgen::fuzz {

// "NAME F16 320,4,3,3" is a tensor of zeros, "@KEY VALUE" is metadata. A line that is neither, comes twice, or would
// make the file larger than `most` bytes is left out.
inline std::string table_header(std::string_view lines, std::uint64_t most, std::uint64_t& data_size) {
  static const std::map<std::string_view, std::uint64_t> sizes = {
      {"F16", 2}, {"BF16", 2}, {"F32", 4}, {"F64", 8}, {"I64", 8}, {"I32", 4}, {"U8", 1}, {"F8_E4M3", 1}, {"I8", 1}};
  Json header = Json::object();
  data_size = 0;
  while (!lines.empty()) {
    const std::string_view line = take_line(lines);
    if (valid_utf8_prefix(line) != line.size()) continue;
    if (line.starts_with('@')) {
      const std::size_t blank = std::min(line.find(' '), line.size());
      header["__metadata__"][std::string(line.substr(1, blank - 1))] = line.substr(std::min(blank + 1, line.size()));
      continue;
    }
    const std::size_t shape_at = line.rfind(' ');
    const std::size_t type_at = shape_at == 0 || shape_at == line.npos ? line.npos : line.rfind(' ', shape_at - 1);
    if (type_at == line.npos) continue;
    const auto type = sizes.find(line.substr(type_at + 1, shape_at - type_at - 1));
    const std::string name(line.substr(0, type_at));
    if (type == sizes.end() || name == "__metadata__" || header.contains(name)) continue;
    std::uint64_t bytes = type->second;
    Json shape = Json::array();
    for (const char *at = line.data() + shape_at + 1, *end = line.data() + line.size(); at < end && shape.size() < 8;) {
      std::uint32_t n = 0;
      const auto parsed = std::from_chars(at, end, n);
      if (parsed.ec != std::errc()) break;
      bytes = bytes * n > (std::uint64_t{1} << 50) ? std::uint64_t{1} << 50 : bytes * n;
      shape.push_back(n);
      at = parsed.ptr + 1;
    }
    if (data_size + bytes > most || (bytes == 0 && shape.size() > 2)) continue;
    header[name] = {{"dtype", type->first}, {"shape", shape}, {"data_offsets", {data_size, data_size + bytes}}};
    data_size += bytes;
  }
  return header.dump();
}

class TableFile {
 public:
  TableFile(std::string_view lines, std::uint64_t most) : file_(bytes(lines, most), size_) {}
  std::filesystem::path path() const { return file_.path(); }

 private:
  std::string bytes(std::string_view lines, std::uint64_t most) {
    std::uint64_t data = 0;
    const std::string header = table_header(lines, most, data);
    std::string result;
    for (int shift = 0; shift < 64; shift += 8)
      result += static_cast<char>(std::uint64_t{header.size()} >> shift & 0xFF);
    size_ = 8 + header.size() + data;
    return result + header;
  }

  std::uint64_t size_ = 0;
  MemoryFile file_;
};

}  // namespace sdgen::fuzz
