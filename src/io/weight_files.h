// Which of the files in a component's folder hold its weights.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sdgen {

// The files of one model component in `folder` whose weights are called `stem` ("diffusion_pytorch_model", "model"):
// STEM.safetensors, else the shards that STEM.safetensors.index.json lists, else the same with the variant ".fp16"
// (STEM.fp16.safetensors, STEM.safetensors.index.fp16.json or STEM.fp16.safetensors.index.json). Shard names must be
// plain file names of the same folder. Throws Error(input); when only pickles (.bin, .ckpt) are there it says why they
// are refused and how to convert them.
std::vector<std::filesystem::path> find_weight_files(const std::filesystem::path& folder, const std::string& stem);

}  // namespace sdgen
