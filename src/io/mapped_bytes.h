// Part of a file as memory: the pages that the system keeps of it anyway, which other processes share. No copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "io/file.h"

namespace sdgen {

// Memory that a file backs is lost where the file is cut, and whoever touches it gets SIGBUS. Here it reads as zeros
// then (a handler of that signal, set by the first mapping, sees to it; it leaves other memory to the handler that was
// there before), and require_unchanged() says that it happened. Thread-safe.
class MappedBytes {
 public:
  // Bytes [begin, begin + size) of the file. Null where there are none, where the system cannot map them, and on file
  // systems that give a file another time than when it was opened: whether it changes could not be told there.
  static std::shared_ptr<const MappedBytes> map(const InputFile& file, std::uint64_t begin, std::uint64_t size);
  MappedBytes(const MappedBytes&) = delete;
  MappedBytes& operator=(const MappedBytes&) = delete;
  ~MappedBytes();

  const std::byte* data() const;
  // Brings bytes [from, from + count) into memory now, not when they are first touched.
  void fetch(std::uint64_t from, std::uint64_t count) const;
  // Throws Error(input) where the file was cut, written to or could not be read since it was opened: what was made of
  // these bytes may be wrong then.
  void require_unchanged() const;

 private:
  struct Range;
  MappedBytes(InputFile file, std::uint64_t offset) : file_(std::move(file)), offset_(offset) {}

  InputFile file_;
  std::uint64_t offset_;    // of the first byte in its page
  Range* range_ = nullptr;  // whole pages
};

}  // namespace sdgen
