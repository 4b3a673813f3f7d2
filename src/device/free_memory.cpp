#include "device/free_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace sdgen {
namespace {

namespace fs = std::filesystem;

std::optional<std::uint64_t> number_in(const fs::path& file) {
  std::uint64_t number = 0;
  if (std::ifstream in(file); in >> number) return number;
  return std::nullopt;  // "max", among others
}

// The number after `key` in a list of keys and numbers.
std::optional<std::uint64_t> number_of(const std::string& key, const fs::path& file) {
  std::ifstream in(file);
  for (std::string word; in >> word;)
    if (std::uint64_t number = 0; word == key && in >> number) return number;
  return std::nullopt;
}

// What is left below the limit of a control group, whose cached files are given back when memory is short.
std::optional<std::uint64_t> left_in(const fs::path& group, const char* limit_name, const char* used_name,
                                     const char* cached_name) {
  const auto limit = number_in(group / limit_name), used = number_in(group / used_name);
  if (!limit || !used) return std::nullopt;
  const std::uint64_t cached = std::min(number_of(cached_name, group / "memory.stat").value_or(0), *used);
  return *limit - std::min(*limit, *used - cached);
}

// The process's own groups: "0::/a/b" of version 2, "4:memory:/a/b" of version 1.
std::optional<std::uint64_t> left_in_groups(const fs::path& root) {
  std::optional<std::uint64_t> least;
  const auto take = [&least](const std::optional<std::uint64_t>& left) {
    if (left) least = std::min(*left, least.value_or(*left));
  };
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string kinds = line.substr(first + 1, second - first - 1);
    const bool newer = kinds.empty();
    if (!newer && kinds.find("memory") == std::string::npos) continue;
    const fs::path mount = root / (newer ? "sys/fs/cgroup" : "sys/fs/cgroup/memory");
    // Each group above limits it as well. In a container the mount may be the group itself.
    for (fs::path group = fs::path(line.substr(second + 1)).relative_path();; group = group.parent_path()) {
      take(newer ? left_in(mount / group, "memory.max", "memory.current", "inactive_file")
                 : left_in(mount / group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"));
      if (group.empty()) break;
    }
  }
  return least;
}

}  // namespace

std::optional<std::uint64_t> free_memory(at::Device device, const fs::path& root) {
  if (device.is_cuda()) return c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first;
  if (!device.is_cpu()) return std::nullopt;
  const auto kilobytes = number_of("MemAvailable:", root / "proc/meminfo");
  if (!kilobytes) return std::nullopt;
  return std::min(*kilobytes * 1024, left_in_groups(root).value_or(*kilobytes * 1024));
}

}  // namespace sdgen
