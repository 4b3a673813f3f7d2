// --preview-every: what the pictures under way look like, in files beside them.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "io/file.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

// "out/fox.preview.png" of "out/fox.png".
std::filesystem::path preview_file(const std::filesystem::path& picture);

// Writes previews, and passes everything else on. finished() may be called by another thread. No preview outlives it,
// nor an end by a signal.
class Previews : public Observer {
 public:
  // Told of a picture's file and its preview's.
  using Written = std::function<void(const std::filesystem::path& picture, const std::filesystem::path& preview)>;
  // After every so many steps, 0: never. `replace`: files that have a preview's name are what an interrupted run left.
  // `mark`: they say that a model made them.
  Previews(Observer& next, int every, bool replace, bool mark = true, Written written = {})
      : next_(next), every_(every), replace_(replace), mark_(mark), written_(std::move(written)) {}

  // The file of a picture, and whether that is made of other pictures.
  struct Of {
    std::filesystem::path file;
    bool of_pictures = false;
  };
  // What the pictures of the pipeline's next call will be. Throws Error(usage) where no preview can lie beside one (a
  // device), Error(output) where a file has its name.
  void expect(std::vector<Of> pictures);
  // The picture is there: its preview goes.
  void finished(const std::filesystem::path& file);

  bool wants_preview(int done, int total) override;
  void preview(std::size_t first, const std::vector<Image>& pictures) override;  // throws Error(output)

  void stage(Stage stage, std::size_t first, double seconds) override { next_.stage(stage, first, seconds); }
  void step(std::size_t first, std::size_t pictures, int done, int total) override {
    next_.step(first, pictures, done, total);
  }
  void computed(std::size_t first, const Computation& how) override { next_.computed(first, how); }
  void detail(const std::string& message) override { next_.detail(message); }
  void warning(const std::string& message) override { next_.warning(message); }
  void warning_of_fields(const Error& about) override { next_.warning_of_fields(about); }
  bool cancelled() override { return next_.cancelled(); }

 private:
  Observer& next_;
  const int every_;
  const bool replace_, mark_;
  const Written written_;
  std::vector<Of> pictures_;
  std::mutex lock_;
  std::map<std::filesystem::path, PassingFile> shown_;  // by the pictures that they are of
};

}  // namespace sdgen::cli
