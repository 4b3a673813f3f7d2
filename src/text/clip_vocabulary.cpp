#include "text/clip_vocabulary.h"

#include <zlib.h>

#include <string_view>

#include "sdgen/error.h"

// The file's bytes, put into the executable by the assembler.
asm(".section .rodata\n"
    "sdgen_clip_vocabulary_begin: .incbin \"" SDGEN_CLIP_VOCABULARY
    "\"\n"
    "sdgen_clip_vocabulary_end: .byte 0\n"
    ".previous\n");
extern "C" const unsigned char sdgen_clip_vocabulary_begin[], sdgen_clip_vocabulary_end[];

namespace sdgen {
namespace {

constexpr std::size_t kMerges = 49152 - 256 - 2;  // the first line is a heading, further ones were not used

std::string unzip(const unsigned char* begin, std::size_t size) {
  std::string text(4u << 20, '\0');  // 3.2 MB are needed
  z_stream stream{};
  stream.next_in = const_cast<unsigned char*>(begin);
  stream.avail_in = static_cast<uInt>(size);
  stream.next_out = reinterpret_cast<unsigned char*>(text.data());
  stream.avail_out = static_cast<uInt>(text.size());
  constexpr int gzip = 16 + MAX_WBITS;
  const bool good = inflateInit2(&stream, gzip) == Z_OK && inflate(&stream, Z_FINISH) == Z_STREAM_END;
  text.resize(stream.total_out);
  inflateEnd(&stream);
  if (!good) throw Error(Fault::internal, "CLIP's built-in vocabulary is damaged");
  return text;
}

}  // namespace

BpeTables clip_bpe_tables(const std::vector<std::string>& bytes) {
  const std::string text = unzip(sdgen_clip_vocabulary_begin, sdgen_clip_vocabulary_end - sdgen_clip_vocabulary_begin);
  BpeTables tables;
  Vocabulary& ids = tables.vocabulary;
  ids.reserve(2 * bytes.size() + kMerges + 2);
  for (const char* end : {"", "</w>"})
    for (const std::string& byte : bytes) ids.emplace(byte + end, static_cast<int>(ids.size()));
  std::size_t begin = text.find('\n') + 1;
  for (std::size_t i = 0; i < kMerges; ++i) {
    const std::size_t end = text.find('\n', begin), space = text.find(' ', begin);
    if (end == std::string::npos || space > end)
      throw Error(Fault::internal, concat("CLIP's built-in vocabulary: line ", i + 2, " is not a merge"));
    const std::string left = text.substr(begin, space - begin), right = text.substr(space + 1, end - space - 1);
    const int merged = static_cast<int>(ids.size());
    tables.merges.push_back({ids.at(left), ids.at(right), merged});
    ids.emplace(left + right, merged);
    begin = end + 1;
  }
  for (const char* mark : {"<|startoftext|>", "<|endoftext|>"}) ids.emplace(mark, static_cast<int>(ids.size()));
  return tables;
}

}  // namespace sdgen
