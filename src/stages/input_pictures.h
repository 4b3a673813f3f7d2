// The pictures that a request brings along, as the networks want them.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "image/repaint.h"
#include "stages/models.h"

namespace sdgen {

// Of a whole request. Undefined tensors: it has no such picture. All are float32 on the model's device.
struct InputPictures {
  at::Tensor pixels;       // [1, 3, H, W] in [-1, 1]: what the picture is made of
  at::Tensor mask;         // [1, 1, H, W]: 1 where it is repainted, else 0
  at::Tensor latent_mask;  // [1, 1, h, w]: the mask's samples at the top left corners of the latents
  at::Tensor depth;        // [1, 1, h, w] from -1 to 1
  at::Tensor steering;     // [1, 3, H, W] in [-1, 1]: what steers through the network's channels
  // The same of what steers beside the network, for those that do not see pixels in [0, 1].
  std::vector<at::Tensor> controls;
  std::vector<at::Tensor> references;  // [1, 3, H', W'] in [-1, 1]: what it is shown

  at::Tensor uncovered() const;  // the pixels without those that are repainted

  // What is laid over the result (diffusers' apply_overlay), of its size: the picture, and how white it is to be
  // covered. With a region the networks work on that part alone.
  struct Overlay {
    Image picture, mask;
    std::optional<Box> region;
  };
  std::optional<Overlay> overlay;

  // Throws Error(input) for a mask that repaints nothing and for a depth map that is the same everywhere.
  InputPictures(const Parts& parts, const Request& request);
  InputPictures() = default;

  // The picture that the networks made, with what is to be kept put back.
  Image finished(Image made) const;
};

// The size in which a picture is shown to a model that edits pictures.
Size shown_size(const ShownPictures& shown, const Image& picture, std::int64_t multiple);

// Throws Error(input) as InputPictures does. Pictures wait in their files' own size until they are drawn from:
// prepared, those of a long list would not fit into memory.
void require_something_to_paint(const Parts& parts, const Request& request);

}  // namespace sdgen
