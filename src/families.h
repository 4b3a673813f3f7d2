// The one place that knows model families apart: from a model folder to the parts that a pipeline runs.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "io/json.h"
#include "nn/backbone.h"
#include "nn/vae.h"
#include "sdgen/sdgen.h"
#include "text/conditioner.h"

namespace sdgen {

struct Parts {
  std::string family;  // "_class_name" of model_index.json
  at::Device device;
  at::ScalarType dtype;
  // Builds the text encoders when they are needed: their scope is their memory plan.
  std::function<std::unique_ptr<TextConditioner>()> text;
  std::unique_ptr<Backbone> backbone;
  std::int64_t guidance_embed_width = 0;  // > 0: the guidance scale is an input of the backbone, not a second pass
  // The autoencoder in its own precision, or in another when that one overflows.
  std::unique_ptr<Vae> vae;
  at::ScalarType vae_dtype;
  std::function<std::unique_ptr<Vae>(at::ScalarType)> make_vae;
  Config scheduler;
  Request defaults;  // what the model says of sizes, steps, guidance; prompt and seed unset
};

// Reads a diffusers folder. `warn` is told about tensors that nothing reads. Throws Error(input).
Parts assemble(const std::filesystem::path& model, at::Device device, Precision precision,
               const std::function<void(const std::string&)>& warn);

}  // namespace sdgen
