// What a pipeline runs, and what of it belongs to the whole rather than to a model.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "families/families.h"

namespace sdgen {

// A model, and the refiner that finishes its pictures.
struct Models {
  std::string name;  // the model's, as the user calls it
  Parts base;
  std::optional<Parts> refiner = {};
  std::vector<Lora> loras = {};  // of all requests

  std::size_t count() const { return refiner ? 2 : 1; }
  const Parts& operator[](std::size_t i) const { return i == 0 ? base : *refiner; }
  // Whose autoencoder turns the latents into pictures.
  const Parts& last() const { return refiner ? *refiner : base; }
  int clip_skips() const {
    const int own = base.text ? base.text->most_skipped : 0;
    return refiner && refiner->text ? std::min(own, refiner->text->most_skipped) : own;
  }
  int size_factor() const { return static_cast<int>(base.latents.multiple); }
};

// Is a part of the picture kept?
inline bool repaints(const Request& request) { return request.mask || request.extend; }

// What the model says where a request says nothing.
inline const Defaults& defaults_of(const Models& models, const Request& request) {
  const Parts& parts = models.base;
  return repaints(request) ? parts.repaint : request.init_image ? parts.of_picture : parts.defaults;
}

}  // namespace sdgen
