// LoRA files as they are asked for: --lora PATH:SCALE, and AUTOMATIC1111's <lora:NAME:SCALE> in prompts.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

// PATH, PATH:SCALE or PATH:unet=X,te=Y (either may be left out: 1). What follows the last ':' is a scale unless it has
// a '/' or ends in ".safetensors". Throws Error(usage).
Lora lora(const Argument& argument);
// As it is read.
std::string written(const Lora& lora);

// Takes the tags of LoRAs out of `prompt` and adds the files that `find` has for their names to `loras`:
//   <lora:NAME>  <lora:NAME:SCALE>  <lora:NAME:TE:UNET>  <lora:NAME:te=X:unet=Y>  <lyco:...>
// as AUTOMATIC1111 reads them: UNET is TE, and TE 1, where it is not given. <KIND:...> is a tag whatever its kind: no
// other is drawn as words. Throws Error(usage) for those, and for a tag that cannot be read or has no end; what `find`
// throws comes with the tag in front.
void take_lora_tags(std::string& prompt, const std::function<std::filesystem::path(const std::string& name)>& find,
                    std::vector<Lora>& loras);
// Throws Error(usage) where another text, what `flag` says, has such a tag.
void refuse_tags(const std::string& text, const std::string& flag);

}  // namespace sdgen::cli
