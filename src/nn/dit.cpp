#include "nn/dit.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>

#include <cmath>

#include "nn/unet_encoder.h"
#include "sdgen/error.h"

namespace sdgen {

Tensor sinusoids_256(const Tensor& numbers, double freq_shift) {
  return sinusoidal_embedding(numbers, 256, /*flip_sin_to_cos=*/true, freq_shift);
}

Mlp2::Mlp2(const Weights& w, std::int64_t in, std::int64_t inner, std::int64_t out, Activation act, bool with_bias)
    : act_(act),
      first_(add<Linear>(w, "linear_1", in, inner, with_bias)),
      second_(add<Linear>(w, "linear_2", inner, out, with_bias)) {}

Tensor Mlp2::forward(const Tensor& x) const { return second_->forward(act_(first_->forward(x))); }

TimeTextEmbedding::TimeTextEmbedding(const Weights& w, std::int64_t pooled_width, std::int64_t width, bool guidance,
                                     bool with_bias)
    : dtype_(w.dtype()) {
  const auto embedder = [&](const char* name, std::int64_t in) {
    return add<Mlp2>(w, name, in, width, width, kSilu, with_bias);
  };
  time_ = embedder("timestep_embedder", 256);
  if (guidance) guidance_ = embedder("guidance_embedder", 256);
  if (pooled_width > 0) pooled_ = embedder("text_embedder", pooled_width);
}

Tensor TimeTextEmbedding::forward(const Tensor& t, const Tensor& pooled, const Tensor& guidance) const {
  Tensor sum = time_->forward(sinusoids_256(t).to(dtype_));
  if (guidance_) sum = sum + guidance_->forward(sinusoids_256(1000 * guidance).to(dtype_));
  return pooled_ ? sum + pooled_->forward(pooled.to(dtype_)) : sum;
}

Modulation::Modulation(const Weights& w, std::int64_t width, std::int64_t parts, bool with_bias)
    : parts_(parts), linear_(add<Linear>(w, "linear", width, parts * width, with_bias)) {}

std::vector<Tensor> Modulation::forward(const Tensor& embedding) const {
  return linear_->forward(kSilu(embedding)).chunk(parts_, -1);
}

Tensor modulated(const Tensor& x, const Tensor& shift, const Tensor& scale, double eps) {
  return ops::modulated_norm(x, scale, shift, eps);
}

Tensor gated(const Tensor& x, const Tensor& gate, const Tensor& branch) {
  return at::addcmul(x, branch, gate.unsqueeze(1));
}

RmsNorm::RmsNorm(const Weights& w, std::int64_t width, double eps) : eps(eps), weight(param(w, "weight", {width})) {}

Tensor RmsNorm::forward(const Tensor& x) const { return ops::rms_norm(x, fetched(weight, x), eps); }

GeluFeedForward::GeluFeedForward(const Weights& w, std::int64_t width)
    : in_(add<Linear>(w, "net.0.proj", width, 4 * width)), out_(add<Linear>(w, "net.2", 4 * width, width)) {}

Tensor GeluFeedForward::forward(const Tensor& x) const {
  return out_->forward(Activation{Activation::gelu_tanh}(in_->forward(x)));
}

ModulatedStream::ModulatedStream(const Weights& w, const std::string& norm, const std::string& ff, std::int64_t width,
                                 std::int64_t parts)
    : norm(add<Modulation>(w, norm, width, parts)), ff(add<GeluFeedForward>(w, ff, width)) {}

Tensor ModulatedStream::fed_forward(const Tensor& x, const std::vector<Tensor>& m) const {
  return gated(x, m[5], ff->forward(modulated(x, m[3], m[4])));
}

Tensor rotations(const Tensor& places, const std::vector<std::int64_t>& widths, double theta, at::ScalarType type) {
  std::vector<Tensor> angles;
  for (std::size_t axis = 0; axis < widths.size(); ++axis) {
    const Tensor powers = at::arange(0, widths[axis], 2, places.options()) / double(widths[axis]);
    angles.push_back(places.select(1, std::int64_t(axis)).unsqueeze(-1) / at::pow(at::Scalar(theta), powers));
  }
  const Tensor all = at::cat(angles, -1).to(type);
  return at::complex(at::cos(all).to(at::kFloat), at::sin(all).to(at::kFloat));
}

std::vector<std::int64_t> rotary_axes(const Config& json, const char* key, std::vector<std::int64_t> fallback,
                                      std::size_t axes, std::int64_t head) {
  const std::vector<std::int64_t> widths = json.has(key) ? json.integers(key) : std::move(fallback);
  std::int64_t sum = 0;
  bool even = widths.size() == axes;
  for (const std::int64_t width : widths) {
    even = even && width > 0 && width % 2 == 0 && width <= head;
    sum += even ? width : 0;
  }
  if (!even || sum != head)
    json.unsupported(key,
                     concat("expected ", axes, " even numbers that make the width of a head, ", head, ", together"));
  return widths;
}

// Queries, keys and values of a stream.
struct JointAttention::Projections : Module {
  struct Names {
    const char *q, *k, *v, *norm_q, *norm_k;
  };
  Projections(const Weights& w, const Params& params, const Names& names)
      : q(add<Linear>(w, names.q, params.width, params.width, params.with_bias)) {
    const std::int64_t head = params.width / params.heads,
                       kv_width = params.kv_heads > 0 ? params.kv_heads * head : params.width;
    k = add<Linear>(w, names.k, params.width, kv_width, params.with_bias);
    v = add<Linear>(w, names.v, params.width, kv_width, params.with_bias);
    if (!params.qk_norm) return;
    norm_q = add<RmsNorm>(w, names.norm_q, head, params.norm_eps);
    norm_k = add<RmsNorm>(w, names.norm_k, head, params.norm_eps);
  }

  std::shared_ptr<Linear> q, k, v;
  std::shared_ptr<RmsNorm> norm_q, norm_k;
};

JointAttention::JointAttention(const Weights& w, const Params& params)
    : heads_(params.heads),
      kv_heads_(params.kv_heads > 0 ? params.kv_heads : params.heads),
      norm_eps_(params.norm_eps) {
  if (params.heads <= 0 || params.width % params.heads != 0)
    throw Error(Fault::input, concat(w.source(), ": an attention of width ", params.width, " does not divide into ",
                                     params.heads, " heads"));
  if (heads_ % kv_heads_ != 0)
    throw Error(Fault::input, concat(w.source(), ": ", heads_, " heads of queries do not share ", kv_heads_,
                                     " of keys and values evenly"));
  using Names = Projections::Names;
  first_ = std::make_shared<Projections>(w, params, Names{"to_q", "to_k", "to_v", "norm_q", "norm_k"});
  adopt_children(*first_);
  if (params.projects_out) out_ = add<Linear>(w, "to_out.0", params.width, params.width, params.with_bias);
  if (params.second == Second::none) return;
  second_ = std::make_shared<Projections>(
      w, params, Names{"add_q_proj", "add_k_proj", "add_v_proj", "norm_added_q", "norm_added_k"});
  adopt_children(*second_);
  if (params.second == Second::in_and_out)
    second_out_ = add<Linear>(w, "to_add_out", params.width, params.width, params.with_bias);
}

namespace {

// Every head `times` times, one behind the other: [B, N, heads*width] -> [B, N, times*heads*width]
Tensor repeated_heads(const Tensor& x, std::int64_t heads, std::int64_t times) {
  if (times == 1) return x;
  const Tensor apart = x.unflatten(-1, {heads, 1, x.size(-1) / heads});
  return apart.expand({-1, -1, -1, times, -1}).flatten(2);
}

}  // namespace

JointAttention::Streams JointAttention::forward(const Tensor& first, const Tensor& second, const Tensor& rotations,
                                                const Tensor& bias) const {
  // Of both streams; what is not normalised is not turned either.
  const auto joined = [&](std::shared_ptr<Linear> Projections::*layer, std::shared_ptr<RmsNorm> Projections::*norm,
                          std::int64_t heads, const Tensor& turns) {
    std::vector<ops::Heads> streams;
    for (const auto& [own, x] : {std::pair(first_.get(), &first), {second_.get(), &second}})
      if (own)
        streams.push_back(
            {((*own).*layer)->forward(*x), norm && (*own).*norm ? fetched(((*own).*norm)->weight, *x) : Tensor()});
    return repeated_heads(ops::joined_heads(streams, heads, norm_eps_, turns), heads, heads_ / heads);
  };
  const Tensor q = joined(&Projections::q, &Projections::norm_q, heads_, rotations),
               k = joined(&Projections::k, &Projections::norm_k, kv_heads_, rotations),
               v = joined(&Projections::v, nullptr, kv_heads_, Tensor());
  const double scale = 1 / std::sqrt(double(q.size(-1)) / double(heads_));
  const Tensor mixed =
      bias.defined() ? ops::biased_attention(q, k, v, heads_, bias, scale) : ops::attention(q, k, v, heads_);
  if (!second_) return {out_ ? out_->forward(mixed) : mixed, {}};
  const std::int64_t n = first.size(1);
  return {out_->forward(mixed.slice(1, 0, n)), second_out_ ? second_out_->forward(mixed.slice(1, n)) : Tensor()};
}

Patches::Patches(const Weights& w, std::int64_t channels, std::int64_t patch, std::int64_t width)
    : proj_(add<Conv2d>(w, "proj", channels, width, Conv2d::Params{patch, patch, 0})) {}

Tensor Patches::forward(const Tensor& picture) const {
  return proj_->forward(picture).permute({0, 2, 3, 1}).flatten(1, 2).contiguous();
}

// Angles in float64, as diffusers has them: a row's sines would show float32's.
Tensor patch_positions(std::int64_t height, std::int64_t width, std::int64_t channels, double base, double scale,
                       const Tensor& like) {
  const auto options = at::TensorOptions().device(like.device());
  const std::int64_t quarter = channels / 4;
  const Tensor powers = at::arange(quarter, options.dtype(at::kDouble)) / double(quarter);
  const Tensor frequencies = 1 / at::pow(at::Scalar(10000.0), powers);
  const auto axis = [&](std::int64_t size) {
    const Tensor places = at::arange(size, options.dtype(at::kFloat)) / (double(size) / base) / scale;
    const Tensor angles = places.to(at::kDouble).unsqueeze(-1) * frequencies;
    return at::cat({at::sin(angles), at::cos(angles)}, -1).to(at::kFloat);
  };
  const Tensor columns = axis(width).unsqueeze(0).expand({height, -1, -1});
  const Tensor rows = axis(height).unsqueeze(1).expand({-1, width, -1});
  return at::cat({columns, rows}, -1).view({1, height * width, channels});
}

void require_patch_network(const Config& json, std::int64_t width, std::int64_t in_channels,
                           std::int64_t out_channels) {
  if (width % 4 != 0) json.unsupported("attention_head_dim", "expected a width that sines and cosines divide by 4");
  if (out_channels != in_channels && out_channels != 2 * in_channels)
    json.unsupported("out_channels", concat("expected ", in_channels, ", or with a learned variance twice as many"));
  json.require("norm_elementwise_affine", false);
  json.require("activation_fn", "gelu-approximate");
}

Tensor patched(const Tensor& picture, std::int64_t patch) {
  return picture.unflatten(3, {-1, patch})
      .unflatten(2, {-1, patch})
      .permute({0, 2, 4, 3, 5, 1})
      .flatten(3)
      .flatten(1, 2)
      .contiguous();
}

Tensor unpatched(const Tensor& tokens, std::int64_t height, std::int64_t width, std::int64_t patch) {
  const std::int64_t channels = tokens.size(2) / (patch * patch);
  return tokens.view({tokens.size(0), height, width, patch, patch, channels})
      .permute({0, 5, 1, 3, 2, 4})
      .reshape({tokens.size(0), channels, height * patch, width * patch});
}

}  // namespace sdgen
