// The table of families, and what the other rooms ask of a model: one function each, answered by its family.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "families/family.h"
#include "formats/survey.h"

namespace sdgen {

// One row for each pipeline class, sorted by its name.
const std::vector<Family>& families();

// Does this folder or file hold a model that draws what a text says? Reads model_index.json alone; true where it says
// nothing that is known. Throws Error(input) when it is malformed.
bool takes_text(const std::filesystem::path& model);

// Reads a model: a diffusers folder or a single file. `warn` gets what is in it and not used. Throws
// Error(input).
Parts assemble(const std::filesystem::path& model, const AssembleOptions& options, const Warn& warn);

// The same of a model's autoencoder alone, or of the one to use instead: everything else in Parts is left open.
Parts assemble_autoencoder(const std::filesystem::path& model, const AssembleOptions& options, const Warn& warn);

// Builds a network without reading its tensors: whatever is wrong with config, names and shapes is found now. Throws
// Error(input).
Survey survey(const Component& component);

// Throws Error(input) unless the pipeline class of a model_index.json is in the table.
void require_family(const Config& index);
// Throws Error(usage or input) where the model's scheduler would not run.
void require_scheduler(const ModelFiles& model);
// Throws Error(input) unless a model's parts fit together, as far as their configs tell.
void require_together(const ModelFiles& model);

// What people call the family: "Stable Diffusion 1", "Stable Diffusion 2", "SDXL", "SDXL refiner", with " inpainting",
// " depth" or " LCM" added where that is so; "unconditional". Throws Error(input) as require_family does.
std::string family_name(const ModelFiles& model);

// The size of the pictures that the networks were trained on. Throws Error(input).
Size native_size(const ModelFiles& model);

}  // namespace sdgen
