// What a pipeline runs, and what of it belongs to the whole rather than to a model.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>

#include "families/families.h"

namespace sdgen {

// A model, and the refiner that finishes its pictures.
struct Models {
  std::string name;  // the model's, as the user calls it
  Parts base;
  std::optional<Parts> refiner;

  // Whose autoencoder turns the latents into pictures.
  const Parts& last() const { return refiner ? *refiner : base; }
  int clip_skips() const {
    const int own = base.text ? base.text->most_skipped : 0;
    return refiner && refiner->text ? std::min(own, refiner->text->most_skipped) : own;
  }
  int size_factor() const { return static_cast<int>(base.latents.multiple); }
};

// Is the network asked with and without the prompt?
inline bool guided(const Parts& parts, const Request& request) {
  return request.guidance_scale.value_or(0) > 1 && parts.guidance_embed_width == 0;
}

// Pipeline::complete(): fills what a request leaves open and checks all of it. Throws Error(usage).
Request complete(const Models& models, Request request);

// Throws Error(usage) where a prompt is missing, or given to a model that takes no text.
void require_prompt(bool takes_text, const std::string& model, const Request& request);

}  // namespace sdgen
