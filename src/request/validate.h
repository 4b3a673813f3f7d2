// What no model can make of a request: rules that need no network, so that a front says them before a model is loaded.
#pragma once

#include <cstddef>
#include <optional>

#include "sdgen/sdgen.h"

namespace sdgen {

// Beside the model.
struct Networks {
  std::size_t controlnets = 0, adapters = 0;
  bool refiner = false;
  // Does the model itself take a picture that steers? Nothing: a front does not know.
  std::optional<bool> steered_itself = {};
};

// Throws Error(usage). Of pictures it only asks whether they are there.
void validate(const Request& request, const Networks& networks);

}  // namespace sdgen
