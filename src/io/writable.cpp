#include "io/writable.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <system_error>

#include "io/file.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse_folder(const fs::path& place, const std::string& why) {
  throw Error(Fault::output, place.string() + ": files cannot be written into this folder: " + why);
}

// An errno, or 0.
int try_without_a_name(const fs::path& folder) {
  Descriptor file = open_file(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC);
  if (!file) return errno;
  constexpr std::array<char, 4096> block{};
  const ssize_t written = write(file.get(), block.data(), block.size());
  if (written == ssize_t(block.size())) return file.close();
  return written < 0 ? errno : ENOSPC;
}

}  // namespace

fs::path folder_for(const fs::path& folder) {
  fs::path place = folder.empty() ? fs::path(".") : folder;
  struct stat status {};
  while (::stat(place.c_str(), &status) != 0) {
    if (errno != ENOENT || ::lstat(place.c_str(), &status) == 0)
      refuse_folder(place, std::generic_category().message(errno));
    fs::path above = place.has_filename() ? place.parent_path() : place.parent_path().parent_path();
    place = above.empty() ? fs::path(".") : std::move(above);
  }
  if (!S_ISDIR(status.st_mode)) refuse_folder(place, "it is not a folder");
  return place;
}

void require_writable(const fs::path& file) {
  if (present(file) && ::access(file.c_str(), W_OK) != 0)
    throw Error(Fault::output,
                concat("'", printable(file.string()), "' cannot be written: ", std::generic_category().message(errno)));
  const fs::path place = folder_for(file.parent_path());
  int error = try_without_a_name(place);
  if (error == EOPNOTSUPP || error == EISDIR || error == EINVAL)
    error = ::access(place.c_str(), W_OK | X_OK) == 0 ? 0 : errno;
  if (error != 0) refuse_folder(place, std::generic_category().message(error));
}

}  // namespace sdgen
