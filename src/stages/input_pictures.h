// The pictures that a request brings along, as the networks want them.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "families/families.h"
#include "image/repaint.h"

namespace sdgen {

// What the pictures of a completed request are, and how they are to be fitted: all that a Source depends on.
struct Pictures {
  Size size;
  std::shared_ptr<const Image> init_image, mask, depth;
  std::optional<int> mask_blur, only_masked;
  std::optional<Margins> extend;

  Pictures(const Request& r)
      : size{*r.width, *r.height},
        init_image(r.init_image),
        mask(r.mask),
        depth(r.depth),
        mask_blur(r.mask_blur),
        only_masked(r.only_masked),
        extend(r.extend) {}
  bool operator==(const Pictures&) const = default;
};

// Of a completed request. Undefined tensors: it has no such picture. All are float32 on the model's device.
struct InputPictures {
  at::Tensor pixels;       // [1, 3, H, W] in [-1, 1]: what the picture is made of
  at::Tensor mask;         // [1, 1, H, W]: 1 where it is repainted, else 0
  at::Tensor latent_mask;  // [1, 1, h, w]: the mask's samples at the top left corners of the latents
  at::Tensor depth;        // [1, 1, h, w] from -1 to 1

  // What is laid over the result (diffusers' apply_overlay), of its size: the picture, and how white it is to be
  // covered. With a region the networks work on that part alone.
  struct Overlay {
    Image picture, mask;
    std::optional<Box> region;
  };
  std::optional<Overlay> overlay;

  // Throws Error(input) for a mask that repaints nothing and for a depth map that is the same everywhere.
  InputPictures(const Parts& parts, const Pictures& pictures);
  InputPictures() = default;

  // The picture that the networks made, with what is to be kept put back.
  Image finished(Image made) const;
};

// Keeps the last request's: in a run all have the same, as a rule.
class InputPictureCache {
 public:
  explicit InputPictureCache(const Parts& parts) : parts_(parts) {}
  const InputPictures& operator()(const Pictures& pictures);

 private:
  const Parts& parts_;
  std::optional<Pictures> pictures_;
  InputPictures source_;
};

}  // namespace sdgen
