#include "cli/model_hashes.h"

#include <sys/stat.h>

#include <cstdlib>
#include <sstream>
#include <vector>

#include "formats/model_files.h"
#include "io/file.h"
#include "io/hash.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kWorthRemembering = 64u << 20;  // bytes: an eighth of a second's hashing

// Three lines: what the hash is of, and the hash.
std::string entry(const fs::path& file, const std::string& sha256) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) status = {};
  const auto time = [](const timespec& t) { return concat(t.tv_sec, '.', t.tv_nsec); };
  return concat(file.string(), '\n', status.st_size, ' ', status.st_ino, ' ', time(status.st_mtim), ' ',
                time(status.st_ctim), '\n', sha256);
}

}  // namespace

fs::path cache_folder() {
  for (const auto& [variable, below] : {std::pair{"XDG_CACHE_HOME", "sdgen"}, {"HOME", ".cache/sdgen"}})
    if (const char* value = std::getenv(variable); value && *value == '/') return fs::path(value) / below;
  return {};
}

std::string remembered_sha256(const fs::path& file, const fs::path& cache, std::uint64_t least,
                              const std::stop_token& stop) {
  constexpr std::size_t digits = 64;
  std::error_code error;
  const fs::path whole = fs::canonical(file, error);
  if (error || cache.empty() || fs::file_size(whole, error) < least || error)
    return sha256_of_file(file, 0, std::numeric_limits<std::uint64_t>::max(), stop);
  const fs::path place = cache / "sha256" / sha256_of(whole.string());
  const std::string head = entry(whole, "");
  try {
    const std::string known = read_file(place, 1 << 16);
    if (known.size() == head.size() + digits && known.starts_with(head)) return known.substr(head.size());
  } catch (const Error&) {  // not known yet
  }
  const std::string sha256 = sha256_of_file(file, 0, std::numeric_limits<std::uint64_t>::max(), stop);
  if (entry(whole, "") != head) return sha256;  // it was written meanwhile
  try {
    fs::create_directories(place.parent_path(), error);
    const std::string text = head + sha256;
    write_file_atomically(place, std::as_bytes(std::span(text)), /*overwrite=*/true);
  } catch (const Error&) {  // found again the next time
  }
  return sha256;
}

std::string weights_sha256(const fs::path& path, const std::stop_token& stop) {
  try {
    const std::vector<fs::path> files = known_by(path);
    std::string hashes;
    for (const fs::path& file : files) hashes += remembered_sha256(file, cache_folder(), kWorthRemembering, stop);
    return files.size() == 1 ? hashes : sha256_of(hashes);
  } catch (const Error&) {
    return "";
  } catch (const Cancelled&) {
    return "";
  }
}

ModelHashing::ModelHashing(const fs::path& model, const LoadOptions& load, bool wanted)
    : hashes_(std::async(wanted ? std::launch::async : std::launch::deferred, [model, load, stop = stop_.get_token()] {
        const auto of = [&](const std::optional<fs::path>& path) { return path ? weights_sha256(*path, stop) : ""; };
        ModelHashes hashes{of(model), of(load.backbone), of(load.vae), of(load.refiner), {}};
        for (const fs::path& encoder : load.text_encoders) hashes.text_encoders.push_back(of(encoder));
        return hashes;
      })) {}

}  // namespace sdgen::cli
