#include "program/core.h"

#include "families/families.h"
#include "program/draw.h"
#include "program/torch_versions.h"

namespace {
constexpr sdgen::Core kCore = {sdgen::torch_versions, sdgen::cli::draw,        sdgen::vae_roundtrip,
                               sdgen::survey,         sdgen::family_name,      sdgen::native_size,
                               sdgen::require_family, sdgen::require_together, sdgen::require_scheduler};
}

const sdgen::Core& sdgen::linked_core() { return kCore; }

// For programs that link the core. In libsdgen_core.so it is not called: the program has its own, which comes first.
const sdgen::Core& sdgen::core() { return kCore; }
