#include "nn/prompted.h"

namespace sdgen {
namespace {

// What a run's conditionings are told apart by: they stay where they are while it lasts.
const at::Tensor& prompts_of(const Conditioning& conditioning) {
  return conditioning.context.defined() ? conditioning.context : conditioning.classes;
}

bool same_place(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  return a.const_data_ptr() == b.const_data_ptr() && a.sizes() == b.sizes();
}

}  // namespace

bool Prompted::same(const at::Tensor& x, const Conditioning& conditioning) {
  const at::Tensor& now = prompts_of(conditioning);
  const bool same = rows_ == x.size(0) && same_place(now, prompts_);
  rows_ = x.size(0), prompts_ = now;
  return same;
}

}  // namespace sdgen
