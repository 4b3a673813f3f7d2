#include "cli/looking.h"

#include <cstdlib>

namespace sdgen::cli {

Looking::Looking(const Options& options, Progress& progress)
    : progress_(progress), previews_(progress, options.preview_every) {
  if (options.grid)
    grid_.emplace(GridShape{options.grid->width, options.grid->height},
                  Grid::Rules{options.overwrite, options.skip_existing,
                              [&progress](const std::string& line) { progress.note(line); }});
  if (options.show) terminal_ = terminal_for_pictures([](const char* name) { return std::getenv(name); });
}

void Looking::plan(const std::vector<Job>& made, const std::vector<Job>& skipped) {
  const std::lock_guard guard(lock_);
  if (grid_) grid_->plan(made, skipped);
}

void Looking::expect(const std::vector<Job>& jobs) {
  std::vector<std::filesystem::path> files;
  for (const Job& job : jobs) files.push_back(job.file);
  previews_.expect(std::move(files));
}

void Looking::finished(const Finished& picture) {
  previews_.finished(picture.file);
  if (terminal_) progress_.print(shown(picture.image, *terminal_));
  const std::lock_guard guard(lock_);
  if (grid_) grid_->add(picture.index, picture.image);
}

void Looking::end() {
  if (grid_) grid_->end();
}

}  // namespace sdgen::cli
