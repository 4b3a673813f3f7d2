// What is recorded about a finished picture: in its PNG, and on stdout with --json.
#pragma once

#include <filesystem>
#include <string>

#include "cli/record.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

// The text that AUTOMATIC1111's web UI keeps under "parameters" and that it, Civitai and many viewers read back:
//   PROMPT
//   Negative prompt: NEGATIVE
//   Steps: 20, Sampler: DPM++ 2M, Schedule type: Uniform, CFG scale: 7.5, Seed: 42, Size: 512x768, Model: NAME, RNG:
//   CPU, ...
// Layout and key order: modules/processing.py create_infotext, quoting: modules/infotext_utils.py of
// stable-diffusion-webui 1.10. The hashes are its: of single files, none of folders, which it does not know.
std::string a1111_parameters(const PictureFacts& made);

// Seconds. Those of a batch belong to each of its pictures.
struct Timings {
  double load = 0, text = 0, denoise = 0, decode = 0;
};

// What the bytes of a picture depend on beside its request ("The same bytes" in src/README.md).
struct Machine {
  std::string cpu = {};    // its instruction set: "AVX512 AVX512-BF16"
  std::string build = {};  // of sdgen, and libtorch's version
  int threads = 0;
  bool operator==(const Machine&) const = default;
};

// One JSON object on one line, newline included: "file", "sha256" of its bytes, the record (see record.h), and what
// does not belong to the picture: "device", "machine", "timings", and where there are any "loras" and "words", how they
// fit.
std::string json_line(const PictureFacts& made, const std::string& file, const Timings& timings,
                      const std::string& sha256, const Machine& machine = {});

// The same of a picture that another process has made, from what it says of itself: without timings and the like; where
// it says nothing, "file" and "sha256" alone. Throws Error(input) when `picture` cannot be read.
std::string json_line_of(const std::filesystem::path& picture, const std::string& file);

// The line of `sdgen vae-roundtrip`: "PSNR 31.25 dB", or {"file": ..., "psnr": 31.2534} (null where nothing was lost).
std::string roundtrip_line(double psnr, const std::filesystem::path& file, bool json);

}  // namespace sdgen::cli
