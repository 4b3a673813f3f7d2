#include "stages/picture.h"

#include <ATen/ops/isfinite.h>

#include "adapters/lora.h"
#include "device/device.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using at::Tensor;

bool finite(const Tensor& x) { return x.is_meta() || at::isfinite(x).all().item<bool>(); }

// Runs `work` on the autoencoder. Where it overflows in half precision it is asked again in float32.
template <class Work>
Tensor with_autoencoder(const Parts& parts, const Autoencoder& autoencoder, Observer& observer, const Work& work) {
  Tensor result = work(autoencoder);
  if (!finite(result) && parts.picture.dtype != at::kFloat) {
    observer.warning(
        concat("the autoencoder overflowed in ", precision_name(parts.picture.dtype), "; again in float32"));
    result = work(*parts.picture.make(at::kFloat));
  }
  if (!finite(result))
    throw Error(Fault::device, "the autoencoder gave NaN or infinity even in float32: its weights are damaged");
  return result;
}

// tiles() where it is to be in tiles, or has to be.
template <class Whole, class Tiles>
Tensor whole_or_in_tiles(Tiling& tiling, Observer& observer, const Whole& whole, const Tiles& tiles) {
  if (tiling.on) return tiles();
  try {
    return whole();
  } catch (...) {
    const auto failure = device_failure();
    if (!failure || !failure->memory) throw;
    const std::string lack = concat("the autoencoder ran out of memory (", failure->what, ")");
    if (tiling.encoded_whole) throw NeedsTiles(Fault::device, lack);
    observer.warning(concat(lack, "; again in tiles"));
  }
  tiling.on = true;
  return tiles();
}

}  // namespace

Tensor encode(const Parts& parts, const Autoencoder& autoencoder, const Tensor& pictures, const Noise& noise,
              Tiling& tiling, Observer& observer) {
  Tensor drawn;  // once, whatever the precision
  Noise draw;
  if (noise) draw = [&] { return drawn.defined() ? drawn : drawn = noise(); };
  Tensor x0 = with_autoencoder(parts, autoencoder, observer, [&](const Autoencoder& a) {
    return whole_or_in_tiles(
        tiling, observer, [&] { return a.encode(pictures, draw); }, [&] { return a.encode_in_tiles(pictures, draw); });
  });
  tiling.encoded_whole = !tiling.on;
  return x0;
}

Tensor decode(const Parts& parts, const Autoencoder& autoencoder, const Tensor& latents,
              std::span<const LoraInfo> loras, Tiling& tiling, Observer& observer) {
  if (!finite(latents))
    throw Error(
        Fault::device,
        concat("the denoising network gave NaN or infinity in ", precision_name(parts.dtype),
               parts.dtype == at::kFloat
                   ? std::string(": its weights are damaged, or the guidance scale is far too high")
                   : concat("; try ", FieldName{"precision"},
                            parts.dtype == at::kHalf ? " bfloat16, whose numbers go further, or" : "", " float32"),
               blame(loras)));
  return with_autoencoder(parts, autoencoder, observer, [&](const Autoencoder& a) {
    return whole_or_in_tiles(
        tiling, observer, [&] { return a.decode(latents); }, [&] { return a.decode_in_tiles(latents); });
  });
}

}  // namespace sdgen
