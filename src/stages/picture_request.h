// The pictures of a request, before they are looked at.
#pragma once

#include "stages/models.h"

namespace sdgen {

// Fills what a request's pictures decide: its margins and its size. Throws Error(usage) for pictures that the request
// lacks, or that its model has no use for.
void settle_pictures(const Models& models, Request& request);

}  // namespace sdgen
