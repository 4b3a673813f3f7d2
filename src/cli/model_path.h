// Where models and networks are, and which model to load when the command line does not say.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace sdgen::cli {

// A model, a network or a file by a path, or by its name on the hub (ORG/NAME) where the hub's local cache has it
// ($HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub). A
// folder of the cache is followed to the snapshot that its "main" names, else to its latest. What is in neither place
// stays as it is.
std::filesystem::path located(const std::string& said);

// What --model may say for the model that comes with sdgen.
constexpr const char* kEmbeddedModel = "embedded";

// What --model would have to say for the model that is used: `flag`, else $SDGEN_MODEL, else kEmbeddedModel.
std::string model_said(const std::optional<std::string>& flag);

// The first of: `flag` (--model), $SDGEN_MODEL, and the embedded model where it exists: $SDGEN_DATA/default,
// ../models/default beside the executable's build folder, ../share/sdgen/default beside an installed executable's bin.
// kEmbeddedModel means that one wherever it lies; a folder of this name is "./embedded".
// Throws Error(input) when what was asked for is not there, or none is; the message lists where was looked.
std::filesystem::path find_model(const std::optional<std::string>& flag);

}  // namespace sdgen::cli
