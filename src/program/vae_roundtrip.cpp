#include "program/vae_roundtrip.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "device/device.h"
#include "image/compare.h"
#include "image/resize.h"
#include "stages/picture.h"
#include "stages/picture_tensor.h"

namespace sdgen {

Roundtrip vae_roundtrip(const std::filesystem::path& model, const LoadOptions& options, const Image& picture,
                        Observer& observer) {
  const c10::InferenceMode inference;
  const AssembleOptions how{.device = open_device(options.device), .precision = options.precision, .vae = options.vae};
  const Parts parts =
      assemble_autoencoder(model, how, [&observer](const std::string& message) { observer.warning(message); });
  const auto autoencoder = parts.picture.make(parts.picture.dtype);
  const int factor = static_cast<int>(parts.latents.factor);
  const auto side = [factor](int length) { return std::max(length / factor, 1) * factor; };
  const Image small = resize(picture, {side(picture.width), side(picture.height)});
  Tiling encoding{options.vae_tiling};
  const at::Tensor latents =
      encode(parts, *autoencoder, to_tensor(small).to(parts.device), /*noise=*/{}, encoding, observer);
  Tiling decoding{encoding.on};
  Image image = to_image(decode(parts, *autoencoder, latents, {}, decoding, observer).cpu()[0]);
  const double quality = psnr(small, image);
  return {std::move(image), quality};
}

}  // namespace sdgen
