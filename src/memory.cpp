#include "memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <sys/mman.h>

#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>

namespace sdgen {
namespace {

constexpr std::size_t kLarge = std::size_t{1} << 20;  // bytes; what is smaller is malloc's
constexpr std::size_t kRound = std::size_t{1} << 16;

class Blocks {
 public:
  void* take(std::size_t bytes) {
    bytes = (bytes + kRound - 1) / kRound * kRound;
    const std::lock_guard guard(lock_);
    const auto found = kept_.lower_bound(bytes);
    if (found != kept_.end() && found->first <= bytes + bytes / 8) {
      void* block = found->second;
      used_.emplace(block, found->first);
      kept_.erase(found);
      return block;
    }
    void* block = map(bytes);
    if (block == MAP_FAILED) {
      release();
      block = map(bytes);
    }
    if (block == MAP_FAILED) throw std::bad_alloc();
    madvise(block, bytes, MADV_HUGEPAGE);
    used_.emplace(block, bytes);
    return block;
  }

  // False for a block that is none of these.
  bool give_back(void* block) {
    const std::lock_guard guard(lock_);
    const auto found = used_.find(block);
    if (found == used_.end()) return false;
    kept_.emplace(found->second, block);
    used_.erase(found);
    return true;
  }

  void release_all() {
    const std::lock_guard guard(lock_);
    release();
  }

 private:
  static void* map(std::size_t bytes) {
    return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  void release() {
    for (const auto& [bytes, block] : kept_) munmap(block, bytes);
    kept_.clear();
  }

  std::mutex lock_;
  std::unordered_map<void*, std::size_t> used_;
  std::multimap<std::size_t, void*> kept_;  // by size
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
}

void release_kept_blocks() { blocks().release_all(); }

}  // namespace sdgen
