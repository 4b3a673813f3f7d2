// Some networks draw a few sizes: what is asked for is cut from the one that is nearest in shape.
#pragma once

#include <ATen/core/Tensor.h>

#include "families/family.h"

namespace sdgen {

// The size that the networks work at, of a request whose size is settled.
Size drawn_size(const Latents& latents, const Request& request);

// Pictures [B, 3, H, W], resized until they cover `asked` and cropped around the middle (diffusers'
// PixArtImageProcessor).
at::Tensor cut_to(const at::Tensor& pictures, Size asked);

}  // namespace sdgen
