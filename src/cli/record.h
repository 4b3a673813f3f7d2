// What made a picture, as one JSON object: in the picture's own metadata, in a line of --json, in a manifest.
//
//   {"sdgen":"0.1.0","prompt":"a fox","seed":7,...,"model":"sd15.safetensors","scheduler_used":"pndm","hashes":{...}}
//
// Its keys are long options with '_' for '-', the values as a line of a .jsonl file may have them, so that it is read
// back by the readers of the command line and makes the same picture again, bit by bit. What the model's own config
// says is not repeated: "scheduler" and "prediction_type" are there only where they were said (the model's own
// scheduler may have settings that no name describes). Some keys are not options: "sdgen", the version;
// "scheduler_used" and "prediction_type_used", which ran; "quality_used", of the file; "hashes", which files these
// were: SHA-256 of the weights and the input pictures, by the option that named them (LoRAs, textual inversions and
// control nets: AUTOMATIC1111's digits). Paths are what was said, relative ones too: no picture gives away where its
// maker's home is, and equal requests in different folders make equal files. It says nothing of output, time, shard and
// device.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/settings.h"
#include "io/json.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

struct OptionRow;

// SHA-256 of the weights of a run's networks (of a folder's: the U-Net's, or the autoencoder's own); "": unknown.
struct ModelHashes {
  std::string model = {}, backbone = {}, vae = {}, refiner = {};
  std::vector<std::string> text_encoders = {};
};

// What a Request does not know of the files that a picture is made of.
struct RecordedInputs {
  struct File {
    std::string path, sha256;
    bool operator==(const File&) const = default;
  };
  Settings given;              // those of the options that are a matter of being said: see named()
  std::vector<File> pictures;  // init image, mask, ...
  bool operator==(const RecordedInputs&) const = default;
};
// Of all that was said, what names files, and what a planned request has in any case.
Settings named(const Settings& given);

// Everything that is known about one picture.
struct PictureFacts {
  const RecordedInputs& sources;
  const Request& request;          // of its plan
  const SchedulerInfo& scheduler;  // that ran
  const Computation& computation;
  const ModelInfo& model;
  const std::vector<LoraInfo>& loras;  // of its plan
  const ModelHashes& hashes;
  std::optional<int> quality = {};  // of its file, where it was said
};

OrderedJson record(const PictureFacts& made);
// On one line, in ASCII, which every reader of text in pictures understands. Of a path that is not UTF-8 the
// wrong bytes become U+FFFD.
std::string record_text(const PictureFacts& made);

struct ReadRecord {
  Settings settings;                 // about the picture and the model
  std::vector<std::string> unknown;  // keys that are neither an option of a record nor beside them
  // "model" and "init_image", "mask", ... with the SHA-256 of the files, as far as the record has them.
  std::vector<std::pair<std::string, std::vector<std::string>>> hashes;
};

// What a record says about its picture and the model. A record may come from anywhere: output, device, threads and
// whatever else is not about the picture itself are never taken from one. It can name files that are then read as if
// the command line had named them. Throws Error(usage) for JSON that is not a record; the values are not looked at
// here, but by the options' own readers.
ReadRecord read_record(std::string_view json);

// The options that a record has, in its order: those of the picture, then the others.
const std::vector<OptionRow>& recorded_options();

// Is this option part of a record?
bool is_recorded(std::string_view option);

}  // namespace sdgen::cli
