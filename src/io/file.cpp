#include "io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <system_error>
#include <utility>

#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::size_t kMaxRead = 1u << 30;  // Linux moves at most 0x7ffff000 bytes a call

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw Error(Fault::input, path.string() + ": " + what);
}

std::string reason(int error) { return std::generic_category().message(error); }

struct stat status_of(const std::filesystem::path& path, const Descriptor& file) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail(path, "cannot be examined: " + reason(errno));
  return status;
}

bool is_same(const struct timespec& a, const struct timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

void collect(const std::filesystem::path& folder, bool top, std::set<std::filesystem::path>& seen,
             std::vector<std::filesystem::path>& files) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!seen.insert(fs::canonical(folder, error)).second) return;
  fs::directory_iterator entry;
  do entry = fs::directory_iterator(folder, error);
  while (error == std::errc::interrupted);
  const bool closed = error == std::errc::permission_denied || error == std::errc::no_such_file_or_directory;
  if (closed && !top) return;
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    std::error_code ignored;  // links may lead nowhere
    if (entry->is_directory(ignored))
      collect(entry->path(), /*top=*/false, seen, files);
    else if (entry->is_regular_file(ignored))
      files.push_back(entry->path());
  }
  if (error) throw Error(Fault::input, concat(folder.string(), ": cannot be read: ", error.message()));
}

}  // namespace

int Descriptor::close() {
  // Linux has closed it even where a signal came.
  if (number_ < 0 || ::close(std::exchange(number_, -1)) == 0 || errno == EINTR) return 0;
  return errno;
}

bool present(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

Descriptor open_file(const std::filesystem::path& path, int flags) {
  int descriptor = -1;
  do {
    descriptor = ::open(path.c_str(), flags, 0666);
  } while (descriptor < 0 && errno == EINTR);
  return Descriptor(descriptor);
}

// O_NONBLOCK: opening a pipe without a writer would wait for one. It changes nothing for regular files.
InputFile::InputFile(std::filesystem::path path)
    : path_(std::move(path)),
      file_(std::make_shared<const Descriptor>(open_file(path_, O_RDONLY | O_CLOEXEC | O_NONBLOCK))) {
  if (!*file_) fail(path_, "cannot be opened: " + reason(errno));
  const struct stat status = status_of(path_, *file_);
  if (!S_ISREG(status.st_mode)) fail(path_, concat("is ", kind_of(status.st_mode), ", expected a regular file"));
  size_ = static_cast<std::uint64_t>(status.st_size);
  written_ = status.st_mtim;
}

void InputFile::require_unchanged() const {
  const struct stat status = status_of(path_, *file_);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size != size_)
    fail(path_,
         concat("has ", size, " bytes now and had ", size_,
                " when it was opened: it must not change while it is in use", " (is another program writing it?)"));
  if (!is_same(status.st_mtim, written_))
    fail(path_, "was written to while it was in use (is another program writing it?)");
}

bool InputFile::seems_written() const {
  const struct stat status = status_of(path_, *file_);
  return static_cast<std::uint64_t>(status.st_size) == size_ && !is_same(status.st_mtim, written_);
}

std::size_t InputFile::read_some(std::uint64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::pread(file_->get(), out.data() + done, std::min(out.size() - done, kMaxRead),
                                static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path_, concat("cannot be read at byte ", offset + done, ": ", reason(errno)));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

void InputFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  const std::size_t done = read_some(offset, out);
  if (done < out.size()) {
    fail(path_, concat("shrank while it was read: it had ", size_, " bytes when it was opened and ends at byte ",
                       offset + done, " now (is another program writing or deleting it?)"));
  }
}

std::string in_home(const std::string& path) {
  const char* home = std::getenv("HOME");
  if (!home || (path != "~" && !path.starts_with("~/"))) return path;
  return home + path.substr(1);
}

std::string name_of(const std::filesystem::path& path) {
  const auto whole = std::filesystem::absolute(path / "").lexically_normal().parent_path();
  const std::string of_hub = whole.parent_path().parent_path().filename().string();
  if (whole.parent_path().filename() == "snapshots" && of_hub.starts_with("models--"))
    return of_hub.substr(of_hub.rfind("--") + 2);
  return (std::filesystem::is_directory(whole) ? whole.filename() : whole.stem()).string();
}

std::vector<std::filesystem::path> files_below(const std::filesystem::path& folder) {
  std::set<std::filesystem::path> seen;
  std::vector<std::filesystem::path> files;
  collect(folder, /*top=*/true, seen, files);
  std::ranges::sort(files);
  return files;
}

std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  return read_file(InputFile(path), max_bytes);
}

std::string read_file(const InputFile& file, std::uint64_t max_bytes) {
  const std::filesystem::path& path = file.path();
  if (file.size() > max_bytes) fail(path, concat("has ", file.size(), " bytes, at most ", max_bytes, " are read"));
  // Read to the end rather than to the size seen: files of /proc say 0, and a file may grow.
  std::string text;
  for (std::size_t room = file.size() + 1;; room = std::max<std::size_t>(room, 1 << 16)) {
    const std::size_t begin = text.size();
    text.resize(begin + room);
    const std::size_t got = file.read_some(begin, std::as_writable_bytes(std::span(text).subspan(begin)));
    text.resize(begin + got);
    if (text.size() > max_bytes)
      fail(path, concat("has more than ", max_bytes, " bytes, which is what is read at most"));
    if (got < room) return text;
  }
}

}  // namespace sdgen
