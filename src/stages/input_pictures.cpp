#include "stages/input_pictures.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/upsample_bicubic2d.h>

#include <algorithm>
#include <cmath>

#include "image/blur.h"
#include "sdgen/error.h"
#include "stages/picture_tensor.h"

namespace sdgen {
namespace {

using at::Tensor;

Size size_of(const Image& image) { return {image.width, image.height}; }

// [1, 1, H, W] in [0, 1]
Tensor grey(const Image& image) {
  std::vector<std::uint8_t> samples = luma(image);
  return at::from_blob(samples.data(), {1, 1, image.height, image.width}, at::kByte).to(at::kFloat) / 255;
}

// Picture and mask before anything fits them to the networks. A mask of another size is resized to the picture's where
// that is asked what lies where; else the networks' size is soon enough, as in diffusers.
InputPictures::Overlay originals(const Request& r) {
  InputPictures::Overlay result{*r.init_image, {}, {}};
  const Size own = size_of(*r.init_image);
  const bool blurred = r.mask_blur.value_or(0) > 0;
  if (r.mask) result.mask = blurred || r.only_masked || r.extend ? resize(*r.mask, own) : *r.mask;
  if (blurred) result.mask = gaussian_blur(result.mask, static_cast<float>(*r.mask_blur));
  if (r.extend) {
    Image all = growth_mask(own, *r.extend);
    if (r.mask) {
      Image inner{all.width, all.height, std::vector<std::uint8_t>(all.rgb.size())};
      paste(inner, result.mask, {r.extend->left, r.extend->top});
      all = brighter(std::move(all), inner);
    }
    result.mask = std::move(all);
    result.picture = grown(*r.init_image, *r.extend);
  }
  return result;
}

[[noreturn]] void nothing_to_repaint(const Request& r) {
  throw Error(Fault::input,
              concat("the mask is black: at ", *r.width, "x", *r.height,
                     " it leaves nothing to repaint (white is repainted; one latent is looked at in its top left "
                     "corner)"));
}

// The size of a picture that has at most so many pixels.
Size bounded(Size size, std::int64_t most_pixels) {
  const double pixels = double(size.width) * size.height;
  if (pixels <= double(most_pixels)) return size;
  const double scale = std::sqrt(double(most_pixels) / pixels);
  return {static_cast<int>(size.width * scale), static_cast<int>(size.height * scale)};
}

// A picture as it is shown. In its own size, what is beyond whole patches is cut off (Flux2KleinPipeline).
Image shown(const Parts& parts, const Image& picture) {
  const Size to = shown_size(parts.shown, picture, parts.latents.multiple);
  if (!parts.shown.sizes.empty()) return resize(picture, to);
  const Size from = bounded(size_of(picture), parts.shown.most_pixels);
  const int left = (from.width - to.width) / 2, top = (from.height - to.height) / 2;
  return crop(from == size_of(picture) ? picture : resize(picture, from),
              {left, top, left + to.width, top + to.height});
}

// StableDiffusionDepth2ImgPipeline.prepare_depth_map
Tensor depth_map(const Parts& parts, const Request& r) {
  const Tensor map =
      at::upsample_bicubic2d(grey(*r.depth), {*r.height / parts.latents.factor, *r.width / parts.latents.factor},
                             /*align_corners=*/false);
  const Tensor least = map.min(), most = map.max();
  if ((least == most).item<bool>())
    throw Error(Fault::input, concat("the depth map is the same everywhere at ", *r.width, "x", *r.height,
                                     ": it says nothing about the picture"));
  return (2.0 * (map - least) / (most - least) - 1.0).to(parts.device);
}

}  // namespace

// Of the model's sizes that of the nearest shape; all in whole patches (FluxKontextPipeline).
Size shown_size(const ShownPictures& shown, const Image& picture, std::int64_t multiple) {
  const auto whole = [side = static_cast<int>(multiple)](int length) { return std::max(length / side, 1) * side; };
  const auto nearest = [&] {
    const double shape = double(whole(picture.width)) / whole(picture.height);
    return *std::ranges::min_element(
        shown.sizes, {}, [shape](const Size& own) { return std::abs(shape - double(own.width) / own.height); });
  };
  const Size size = shown.sizes.empty() ? bounded(size_of(picture), shown.most_pixels) : nearest();
  return {whole(size.width), whole(size.height)};
}

at::Tensor InputPictures::uncovered() const { return pixels * (1 - mask); }

InputPictures::InputPictures(const Parts& parts, const Request& r) {
  const Size size{*r.width, *r.height};
  const auto fitted_to = [&parts](const Image& image, Size to) {
    return to_tensor(resize(image, to)).to(parts.device);
  };
  for (const auto& picture : r.references) references.push_back(to_tensor(shown(parts, *picture)).to(parts.device));
  if (parts.extra_channels == ExtraChannels::steering_picture) steering = fitted_to(*r.controls[0].image, size);
  for (std::size_t i = 0; i < parts.steering.sights.size(); ++i) {
    const Sight::Of of = parts.steering.sights[i].of;
    const bool signed_pixels = of == Sight::Of::pixels || of == Sight::Of::latents;
    controls.push_back(signed_pixels ? fitted_to(*r.controls[i].image, size) : Tensor());
  }
  if (!r.init_image) return;
  if (r.depth) depth = depth_map(parts, r);
  if (!r.mask && !r.extend) {
    pixels = fitted_to(*r.init_image, size);
    return;
  }
  overlay = originals(r);
  Image picture, white;  // what the networks see
  if (r.only_masked) {
    if (black(overlay->mask)) nothing_to_repaint(r);
    overlay->region = masked_region(overlay->mask, size, *r.only_masked);
    picture = fitted(crop(overlay->picture, *overlay->region), size, Fit::fill);
    white = fitted(crop(overlay->mask, *overlay->region), size, Fit::fill);
  } else {
    picture = overlay->picture = resize(overlay->picture, size);
    white = overlay->mask = resize(overlay->mask, size);
  }
  pixels = to_tensor(picture).to(parts.device);
  const at::Tensor painted = (grey(white) >= 0.5).to(at::kFloat);
  const at::Tensor latents = painted.slice(2, 0, {}, parts.latents.factor).slice(3, 0, {}, parts.latents.factor);
  if (!latents.any().item<bool>()) nothing_to_repaint(r);
  mask = painted.to(parts.device);
  latent_mask = latents.contiguous().to(parts.device);
}

Image InputPictures::finished(Image made) const {
  if (!overlay) return made;
  if (const auto& region = overlay->region) {
    Image whole{overlay->picture.width, overlay->picture.height,
                std::vector<std::uint8_t>(overlay->picture.rgb.size())};
    paste(whole, fitted(made, region->size(), Fit::crop), {region->left, region->top});
    made = std::move(whole);
  }
  return overlaid(made, overlay->picture, overlay->mask);
}

void require_something_to_paint(const Parts& parts, const Request& request) {
  if (repaints(request) || request.depth) InputPictures(parts, request);
}

}  // namespace sdgen
