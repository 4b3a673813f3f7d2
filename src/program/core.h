// What needs libtorch, as the rest of the program sees it. The program itself does not link libtorch: core() opens
// libsdgen_core.so when a network is first wanted, so that everything else (help, wrong usage, pictures, headers of
// files) is there at once, and so that another OpenMP run time can be opened before it (src/program/open_core.cpp).
// Tests and tools link the core.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/jobs.h"
#include "cli/versions.h"
#include "formats/model_files.h"
#include "formats/survey.h"
#include "program/vae_roundtrip.h"
#include "sdgen/sdgen.h"

namespace sdgen {

namespace cli {
class Run;
}

struct Core {
  std::vector<cli::Version> (*versions)();  // of libtorch and of what is in it
  void (*prepare)(int threads);             // the process, before any of what follows: Runtime
  // Loads the model and makes the pictures of `next` and of all jobs after them (draw.h).
  void (*draw)(cli::Run& run, std::vector<cli::Job> next);
  void (*dry_run)(cli::Run& run, std::vector<cli::Job> next);  // says what they would be (dry_run.h)
  Roundtrip (*vae_roundtrip)(const std::filesystem::path& model, const LoadOptions& options, const Image& picture,
                             Observer& observer);
  // What families.h has under these names.
  Survey (*survey)(const Component& component);
  std::string (*family_name)(const ModelFiles& model);
  Size (*native_size)(const ModelFiles& model);
  void (*require_family)(const Config& index);
  void (*require_together)(const ModelFiles& model);
  void (*require_scheduler)(const ModelFiles& model);
};

// Throws Error(internal) where it cannot be opened: the installation is not whole.
const Core& core();
// The one that is linked into this very library or program.
const Core& linked_core();

}  // namespace sdgen
