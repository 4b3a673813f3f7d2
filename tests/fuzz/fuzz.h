// What the fuzz targets share: what counts as well-behaved, and ways to make files of an input.
#pragma once

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "cli/process.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::fuzz {

// Ends the process with a report where a promise is broken.
inline void require(bool good, const char* promise, std::string_view found = {}) {
  if (good) return;
  std::fprintf(stderr, "broken: %s: '%.*s'\n", promise, static_cast<int>(found.size()), found.data());
  std::abort();
}

// Is it what may be printed into a terminal: UTF-8 whose only control characters are ends of lines?
inline bool fit_for_terminal(std::string_view text) {
  return valid_utf8_prefix(text) == text.size() &&
         std::ranges::none_of(text, [](unsigned char c) { return (c < ' ' && c != '\n') || c == 0x7F; });
}

// Runs `action`, which ends well (true) or with an Error of one of these kinds, which can be shown to people. Whatever
// else it throws ends the process.
template <class Action>
bool accepts(std::initializer_list<Fault> faults, const Action& action) {
  try {
    action();
    return true;
  } catch (const Error& error) {
    require(std::ranges::count(faults, error.fault()) > 0, "the kind of the error", error.what());
    require(fit_for_terminal(cli::explain(error).message), "the message is fit for a terminal", error.what());
    return false;
  }
}

// --- Inputs in parts

inline std::string_view text_of(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// Takes the line at the beginning, without its end, off the text.
inline std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

// Takes the first byte off; 0 where there is none.
inline std::uint8_t take_byte(std::string_view& text) {
  if (text.empty()) return 0;
  const auto byte = static_cast<std::uint8_t>(text[0]);
  text.remove_prefix(1);
  return byte;
}

// "=== NAME\nCONTENT=== NAME\nCONTENT": contents by name. What comes before the first line of this form is "". Names
// that are not in `known` are content.
inline std::map<std::string, std::string> sections(std::string_view text, const std::set<std::string>& known) {
  constexpr std::string_view mark = "=== ";
  std::map<std::string, std::string> parts;
  std::string* part = &parts[""];
  while (!text.empty()) {
    const std::size_t before = text.size();
    const std::string_view rest = text, line = take_line(text);
    const auto name = line.starts_with(mark) ? known.find(std::string(line.substr(mark.size()))) : known.end();
    if (name != known.end())
      part = &parts[*name];
    else
      part->append(rest.substr(0, before - text.size()));
  }
  return parts;
}

// --- Files

// scripts/fuzz sets TMPDIR to a folder without a disk: files are written thousands of times a second.
inline std::filesystem::path make_folder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "sdgen-fuzz-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  return pattern;
}

// A folder of its own for the whole process; empty again after clear().
class Folder {
 public:
  Folder() : path_(make_folder()) {}
  Folder(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    const std::filesystem::path file = path_ / name;
    std::ofstream(file, std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return file;
  }
  void clear() const {
    for (const auto& entry : std::filesystem::directory_iterator(path_)) std::filesystem::remove_all(entry.path());
  }

 private:
  std::filesystem::path path_;
};

// A file in memory that functions which want a path can open.
class MemoryFile {
 public:
  // Behind the bytes come zeros, up to `size`, which take no memory.
  explicit MemoryFile(std::span<const std::uint8_t> bytes, std::uint64_t size = 0)
      : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0) std::abort();
    const std::size_t all = bytes.size();
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written <= 0) std::abort();
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    if (size > all && ::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) std::abort();
  }
  explicit MemoryFile(std::string_view bytes, std::uint64_t size = 0)
      : MemoryFile(std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()), size) {}
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace sdgen::fuzz
