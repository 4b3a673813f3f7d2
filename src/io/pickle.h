// Files as PyTorch's torch.save() writes them: known, and never read.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace sdgen {

// Does this file name end like theirs?
bool is_pickle_name(const std::filesystem::path& name);
// Do these first bytes of a file begin like one: a zip archive, or a pickle's protocol number?
bool begins_like_pickle(std::string_view head);
// By its name or by its first bytes. Throws Error(input) when it cannot be read.
bool is_pickle(const std::filesystem::path& path);

// Why it is not read and how to convert it: what follows "FILE: " or "it ".
std::string pickle_refusal();

}  // namespace sdgen
