#include "device/memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <unordered_map>
#include <utility>

#include "io/lack_of_memory.h"
#include "io/pages.h"

namespace sdgen {
namespace {

constexpr std::size_t kLarge = std::size_t{1} << 20;  // bytes; what is smaller is malloc's
constexpr std::size_t kRound = std::size_t{1} << 16;

// Ranges of memory that have been touched, best fit first; neighbours that are free become one.
class Blocks {
 public:
  void* take(std::size_t bytes) {
    bytes = (bytes + kRound - 1) / kRound * kRound;
    const std::lock_guard guard(lock_);
    std::byte* block = take_free(bytes);
    if (!block) block = map_pages(bytes);
    if (!block) {
      release();
      block = map_pages(bytes);
    }
    if (!block) throw std::bad_alloc();
    used_.emplace(block, bytes);
    return block;
  }

  // False for a block that is none of these.
  bool give_back(void* block) {
    const std::lock_guard guard(lock_);
    const auto found = used_.find(block);
    if (found == used_.end()) return false;
    add_free(static_cast<std::byte*>(block), found->second);
    used_.erase(found);
    return true;
  }

  void release_all() {
    const std::lock_guard guard(lock_);
    release();
  }

 private:
  // Null where no free range is large enough.
  std::byte* take_free(std::size_t bytes) {
    const auto found = by_size_.lower_bound({bytes, nullptr});
    if (found == by_size_.end()) return nullptr;
    const auto [size, begin] = *found;
    remove_free(begin, size);
    if (size > bytes) add_free(begin + bytes, size - bytes);
    return begin;
  }

  void add_free(std::byte* begin, std::size_t size) {
    auto next = free_.lower_bound(begin);
    if (next != free_.end() && begin + size == next->first) {
      size += next->second;
      const auto joined = next++;
      remove_free(joined->first, joined->second);
    }
    if (next != free_.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == begin) {
        begin = before->first;
        size += before->second;
        remove_free(before->first, before->second);
      }
    }
    free_.emplace(begin, size);
    by_size_.emplace(size, begin);
  }

  void remove_free(std::byte* begin, std::size_t size) {
    free_.erase(begin);
    by_size_.erase({size, begin});
  }

  void release() {
    for (const auto& [begin, size] : free_) munmap(begin, size);
    free_.clear();
    by_size_.clear();
  }

  std::mutex lock_;
  std::unordered_map<void*, std::size_t> used_;
  std::map<std::byte*, std::size_t> free_;
  std::set<std::pair<std::size_t, std::byte*>> by_size_;  // the same
};

Blocks& blocks() {
  static auto* blocks = new Blocks;  // tensors of static duration may outlive everything
  return *blocks;
}

void free_block(void* block) {
  if (block && !blocks().give_back(block)) c10::free_cpu(block);
}

struct KeepingAllocator final : c10::Allocator {
  c10::DataPtr allocate(std::size_t bytes) override {
    void* block = bytes < kLarge ? c10::alloc_cpu(bytes) : blocks().take(bytes);
    return {block, block, &free_block, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }
};

}  // namespace

void keep_large_blocks() {
  static KeepingAllocator allocator;
  c10::SetCPUAllocator(&allocator);
  give_back_memory = release_kept_blocks;
}

void release_kept_blocks() { blocks().release_all(); }

}  // namespace sdgen
