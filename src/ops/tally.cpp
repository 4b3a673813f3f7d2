#include "ops/tally.h"

#include <c10/core/Allocator.h>

#include <algorithm>
#include <atomic>
#include <memory>

namespace sdgen::ops {
namespace {

thread_local Tally* counting = nullptr;

// What the meta device's own allocator does, which is nothing, and the count.
class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    Tally* tally = Tally::current();
    if (!tally) return {nullptr, nullptr, &no_bytes, at::kMeta};
    tally->allocated(std::int64_t(bytes));
    return {nullptr, new Block{tally->id(), std::int64_t(bytes)}, &let_go, at::kMeta};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* /*to*/, const void* /*from*/, std::size_t /*bytes*/) const override {}

 private:
  struct Block {
    std::uint64_t tally;
    std::int64_t bytes;
  };
  static void no_bytes(void* /*block*/) {}
  static void let_go(void* block) {
    const std::unique_ptr<Block> owner(static_cast<Block*>(block));
    if (Tally* tally = Tally::current(); tally && tally->id() == owner->tally) tally->freed(owner->bytes);
  }
};

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last = 0;
  return ++last;
}

}  // namespace

double Call::operations() const {
  const auto product = [&](std::initializer_list<std::int64_t> factors) {
    double all = 2;
    for (const std::int64_t factor : factors) all *= double(factor);
    return all;
  };
  const auto& s = sizes;
  switch (kind) {
    case Kind::product:
      return product({s[0], s[1], s[2]});
    case Kind::convolution: {
      const auto side = [&](std::int64_t of) { return (of + 2 * s[7] - s[5]) / s[6] + 1; };
      return product({s[0], s[1], side(s[2]), side(s[3]), s[4], s[5], s[5]});
    }
    case Kind::doubling:  // four results a pixel, of 2x2 pixels each
      return product({s[0], s[1], s[2], s[3], s[4], 4, 4});
    case Kind::attention:
      return product({s[0], s[1], s[2], s[3], s[4], 2});
  }
  return 0;
}

Tally::Tally() : id_(next_id()) {
  static CountingAllocator allocator;
  static const bool set = [] {
    c10::SetAllocator(c10::DeviceType::Meta, &allocator, /*priority=*/1);
    return true;
  }();
  (void)set;
  counting = this;
}

Tally::~Tally() { counting = nullptr; }

Tally* Tally::current() { return counting; }

void Tally::add(const Call& call, const at::Tensor& result) {
  ++calls_[call];
  bytes_of_calls_ += double(result.nbytes());
  ++of_calls_;
}

void Tally::allocated(std::int64_t bytes) {
  bytes_ += bytes;
  all_bytes_ += double(bytes);
  ++all_;
  most_bytes_ = std::max(most_bytes_, bytes_);
}

}  // namespace sdgen::ops
