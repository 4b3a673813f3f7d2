// Files: reading what others wrote, bounded and interruptible; writing results whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sdgen {

// Owns an open file.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}  // -1: none
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() { close(); }

  explicit operator bool() const { return number_ >= 0; }
  int get() const { return number_; }
  // Returns an errno: network file systems report a full disk only here. The descriptor is gone even then.
  int close();

 private:
  int number_ = -1;
};

// Is there something? Not std::filesystem::exists alone: that throws for what cannot be looked at (a link to itself, a
// forbidden folder).
bool present(const std::filesystem::path& path);

// open(2), again where a signal interrupts it: a descriptor, or none and errno.
Descriptor open_file(const std::filesystem::path& path, int flags);

// A regular file, open for reading. Folders, pipes and devices are refused (they have no size to check against, and a
// pipe would block for ever). Copies are the same open file.
class InputFile {
 public:
  // Throws Error(input) that names the path and the reason.
  explicit InputFile(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const { return size_; }  // bytes, when it was opened
  int descriptor() const { return file_->get(); }

  // Fills `out` with the bytes from `offset` on. Throws Error(input) when the file ends before that (it was cut since
  // it was opened) or cannot be read. Thread-safe.
  void read(std::uint64_t offset, std::span<std::byte> out) const;
  // The same, but the end of the file may come first: returns the number of bytes read.
  std::size_t read_some(std::uint64_t offset, std::span<std::byte> out) const;
  // Throws Error(input) where it was cut or written to since it was opened.
  void require_unchanged() const;
  // Has it its size, and another time?
  bool seems_written() const;

 private:
  std::filesystem::path path_;
  std::shared_ptr<const Descriptor> file_;
  std::uint64_t size_ = 0;
  struct timespec written_ = {};  // when
};

// "~" and "~/x" as a shell has them, for paths that no shell has seen: in files, and in quotes. Without $HOME as it is.
std::string in_home(const std::string& path);

// What people call a model by its path: the folder's name ("models/sd-1.5/", "models/sd-1.5/."), or the file's without
// extension. Links are not followed: those of a cache lead to a file named by its hash. A folder of the hub's cache
// (models--ORG--NAME/snapshots/REVISION) is called NAME.
std::string name_of(const std::filesystem::path& path);

// The files in a folder and below it, sorted; those of a folder that links lead to several times once. Folders that may
// not be read are left out, except for this one. Throws Error(input) where it, or another one, cannot be read.
std::vector<std::filesystem::path> files_below(const std::filesystem::path& folder);

// The whole of a regular file. Throws Error(input) when it is missing, unreadable or longer than `max_bytes`.
std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes);
std::string read_file(const InputFile& file, std::uint64_t max_bytes);

// Writes `bytes` under `path` so that the name never shows anything but the whole file: to a temporary file in the same
// folder (".sdgen-PID-RANDOM.tmp"), synced, then renamed. Without `overwrite` an existing
// file is never replaced, not even one that appears meanwhile. With it a symbolic link is followed, so that the file it
// points to is the one replaced. Devices, pipes, /dev/stdout and /dev/fd/N are written directly. Whatever fails, the
// temporary file is removed, and Error(output) says path, size and reason.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes, bool overwrite);

// A file that is worth something only as long as its maker lives: removed with this object, and by
// remove_temporary_files().
class PassingFile {
 public:
  explicit PassingFile(std::filesystem::path path) : path_(std::move(path)) {}
  PassingFile(const PassingFile&) = delete;
  PassingFile& operator=(const PassingFile&) = delete;
  ~PassingFile();

  // As write_file_atomically() does, over whatever is there.
  void write(std::span<const std::byte> bytes);

 private:
  std::filesystem::path path_;
  bool written_ = false;
  void* slot_ = nullptr;  // where a signal finds the name
};

// Makes the folder ("": the current one) and those above it where they are missing. Throws Error(output) where that
// fails.
void make_folder(const std::filesystem::path& folder);

// Throws Error(output) unless files can be made in `folder` ("": the current one): it is not a folder, read-only,
// forbidden or full. Where it is missing, the nearest folder above it counts. Found by making and removing a small
// file, so that it is known before the first picture is computed.
void check_writable_folder(const std::filesystem::path& folder);

// Removes the temporary files of all writes under way, and passing files. Async-signal-safe: for handlers of signals
// that end the process.
void remove_temporary_files() noexcept;

}  // namespace sdgen
