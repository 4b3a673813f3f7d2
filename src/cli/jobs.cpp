#include "cli/jobs.h"

#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>

#include "io/file.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

enum class Found { nothing, file, device };  // device: also pipes and sockets, which are written to, not replaced

Found look(const fs::path& file) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  switch (status.type()) {
    case fs::file_type::not_found:
      return Found::nothing;
    case fs::file_type::regular:
      return Found::file;
    case fs::file_type::directory:
      throw Error(Fault::output, concat("'", printable(file.string()), "' is a folder; a picture would have its name"));
    case fs::file_type::none:
    case fs::file_type::unknown:
      throw Error(Fault::output, concat("'", printable(file.string()), "' cannot be written: ", error.message()));
    default:
      return Found::device;
  }
}

bool has_no_bytes(const fs::path& file) {
  std::error_code error;
  return fs::file_size(file, error) == 0 && !error;
}

}  // namespace

void require_not_an_input(const Options& options, const fs::path& file) {
  if (options.existing) return;
  const auto check = [&](const std::string& flag, const std::optional<std::string>& input) {
    std::error_code no_file;
    if (input && fs::equivalent(file, *input, no_file))
      throw Error(Fault::output,
                  concat("'", printable(file.string()), "' is what ", flag, " reads; --overwrite replaces it"));
  };
  check("--init-image", options.init_image);
  check("--mask", options.mask);
  check("--depth", options.depth);
  for (const std::string& image : options.control_images) check("--control-image", image);
  check("--from-image", options.from_image);
  check("--prompts", options.prompts);
  check("--config", options.config);
}

void require_stdout_takes_pictures() {
  if (isatty(STDOUT_FILENO) == 1)
    throw Error(Fault::usage, "--output -: stdout is a terminal; redirect it to a file or a program");
}

Jobs::Jobs(const Options& options, std::string model_name, std::span<const OptionRow> rows,
           std::function<bool()> cancelled)
    : options_(options),
      model_name_(std::move(model_name)),
      rows_(rows),
      existing_(existing_files(options)),
      first_seed_(options.request.seed ? *options.request.seed : std::random_device()()) {  // 32 random bits
  if (options.sweep) {
    sweep_.emplace(*options.sweep, rows);
    for (const Sweep::Axis& axis : sweep_->axes())
      if (has(options.given, axis.option))
        throw Error(Fault::usage, concat(axis.option, " is swept: leave it out, or take it out of --sweep"));
  }
  if (options.wildcards) wildcards_.emplace(*options.wildcards);
  if (options.output == "-")
    require_stdout_takes_pictures();
  else
    name_ = output_template(options.output, several(options), options.format);
  if (options.prompts) {
    lines_.emplace(*options.prompts);
    lines_->set_known([this](const std::string& flag) { return find(rows_, flag) != nullptr; });
    lines_->set_cancelled(std::move(cancelled));
  }
}

bool Jobs::ready() { return !lines_ || lines_->ready(); }

std::vector<Job> Jobs::take_skipped() { return std::exchange(skipped_, {}); }

const std::vector<std::string>& Jobs::unused_columns() const {
  static const std::vector<std::string> none;
  return lines_ ? lines_->unused_columns() : none;
}

std::optional<std::vector<Job>> Jobs::next() {
  if (!lines_) {
    ended_ = index_ > 0;
    if (ended_) return std::nullopt;
    return jobs_of(options_, /*own_seed=*/sweep_ && sweep_->has("--seed"), "");
  }
  const std::uint64_t before = index_;
  try {
    std::optional<BatchLine> line;
    try {
      line = lines_->next();
    } catch (const Error& error) {
      unreadable_ = error.fault() != Fault::usage;
      throw;
    }
    ended_ = !line;
    if (ended_) return std::nullopt;
    return jobs_of_line(*line);
  } catch (const Error&) {
    // A line that could not be read as far as that.
    if (index_ == before) index_ += options_.num_images * (sweep_ ? sweep_->cells() : 1);
    throw;
  }
}

std::vector<Job> Jobs::jobs_of_line(const BatchLine& line) {
  try {
    return jobs_of(options_of(line), has(line.options, "--seed") || (sweep_ && sweep_->has("--seed")), line.where);
  } catch (const Error& error) {
    if (error.fault() == Fault::output) throw;
    throw Error(error.fault(), concat(line.where, ": ", error.text()));
  }
}

// What the command line says comes before what a line says, except for the seed: there it is the first of the run.
Options Jobs::options_of(const BatchLine& line) const {
  Settings said = checked(line.options, rows_);
  for (const auto& [option, value] : said)
    if (!find(rows_, option)->of_a_picture())
      throw Error(Fault::usage, concat(option, " belongs to the whole run, not to a line"));
  Options unheard;
  apply(said, rows_, unheard);  // what is wrong is wrong even where the command line comes first
  Settings given = options_.given;
  if (has(said, "--seed")) std::erase_if(given, [](const Setting& s) { return s.option == "--seed"; });
  Options options;
  options.given = options_.given;
  options.said = merged(merged(given, said), options_.defaults);
  apply(options.said, rows_, options);
  return options;
}

// The options in every combination of the sweep, read again: what an option says in passing about another one counts
// for its own cells alone.
std::vector<Options> Jobs::cells(const Options& line) const {
  if (!sweep_) {
    check_combination(line);
    return {line};
  }
  Settings rest = line.said;
  std::erase_if(rest, [this](const Setting& s) { return sweep_->has(s.option); });
  std::vector<Options> cells(sweep_->cells());
  for (std::size_t i = 0; i < cells.size(); ++i) {
    Options& cell = cells[i];
    cell.given = line.given;
    cell.said = merged(sweep_->cell(i), rest);
    apply(cell.said, rows_, cell);
    if (!sweep_->has("--prompt")) cell.request.prompt = line.request.prompt;  // the tags of LoRAs are out of it
    check_combination(cell);
  }
  return cells;
}

// Whatever can be wrong with a line is looked for in all of its pictures, those of other shards too: a line fails in
// every shard, or in none.
std::vector<Job> Jobs::jobs_of(const Options& line, bool own_seed, const std::string& where) {
  const std::size_t in_sweep = sweep_ ? sweep_->cells() : 1, count = line.num_images * in_sweep;
  const std::uint64_t first = std::exchange(index_, index_ + count);
  if (!own_seed && !options_.request.seed && (existing_ == Existing::kept || options_.shards > 1))
    throw Error(Fault::usage, concat(options_.shards > 1 ? "--shard" : "--skip-existing",
                                     " needs a seed that all runs agree on: --seed, or one in every line"));
  const std::vector<Options> cells = this->cells(line);
  std::vector<Job> own;
  std::unordered_set<std::string> names;
  for (std::size_t i = 0; i < count; ++i) {
    const Options& cell = cells[i % in_sweep];
    const std::uint64_t index = first + i;
    const std::uint64_t seed = own_seed ? *cell.request.seed + i / in_sweep : first_seed_ + index / in_sweep;
    std::optional<std::string> prompt = cell.request.prompt, negative = cell.request.negative_prompt;
    choose(prompt, seed, 0);
    choose(negative, seed, 1);
    fs::path file;
    if (name_) {
      file = name_->expand({index, seed, prompt.value_or(""), model_name_});
      std::string name = file.lexically_normal().string();
      if (names_.contains(name) || !names.insert(std::move(name)).second)
        throw Error(Fault::usage, concat("--output: two pictures would be named '", printable(file.string()), "'"));
    }
    if (index % options_.shards != options_.shard) continue;
    Job job{cell.request, std::move(file), where, {}, index};
    job.request.seed = seed;
    job.request.prompt = std::move(prompt);
    job.request.negative_prompt = std::move(negative);
    if (options_.grid || sweep_) job.said = cell.said;
    if (name_ && !wanted(cell, job)) continue;
    add_inputs(cell, job.request);
    job.sources = sources(cell);
    own.push_back(std::move(job));
  }
  names_.merge(names);
  return own;
}

// Lets the prompt choose. The LoRAs of the command line's own prompt are out of it by now.
void Jobs::choose(std::optional<std::string>& prompt, std::uint64_t seed, std::uint64_t stream) {
  if (!prompt) return;
  if (wildcards_)
    prompt = wildcards_->choose(*prompt, seed, stream);
  else
    choices_unheard_ = choices_unheard_ || Wildcards::chooses(*prompt);
  if (stream == 0 && prompt->find("<lora:") != std::string::npos)
    throw Error(Fault::usage, "a LoRA is added to the model of the whole run: say it with --lora");
}

void Jobs::add_inputs(const Options& line, Request& request) {
  request.init_image = picture(line.init_image);
  request.mask = picture(line.mask);
  request.depth = picture(line.depth);
  request.controls = controls(line, [this](const std::string& file) { return picture(file); });
}

bool Jobs::wanted(const Options& cell, const Job& job) {
  const fs::path& file = job.file;
  const Found found = look(file);
  if (found == Found::file && existing_ == Existing::kept) {
    if (has_no_bytes(file))
      return true;  // a name that a killed process had reserved where files cannot be renamed to new ones
    skipped_.push_back(job);
    return false;
  }
  if (found == Found::file && existing_ == Existing::refused)
    throw Error(Fault::output, concat("'", printable(file.string()), "' exists; ",
                                      options_.existing ? "--no-clobber forbids to replace it"
                                                        : "--overwrite replaces it, --skip-existing keeps it"));
  if (found == Found::file) require_not_an_input(cell, file);
  if (found != Found::device && folders_.insert(file.parent_path()).second) check_writable_folder(file.parent_path());
  return true;
}

std::shared_ptr<const Image> Jobs::picture(const std::optional<std::string>& file) {
  if (!file) return nullptr;
  InputPicture& known = pictures_[*file];
  if (!known.image) {
    known = input_picture(read_picture_file(*file), *file);
    picture_bytes_ += known.image->rgb.size();
  }
  return known.image;
}

void Jobs::forget_pictures() {
  pictures_.clear();
  picture_bytes_ = 0;
}

std::shared_ptr<const Sources> Jobs::sources(const Options& line) {
  Sources found{named(line.said), {}};
  for (const Setting& setting : found.said)
    if (const auto known = pictures_.find(setting.value); known != pictures_.end())
      found.pictures.push_back({setting.value, known->second.sha256});
  if (sources_ && found == *sources_) return sources_;
  return sources_ = std::make_shared<const Sources>(std::move(found));
}

}  // namespace sdgen::cli
