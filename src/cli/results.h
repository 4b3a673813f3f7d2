// Finished pictures leave the program here: the file to its place, its line to the manifest, its line to stdout.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "cli/manifest.h"
#include "cli/metadata.h"
#include "cli/model_hashes.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "image/image_format.h"

namespace sdgen::cli {

// The picture that should come out, and what it is called; null: none is expected.
struct Expected {
  std::shared_ptr<const Image> image = nullptr;
  std::string name = {};
};

// A picture that is made, and what is recorded about it.
struct Finished {
  std::filesystem::path file;  // empty: stdout
  Image image;
  Request request;                 // of its plan
  const SchedulerInfo* scheduler;  // that ran
  std::vector<LoraInfo> loras;     // of its plan
  std::shared_ptr<const RecordedInputs> sources;
  Computation computation = {};
  Timings timings = {};
  std::uint64_t index = 0;  // of the run
  Expected expected = {};
};

// Two threads may use it: one that gathers jobs, and the writer's.
class Results {
 public:
  // Both must outlive this.
  Results(const Options& options, Progress& progress);

  // Opens what will be written to, so that it is known before the first picture, which `machine` makes. Throws
  // Error(output).
  void prepare(const Machine& machine);

  // The same, as far as it can be known without writing. Throws Error(output).
  void check() const;

  // A picture will be written to this file: makes its folder, the first time. One that vanishes during a run is not
  // made again. Throws Error(output).
  void expect(const std::filesystem::path& file);

  // Throws Error(usage) for a planned picture with more pixels a side than the options' format holds.
  void require_fits(const Request& planned) const;

  // Are pictures in their files other than as they were made?
  bool loses() const { return format_.quality > 0 || options_.output.quality.has_value(); }

  bool has_manifest() const { return !manifest_path_.empty(); }

  // The bytes of the picture's file.
  std::vector<std::byte> encoded(const Image& image, const PictureFacts& made, const std::filesystem::path& file);

  // Writes the picture in the options' format, whole or not at all, and then its lines. With --skip-existing one that
  // another process has written meanwhile stays. Throws Error(output).
  void save(const Finished& picture, const ModelInfo& model, const ModelHashing& hashes);

  // Says that these files are there already. One that the manifest lacks was written by a process that was
  // killed before it could: it gets its line now, from what the picture says of itself. Throws Error(output).
  void keep(const std::vector<std::filesystem::path>& files);

 private:
  Manifest& manifest();  // with the lock

  const Options& options_;
  Progress& progress_;
  const Existing existing_;
  const ImageFormat& format_;
  const std::filesystem::path manifest_path_;
  Machine machine_;
  std::mutex lock_;
  std::optional<Manifest> manifest_;
  std::set<std::filesystem::path> folders_;
};

// What a picture says of where it comes from: "" where it says nothing (`mark`: --no-mark was not given).
std::string source_type(bool mark, bool made_of_pictures);

// Writes `image` to `file` (empty: stdout), whole or not at all. Throws Error(output).
void save_picture(const std::filesystem::path& file, const ImageFormat& format, const Image& image,
                  const PictureTexts& texts, bool overwrite);

}  // namespace sdgen::cli
