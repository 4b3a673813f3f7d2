#include "program/core.h"

#include "families/families.h"
#include "program/draw.h"
#include "program/dry_run.h"
#include "program/torch_versions.h"

namespace {
constexpr sdgen::Core kCore = {.versions = sdgen::torch_versions,
                               .prepare = [](int threads) { const sdgen::Runtime runtime(threads); },
                               .draw = sdgen::cli::draw,
                               .dry_run = sdgen::cli::dry_run,
                               .vae_roundtrip = sdgen::vae_roundtrip,
                               .survey = sdgen::survey,
                               .family_name = sdgen::family_name,
                               .native_size = sdgen::native_size,
                               .require_family = sdgen::require_family,
                               .require_together = sdgen::require_together,
                               .require_scheduler = sdgen::require_scheduler};
}

const sdgen::Core& sdgen::linked_core() { return kCore; }

// For programs that link the core. In libsdgen_core.so it is not called: the program has its own, which comes first.
const sdgen::Core& sdgen::core() { return kCore; }
