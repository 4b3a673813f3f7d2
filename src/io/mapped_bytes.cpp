#include "io/mapped_bytes.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <mutex>
#include <utility>

#include "sdgen/error.h"

namespace sdgen {

// Of addresses. One that is not mapped is empty and waits for the next mapping: they are never freed, because the
// handler may come at any time.
struct MappedBytes::Range {
  std::atomic<std::uintptr_t> begin = 0, end = 0;
  std::atomic<bool> lost = false;
  Range* next = nullptr;

  static std::atomic<Range*> all;
  static std::mutex mutex;  // of whoever maps

  // A mapping's; null where there is none.
  static Range* map(const InputFile& file, std::uint64_t begin, std::uint64_t size);
  static void on_lost_page(int signal, siginfo_t* info, void* context);
};
std::atomic<MappedBytes::Range*> MappedBytes::Range::all = nullptr;
std::mutex MappedBytes::Range::mutex;

namespace {

struct sigaction before = {};

std::uint64_t page_size() {
  static const auto size = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace

MappedBytes::Range* MappedBytes::Range::map(const InputFile& file, std::uint64_t begin, std::uint64_t size) {
  const std::lock_guard lock(mutex);
  Range* range = all;
  if (!range) {
    page_size();
    struct sigaction action = {};
    action.sa_sigaction = on_lost_page;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &action, &before);
  }
  while (range && range->end != 0) range = range->next;
  if (!range) {
    range = new Range;
    range->next = all;
    all = range;
  }
  void* pages = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.descriptor(), static_cast<off_t>(begin));
  if (pages == MAP_FAILED) return nullptr;
  range->lost = false;
  range->begin = reinterpret_cast<std::uintptr_t>(pages);
  range->end = range->begin + size;
  return range;
}

// Only what may be called in a handler; mmap() is no more than a call of the system.
void MappedBytes::Range::on_lost_page(int signal, siginfo_t* info, void* context) {
  const bool sent = info->si_code <= 0;  // by a process: it is about no address
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (Range* range = all; range && !sent; range = range->next) {
    if (address < range->begin || address >= range->end) continue;
    range->lost = true;
    void* page = reinterpret_cast<void*>(address / page_size() * page_size());
    if (mmap(page, page_size(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page) return;
    break;
  }
  if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(signal, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
  sigaction(signal, &before, nullptr);
  if (sent) raise(signal);  // else what touched the memory does so again
}

std::shared_ptr<const MappedBytes> MappedBytes::map(const InputFile& file, std::uint64_t begin, std::uint64_t size) {
  if (size == 0 || file.seems_written()) return nullptr;
  const std::uint64_t offset = begin % page_size();
  const std::shared_ptr<MappedBytes> bytes(new MappedBytes(file, offset));
  bytes->range_ = Range::map(file, begin - offset, offset + size);
  return bytes->range_ ? bytes : nullptr;
}

MappedBytes::~MappedBytes() {
  if (!range_) return;
  const std::uintptr_t begin = range_->begin, size = range_->end - begin;
  range_->end = 0;  // first: another mapping may have the same addresses at once
  munmap(reinterpret_cast<void*>(begin), size);
}

const std::byte* MappedBytes::data() const { return reinterpret_cast<const std::byte*>(range_->begin + offset_); }

void MappedBytes::fetch(std::uint64_t from, std::uint64_t count) const {
  const std::uint64_t begin = (offset_ + from) / page_size() * page_size(), end = offset_ + from + count;
  auto* pages = reinterpret_cast<std::byte*>(range_->begin.load());
  if (begin >= end) return;
#ifdef MADV_POPULATE_READ
  if (madvise(pages + begin, end - begin, MADV_POPULATE_READ) == 0) return;
#endif
  // Older systems; and what is not there, which the handler finds.
  for (std::uint64_t at = begin; at < end; at += page_size())
    static_cast<void>(*static_cast<volatile std::byte*>(pages + at));
}

void MappedBytes::require_unchanged() const {
  file_.require_unchanged();
  if (range_->lost)
    throw Error(Fault::input,
                concat(file_.path().string(), ": could not be read while it was in use (is its disk still there?)"));
}

}  // namespace sdgen
