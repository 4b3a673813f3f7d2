// Writing files whole or not at all (declared in io/file.h and io/atomic_file.h).
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <functional>
#include <optional>
#include <random>
#include <string_view>
#include <system_error>
#include <utility>

#include "io/atomic_file.h"
#include "io/file.h"
#include "io/writable.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;
using Bytes = std::span<const std::byte>;

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

// Throws what `error` (an errno) means for `size` bytes that should have become `path`. `folder` is where they needed
// room, empty when a device or pipe took them.
[[noreturn]] void fail(const fs::path& path, std::uint64_t size, int error, const fs::path& folder) {
  std::string what =
      concat(path.string(), ": cannot be written: ", std::generic_category().message(error), " (", size, " bytes");
  struct statvfs space {};
  const bool full = error == ENOSPC || error == EDQUOT;
  if (full && !folder.empty() && ::statvfs(folder.c_str(), &space) == 0) {
    what += concat(" are needed, ", std::uint64_t{space.f_bavail} * space.f_frsize, " bytes and ",
                   std::uint64_t{space.f_favail}, " file entries are free there");
  }
  throw Error(Fault::output, what + ")");
}

[[noreturn]] void fail_existing(const fs::path& path) {
  throw Error(Fault::output,
              concat(path.string(), ": exists already, and is replaced only with ", FieldName{"overwrite"}));
}

// The names of the temporary files that exist, where a signal handler can find them: it may neither allocate nor lock.
// A handler that runs while a slot changes hands may see a mixture of two names, which is then the name of no file.
struct Slot {
  enum State : int { free, reserved, registered };
  std::atomic<int> state = free;
  std::array<char, 4096> path;
};
std::array<Slot, 1280> slots;  // files at a time that a signal cleans up after; more are written all the same

Slot* register_temporary(const std::string& path) {
  if (path.size() >= slots[0].path.size()) return nullptr;
  for (Slot& slot : slots) {
    int expected = Slot::free;
    if (!slot.state.compare_exchange_strong(expected, Slot::reserved)) continue;
    std::memcpy(slot.path.data(), path.c_str(), path.size() + 1);
    slot.state.store(Slot::registered);
    return &slot;
  }
  return nullptr;
}

// What a file shall hold: `make` puts `size` bytes.
struct Content {
  std::uint64_t size;
  const std::function<void(const Put&)>& make;
};

// A write that failed, on its way past who makes the content.
struct WriteFailure {
  int error;
};

// Writes everything; returns an errno, 0 for success.
int write_all(int descriptor, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    } else if (written == 0) {
      return EIO;                  // no error and no progress
    } else if (errno == EAGAIN) {  // a pipe that its other end made non-blocking
      pollfd wait{descriptor, POLLOUT, 0};
      if (::poll(&wait, 1, -1) < 0 && errno != EINTR) return errno;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

// The same of what is made piece by piece. What `make` throws passes.
int write_content(int descriptor, const Content& content) {
  std::uint64_t written = 0;
  try {
    content.make([&](Bytes bytes) {
      if (const int error = write_all(descriptor, bytes)) throw WriteFailure{error};
      written += bytes.size();
    });
  } catch (const WriteFailure& failure) {
    return failure.error;
  }
  if (written != content.size) throw Error(Fault::internal, concat(written, " bytes were written of ", content.size));
  return 0;
}

// Takes the room that a large file needs, so that a disk that is too small is known before anything is made. Returns an
// errno; 0 too where the file system cannot say.
int take_room(int descriptor, std::uint64_t size) {
  constexpr std::uint64_t large = 1 << 20;
  if (size < large) return 0;
  int failed = 0;
  do failed = ::fallocate(descriptor, 0, 0, static_cast<off_t>(size)) == 0 ? 0 : errno;
  while (failed == EINTR);
  return failed == ENOSPC || failed == EDQUOT || failed == EFBIG ? failed : 0;
}

// A new file in a folder, removed at the end of its scope unless it got its final name. Where the file system can, it
// has no name until it is whole (O_TMPFILE), so that not even a killed process leaves anything. Functions return an
// errno.
class TemporaryFile {
 public:
  TemporaryFile() = default;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { remove(); }

  void remove() {
    file_.close();
    forget(/*remove=*/true);
  }

  int create(const fs::path& folder) {
    folder_ = folder;
    file_ = open_file(folder, O_WRONLY | O_TMPFILE | O_CLOEXEC);
    return file_ ? 0 : create_named(folder);
  }

  int create_named(const fs::path& folder) {
    folder_ = folder;
    return with_new_name([this] {
      file_ = open_file(path_, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC);
      return file_ ? 0 : errno;
    });
  }

  bool has_name() const { return !path_.empty(); }

  // Data that reached the disk before the name: after a crash the name shows the old file or the whole new one.
  int fill(const Content& content) {
    if (const int error = take_room(file_.get(), content.size)) return error;
    if (const int error = write_content(file_.get(), content)) return error;
    while (::fsync(file_.get()) != 0) {
      if (errno == EINVAL || errno == EROFS || errno == ENOSYS) break;  // this file system cannot sync
      if (errno != EINTR) return errno;
    }
    return has_name() ? file_.close() : 0;  // without a name the descriptor is all there is of it
  }

  int rename_over(const fs::path& target) {
    if (!has_name()) {
      if (const int error = with_new_name([this] { return link_to(path_); })) return error;
    }
    if (::rename(path_.c_str(), target.c_str()) != 0) return errno;
    forget(/*remove=*/false);
    return 0;
  }

  // EEXIST when the target exists. Not every file system knows the flag (NFS) or hard links (FAT). On one that knows
  // neither the name is reserved first, and shows an empty file for a moment.
  int rename_to_new(const fs::path& target) {
    if (!has_name()) return link_to(target);
    if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0) {
      forget(/*remove=*/false);
      return 0;
    }
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) return errno;
    if (::link(path_.c_str(), target.c_str()) == 0) return 0;  // the destructor removes the temporary name
    if (errno != EPERM && errno != ENOSYS && errno != EOPNOTSUPP) return errno;
    if (!open_file(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC)) return errno;
    const int error = rename_over(target);
    if (error != 0) ::unlink(target.c_str());
    return error;
  }

 private:
  // Calls `make` until path_ is a name that was free.
  int with_new_name(const std::function<int()>& make) {
    std::random_device random;
    for (int attempt = 0; attempt < 100; ++attempt) {
      std::array<char, 64> name;
      std::snprintf(name.data(), name.size(), ".sdgen-%ld-%08x.tmp", static_cast<long>(::getpid()), random());
      path_ = (folder_ / name.data()).string();
      slot_ = register_temporary(path_);
      const int error = make();
      if (error == 0) return 0;
      forget(/*remove=*/false);
      if (error != EEXIST && error != EINTR) return error;
    }
    return EEXIST;
  }

  // Gives the file without a name one that is free. Only the super-user may link a descriptor itself, everybody its
  // name.
  int link_to(const fs::path& target) const {
    const std::string self = concat("/proc/self/fd/", file_.get());
    return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, target.c_str(), AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
  }

  // Takes the file off the list of what a signal removes.
  void forget(bool remove) {
    if (remove && !path_.empty()) ::unlink(path_.c_str());
    if (slot_ != nullptr) slot_->state.store(Slot::free);
    slot_ = nullptr;
    path_.clear();
  }

  fs::path folder_;
  std::string path_;  // empty: none yet
  Descriptor file_;
  Slot* slot_ = nullptr;
};

// Makes a new file and gives it its name; returns an errno.
int write_and_name(const fs::path& target, const Content& content, bool overwrite) {
  const auto give_name = [&](TemporaryFile& file) {
    return overwrite ? file.rename_over(target) : file.rename_to_new(target);
  };
  TemporaryFile file;
  if (const int error = file.create(folder_of(target))) return error;
  if (const int error = file.fill(content)) return error;
  const int error = give_name(file);
  if (error == 0 || error == EEXIST || file.has_name()) return error;
  file.remove();  // links may be forbidden, or /proc missing
  TemporaryFile other;
  if (const int again = other.create_named(folder_of(target))) return again;
  if (const int again = other.fill(content)) return again;
  return give_name(other);
}

// The descriptor that a path such as /dev/stdout means. Opening the path again would start at the beginning of a
// file that the shell redirected to.
std::optional<int> standing_for_descriptor(const fs::path& path) {
  const std::string name = path.string();
  if (name == "/dev/stdout") return STDOUT_FILENO;
  if (name == "/dev/stderr") return STDERR_FILENO;
  for (const std::string_view prefix : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!name.starts_with(prefix)) continue;
    const char* end = name.data() + name.size();
    int descriptor = 0;
    const auto parsed = std::from_chars(name.data() + prefix.size(), end, descriptor);
    if (parsed.ec == std::errc() && parsed.ptr == end && descriptor >= 0) return descriptor;
  }
  return std::nullopt;
}

// A device, pipe or socket has no whole and no half.
void write_special(const fs::path& path, const Content& content) {
  Descriptor file = open_file(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (!file) fail(path, content.size, errno, {});
  const int error = write_content(file.get(), content);
  const int close_error = file.close();
  if (error != 0 || close_error != 0) fail(path, content.size, error != 0 ? error : close_error, {});
}

}  // namespace

void write_file_atomically(const fs::path& path, Bytes bytes, bool overwrite) {
  write_file_atomically(
      path, bytes.size(), [bytes](const Put& put) { put(bytes); }, overwrite);
}

void write_file_atomically(const fs::path& path, std::uint64_t size, const std::function<void(const Put&)>& make,
                           bool overwrite) {
  const Content content{size, make};
  if (const auto descriptor = standing_for_descriptor(path)) {
    if (const int error = write_content(*descriptor, content)) fail(path, size, error, {});
    return;
  }
  fs::path target = path;
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) throw Error(Fault::output, path.string() + ": is a folder, expected a file name");
    if (!S_ISREG(status.st_mode)) return write_special(path, content);
    if (!overwrite) fail_existing(path);
    std::error_code keep_link;
    if (fs::path resolved = fs::canonical(path, keep_link); !keep_link) target = std::move(resolved);
  } else if (errno != ENOENT) {
    fail(path, size, errno, {});
  }

  const int error = write_and_name(target, content, overwrite);
  if (error == EEXIST && !overwrite) fail_existing(path);
  if (error != 0) fail(path, size, error, folder_of(target));
}

PassingFile::~PassingFile() {
  if (written_) ::unlink(path_.c_str());
  if (slot_ != nullptr) static_cast<Slot*>(slot_)->state.store(Slot::free);
}

void PassingFile::write(Bytes bytes) {
  if (slot_ == nullptr) slot_ = register_temporary(path_.string());
  written_ = true;
  write_file_atomically(path_, bytes, /*overwrite=*/true);
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  if (!folder.empty()) fs::create_directories(folder, error);
  if (error) throw Error(Fault::output, concat(folder.string(), ": this folder cannot be made: ", error.message()));
}

void check_writable_folder(const fs::path& folder) {
  const fs::path place = folder_for(folder);  // one that is missing is made later
  // Asking for permissions would miss quotas, full disks and what a file server thinks: try.
  static constexpr std::array<std::byte, 4096> block{};
  TemporaryFile probe;
  int error = probe.create(place);
  const std::function<void(const Put&)> make = [](const Put& put) { put(block); };
  if (error == 0) error = probe.fill({block.size(), make});
  if (error != 0)
    throw Error(
        Fault::output,
        concat(place.string(), ": files cannot be written into this folder: ", std::generic_category().message(error)));
}

void remove_temporary_files() noexcept {
  const int saved = errno;
  for (const Slot& slot : slots) {
    if (slot.state.load() == Slot::registered) ::unlink(slot.path.data());
  }
  errno = saved;
}

}  // namespace sdgen
