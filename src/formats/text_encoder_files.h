// Text encoders that are published alone: clip_l, clip_g, t5xxl, and folders. No torch here.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "formats/model_files.h"

namespace sdgen {

// Puts the text encoders of these paths, single files or folders with config.json, in the places of those that the
// model lacks, or of its own. Which is which is told by structure, in any order: T5 by its names; of two CLIPs, by
// which widths make what the network takes. Throws Error(usage) for one that the model has no place for, Error(input)
// for what is no text encoder.
void take_text_encoders(ModelFiles& model, const std::vector<std::filesystem::path>& paths);

// The text encoder of a single file, by itself; empty if there is none.
std::optional<Component> text_encoder_of(const std::shared_ptr<const TensorTable>& table);

}  // namespace sdgen
