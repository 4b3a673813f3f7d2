#include "nn/sd3_blocks.h"

#include <ATen/TensorOperators.h>

#include "sdgen/error.h"

namespace sdgen {

PlacedPatches::PlacedPatches(const Weights& w, const Params& p) : Patches(w, p.channels, p.patch, p.width), params_(p) {
  if (p.table_size) table_ = param(w, "pos_embed", {1, p.table_size * p.table_size, p.width});
}

Tensor PlacedPatches::forward(const Tensor& picture) const {
  const Tensor patches = Patches::forward(picture);
  if (!table_.defined()) return patches;
  const std::int64_t height = picture.size(2) / params_.patch, width = picture.size(3) / params_.patch,
                     n = params_.table_size;
  if (height > n || width > n)
    throw Error(Fault::usage, concat("the model has positions for ", n, "x", n, " patches, and the picture has ", width,
                                     "x", height));
  return patches + fetched(table_, picture)
                       .view({1, n, n, params_.width})
                       .narrow(1, (n - height) / 2, height)
                       .narrow(2, (n - width) / 2, width)
                       .reshape({1, height * width, params_.width});
}

Sd3Block::Sd3Block(const Weights& w, const Params& p) {
  using Second = JointAttention::Second;
  const Second second = p.prompt == Prompt::none   ? Second::none
                        : p.prompt == Prompt::seen ? Second::in
                                                   : Second::in_and_out;
  attention_ = add<JointAttention>(w, "attn", JointAttention::Params{p.width, p.heads, p.qk_norm, second});
  if (p.dual) attention2_ = add<JointAttention>(w, "attn2", JointAttention::Params{p.width, p.heads, p.qk_norm});
  image_ = std::make_shared<ModulatedStream>(w, "norm1", "ff", p.width, p.dual ? 9 : 6);
  adopt_children(*image_);
  if (p.prompt == Prompt::seen) {
    last_norm_ = add<Modulation>(w, "norm1_context", p.width, 2);
  } else if (p.prompt == Prompt::goes_on) {
    text_ = std::make_shared<ModulatedStream>(w, "norm1_context", "ff_context", p.width, 6);
    adopt_children(*text_);
  }
}

void Sd3Block::forward(Tensor& x, Tensor& context, const Tensor& embedding) const {
  const std::vector<Tensor> m = image_->norm->forward(embedding);
  std::vector<Tensor> n;
  Tensor normed_context;
  if (text_) {
    n = text_->norm->forward(embedding);
    normed_context = modulated(context, n[0], n[1]);
  } else if (last_norm_) {  // AdaLayerNormContinuous says the scale first
    n = last_norm_->forward(embedding);
    normed_context = modulated(context, n[1], n[0]);
  }
  const JointAttention::Streams attended = attention_->forward(modulated(x, m[0], m[1]), normed_context);
  Tensor h = gated(x, m[2], attended.first);
  if (attention2_) h = gated(h, m[8], attention2_->forward(modulated(x, m[6], m[7])).first);
  x = image_->fed_forward(h, m);
  if (text_) context = text_->fed_forward(gated(context, n[2], attended.second), n);
}

}  // namespace sdgen
