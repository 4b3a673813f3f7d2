// --from-image: what a picture says of how it was made, as settings.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/lora_folder.h"
#include "cli/options.h"
#include "cli/settings.h"

namespace sdgen::cli {

struct FromImage {
  Settings settings;                  // checked, and good for their options
  std::vector<std::string> warnings;  // what of the picture's making is not taken over
  std::string model_sha256 = {};      // of its model's weights (see ModelHashes); "": unknown, or another is given
  LoraHashes lora_hashes = {};        // of the LoRAs that its prompt names
  bool says_all = false;              // is it a record of sdgen, which has every option that was used?
};

// Reads a picture file: the record that sdgen wrote (record.h), else the text that AUTOMATIC1111 and others write
// (PNG's "parameters"; EXIF's UserComment). Left out is what `given`, which will come first, makes meaningless: the
// settings of a scheduler that is replaced, and of a size that --extend decides. Pictures come from anywhere: of a
// record only what record.h says is taken, of a text only prompts and numbers, and every value goes through its
// option's own reader. The files that a record names must be there. Throws Error(input), with `path` in front, for a
// file that is not such a picture, is damaged, or has nothing that can be read, and where a file is missing that it
// names and `given` does not.
FromImage read_from_image(const std::string& path, const Settings& given, std::span<const OptionRow> rows);

// The same of a record, as JSON text, of the picture `who`.
FromImage settings_of_record(const std::string& record, const std::string& who, const Settings& given,
                             std::span<const OptionRow> rows);

// The record that a picture file's bytes carry, as JSON text; "": none. Throws Error(input), with `who` in front,
// for a damaged file.
std::string record_in(std::string_view picture, const std::string& who);

// A text of AUTOMATIC1111's form as settings, in the terms of this program's options; warnings begin with `who`.
FromImage settings_of_a1111(const std::string& text, const std::string& who, const Settings& given,
                            std::span<const OptionRow> rows);

}  // namespace sdgen::cli
