#include "pipeline/measure.h"

#include <ATen/ops/add.h>
#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "ops/ops.h"

namespace sdgen {
namespace {

using ops::Call;
using Clock = std::chrono::steady_clock;

constexpr double kMostOperations = 8e9;  // of what is timed at a time: 10 to 50 ms of a core or two

double seconds_of(const std::function<at::Tensor()>& act) {
  const auto begin = Clock::now();
  act();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// The call, or a part of it with as few operations as is still typical: fewer rows, or queries, against the same
// weights.
Call typical_part(Call call) {
  constexpr std::int64_t fewest = 64;
  const double share = kMostOperations / call.operations();
  if (share >= 1) return call;
  std::int64_t& rows = call.sizes[call.kind == Call::Kind::product ? 0 : call.kind == Call::Kind::attention ? 1 : 2];
  const bool picture = call.kind == Call::Kind::convolution || call.kind == Call::Kind::doubling;
  rows = std::max(std::min(rows, picture ? std::int64_t{8} : fewest), std::int64_t(double(rows) * share));
  return call;
}

// `large`: see ops::packed_conv2d().
std::function<at::Tensor()> prepared(const Call& call, bool large) {
  const auto& s = call.sizes;
  const auto full = [&](at::IntArrayRef sizes) { return at::full(sizes, 0.01, at::TensorOptions().dtype(call.dtype)); };
  const auto picture = [&] { return full({s[0], s[1], s[2], s[3]}).contiguous(at::MemoryFormat::ChannelsLast); };
  switch (call.kind) {
    case Call::Kind::product:
      return [x = full({s[0], s[1]}), weight = ops::packed_linear(full({s[2], s[1]})), bias = full({s[2]})] {
        return ops::linear(x, weight, bias);
      };
    case Call::Kind::convolution:
      return [x = picture(), weight = ops::packed_conv2d(full({s[4], s[1], s[5], s[5]}), s[6], s[7], large),
              bias = full({s[4]}), stride = s[6],
              padding = s[7]] { return ops::conv2d(x, weight, bias, stride, padding); };
    case Call::Kind::doubling:
      return [x = picture(), weight = ops::packed_doubling_conv2d(full({s[4], s[1], 3, 3})), bias = full({s[4]})] {
        return ops::doubling_conv2d(x, weight, bias);
      };
    case Call::Kind::attention:
      return [q = full({s[0], s[1], s[3] * s[4]}), k = full({s[0], s[2], s[3] * s[4]}), heads = s[3]] {
        return ops::attention(q, k, k, heads);
      };
  }
  return {};
}

// Of adding two tensors of some megabytes, which is what norms and activations take: they wait for memory.
double seconds_a_byte() {
  const at::Tensor x = at::full({1 << 22}, 0.5), y = at::full({1 << 22}, 0.25);
  double best = 1;
  for (int i = 0; i < 4; ++i) best = std::min(best, seconds_of([&] { return at::add(x, y); }));
  return best / double(x.nbytes());
}

// Of an operator by itself, on a tensor that is just large enough for several threads: small networks wait for these.
double seconds_a_call() {
  constexpr int calls = 200;
  const at::Tensor x = at::full({1 << 16}, 0.5);
  const auto some = [&] {
    at::Tensor y = x;
    for (int i = 0; i < calls; ++i) y = at::add(y, x);
    return y;
  };
  seconds_of(some);
  return std::min(seconds_of(some), seconds_of(some)) / calls;
}

}  // namespace

void Work::add(const Work& other, double times) {
  for (const auto& [call, count] : other.calls) calls[call] += count * times;
  other_bytes += other.other_bytes * times;
  others += other.others * times;
}

Work Work::without(const Work& part) const {
  Work rest = *this;
  rest.add(part, -1);
  std::erase_if(rest.calls, [](const auto& call) { return call.second <= 0; });
  return rest;
}

double Work::operations() const {
  double all = 0;
  for (const auto& [call, count] : calls) all += count * call.operations();
  return all;
}

double measured_seconds(const Work& work, double most) {
  const c10::InferenceMode inference;
  std::vector<std::pair<double, Call>> order;
  for (const auto& [call, count] : work.calls) order.emplace_back(count * call.operations(), call);
  std::ranges::sort(order, std::greater());
  struct Rate {
    double seconds = 0, operations = 0;  // of what was timed, as often as it is called
  };
  std::map<Call::Kind, Rate> rates;
  Rate all;
  double seconds = work.other_bytes * seconds_a_byte() + work.others * seconds_a_call();
  const auto began = Clock::now();
  for (const auto& [operations, call] : order) {
    if (std::chrono::duration<double>(Clock::now() - began).count() < most) {
      const Call part = typical_part(call);
      const bool large = call.sizes[2] * call.sizes[3] >= 16 * 16;  // as fast as it can be: the time is "at least"
      const auto act = prepared(part, large);
      const double first = seconds_of(act);  // lays weights out, and makes kernels
      const double once = std::min({seconds_of(act), seconds_of(act), first});
      const double whole = once * operations / part.operations();
      seconds += whole;
      for (Rate* rate : {&rates[call.kind], &all}) rate->seconds += whole, rate->operations += operations;
      continue;
    }
    const Rate& like = rates.contains(call.kind) ? rates[call.kind] : all;
    seconds += operations * like.seconds / like.operations;
  }
  return seconds;
}

}  // namespace sdgen
