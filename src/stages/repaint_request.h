// The part of Pipeline::complete() that is about masks, margins and depth maps.
#pragma once

#include "stages/models.h"

namespace sdgen {

// Is a part of the picture kept?
inline bool repaints(const Request& request) { return request.mask || request.extend; }

// Throws Error(usage) for pictures that the request lacks, or that its model has no use for.
void require_repaint_meaning(const Models& models, const Request& request);

// Lets margins grow until the picture's sides are multiples of `factor`: on the right and at the bottom, or where only
// the left or the top grows, there. Nothing is done where the networks work on the masked part alone.
void round_margins(Request& request, int factor);

// The size of the init image with its margins.
Size grown_size(const Request& request);

}  // namespace sdgen
