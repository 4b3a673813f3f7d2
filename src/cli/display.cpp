#include "cli/display.h"

#include <algorithm>
#include <cstdlib>

namespace sdgen::cli {
namespace {

// The shape of contact sheets, if there are to be any.
std::optional<GridShape> shape(const Options& options, const Sweep* sweep) {
  constexpr std::size_t most = 20;  // headings of a side that one can take in
  if (options.output.grid) return GridShape{options.output.grid->columns, options.output.grid->rows};
  if (!sweep || options.run.shards > 1) return std::nullopt;
  GridShape shape{0, 0, sweep->column_headings(), sweep->row_headings()};
  shape.columns = static_cast<int>(shape.column_headings.size());
  shape.rows = std::max(1, static_cast<int>(shape.row_headings.size()));
  if (shape.column_headings.size() > most || shape.row_headings.size() > most) return std::nullopt;
  return shape;
}

}  // namespace

Display::Display(const Options& options, const Sweep* sweep, Progress& progress)
    : progress_(progress),
      previews_(progress, options.output.preview_every, existing_files(options) != Existing::refused,
                options.output.mark,
                [&progress](const auto& picture, const auto& preview) { progress.previewed(picture, preview); }) {
  if (const auto sheets = shape(options, sweep))
    grid_.emplace(*sheets,
                  Grid::Rules{existing_files(options), [&progress](const std::string& line) { progress.note(line); },
                              options.output.mark});
  if (options.output.show) terminal_ = terminal_for_pictures([](const char* name) { return std::getenv(name); });
}

void Display::plan(const std::vector<Job>& made, const std::vector<Job>& skipped) {
  const std::lock_guard guard(lock_);
  if (grid_) grid_->plan(made, skipped);
}

void Display::expect(const std::vector<Job>& jobs) {
  std::vector<Previews::Of> pictures;
  for (const Job& job : jobs) pictures.push_back({job.file, job.of_pictures()});
  previews_.expect(std::move(pictures));
}

void Display::finished(const Finished& picture) {
  previews_.finished(picture.file);
  if (terminal_) progress_.print(shown(picture.image, *terminal_));
  const std::lock_guard guard(lock_);
  if (grid_) grid_->add(picture.index, picture.image);
}

void Display::end() {
  if (grid_) grid_->end();
}

}  // namespace sdgen::cli
