#include "cli/manifest.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/names.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, int error) {
  throw Error(Fault::output,
              concat(printable(path.string()), ": the manifest cannot be written: ", std::strerror(error)));
}

// Keeps other processes from writing as long as it lives. File systems without locks get none: there a line of another
// process might be torn, but no picture is.
class Lock {
 public:
  explicit Lock(int descriptor) : descriptor_(descriptor) {
    while (flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() { flock(descriptor_, LOCK_UN); }

 private:
  int descriptor_;
};

// The size of the file up to the end of its last whole line.
off_t whole_lines(int descriptor, off_t size) {
  char piece[4096];
  while (size > 0) {
    const off_t begin = std::max<off_t>(size - off_t(sizeof piece), 0);
    const ssize_t count = pread(descriptor, piece, std::size_t(size - begin), begin);
    if (count <= 0) return size;  // cannot be looked at: left as it is
    if (const void* newline = memrchr(piece, '\n', std::size_t(count)))
      return begin + (static_cast<const char*>(newline) - piece) + 1;
    size = begin;
  }
  return 0;
}

}  // namespace

Manifest::Manifest(fs::path path) : path_(std::move(path)) {
  make_folder(path_.parent_path());
  file_ = open_file(path_, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC);
  if (!file_) fail(path_, errno);
  const Lock lock(file_.get());
  mend();
}

std::string Manifest::name_of(const fs::path& picture) const {
  std::error_code error;
  const fs::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
  const fs::path relative = fs::proximate(picture, folder, error);
  return (error || relative.empty() ? picture : relative).generic_string();
}

void Manifest::read_names() {
  names_.emplace();
  std::ifstream lines(path_);
  for (std::string line; std::getline(lines, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (object.is_object() && object.contains("file") && object["file"].is_string())
      names_->insert(object["file"].get<std::string>());
  }
}

bool Manifest::tells_of(const fs::path& picture) {
  if (!names_) read_names();
  return names_->contains(name_of(picture));
}

// Cuts off a line without an end; called with the lock. Returns the size then, -1 for what is not a regular file.
std::int64_t Manifest::mend() const {
  struct stat status {};
  if (fstat(file_.get(), &status) != 0) fail(path_, errno);
  if (!S_ISREG(status.st_mode)) return -1;
  const off_t size = whole_lines(file_.get(), status.st_size);
  if (size == status.st_size) return size;
  // Only what a manifest's line begins with.
  char rest[kManifestLineBegin.size()] = {};
  const std::size_t length = std::min(std::size_t(status.st_size - size), kManifestLineBegin.size());
  if (pread(file_.get(), rest, length, size) != ssize_t(length) ||
      !kManifestLineBegin.starts_with(std::string_view(rest, length)))
    throw Error(Fault::output, concat(printable(path_.string()),
                                      ": its last line has no end and is none of a manifest's: nothing is appended"));
  if (ftruncate(file_.get(), size) != 0) fail(path_, errno);
  return size;
}

void Manifest::add(std::string_view line) {
  const Lock lock(file_.get());
  const off_t size = mend();
  for (std::string_view left = line; !left.empty();) {
    const ssize_t written = write(file_.get(), left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error = written < 0 ? errno : EIO;
      if (size >= 0 && ftruncate(file_.get(), size) != 0) {
        // The next one that writes cuts it off.
      }
      fail(path_, error);
    }
    left.remove_prefix(std::size_t(written));
  }
}

fs::path manifest_path(const Options& options) {
  if (options.output.manifest) return *options.output.manifest;
  if (!options.run.prompts || options.output.no_manifest || options.output.path == "-") return {};
  const fs::path folder = output_template(options.output.path, default_names(options), options.output.format).folder();
  return folder / (options.run.shards == 1
                       ? std::string("manifest.jsonl")
                       : concat("manifest-", options.run.shard, "-of-", options.run.shards, ".jsonl"));
}

}  // namespace sdgen::cli
