#include "cli/jobs.h"

#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>

#include "cli/fields.h"
#include "cli/lora_tags.h"
#include "io/file.h"
#include "io/utf8.h"
#include "io/writable.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

// A whole number as tables write it where some cells of a column are empty: "7.0" -> "7".
std::string without_fraction(std::string value) {
  const std::size_t dot = value.find('.');
  const bool whole =
      dot != 0 && dot != value.npos && dot + 1 < value.size() && value.find_first_not_of('0', dot + 1) == value.npos;
  if (whole) value.resize(dot);
  return value;
}

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

bool Job::of_pictures() const {
  return unread ? !input_pictures(unread->options.inputs).empty() : sources && !sources->pictures.empty();
}

void require_not_an_input(const Options& options, const fs::path& file) {
  if (options.output.existing) return;
  const auto check = [&](const std::string& flag, const std::optional<std::string>& input) {
    std::error_code no_file;
    if (input && fs::equivalent(file, *input, no_file))
      throw Error(Fault::output,
                  concat("'", printable(file.string()), "' is what ", flag, " reads; --overwrite replaces it"));
  };
  check("--model", options.model);
  check("--init-image", options.inputs.init_image);
  check("--mask", options.inputs.mask);
  check("--depth", options.inputs.depth);
  for (const std::string& image : options.inputs.reference_images) check("--reference-image", image);
  for (const std::string& image : options.inputs.control_images) check("--control-image", image);
  check("--expect", options.inputs.expect);
  check("--from-image", options.process.from_image);
  check("--prompts", options.run.prompts);
  check("--config", options.process.config);
}

void require_stdout_takes_pictures() {
  if (isatty(STDOUT_FILENO) == 1)
    throw Error(Fault::usage, "--output -: stdout is a terminal; redirect it to a file or a program");
}

Jobs::Jobs(const CommandLine& command, std::string model_name, std::span<const OptionRow> rows,
           std::function<bool()> cancelled)
    : command_(command),
      options_(command.options),
      model_name_(std::move(model_name)),
      rows_(rows),
      existing_(existing_files(options_)),
      lists_records_(lists_records(options_)),
      first_seed_(options_.request.seed ? *options_.request.seed : std::random_device()()) {  // 32 random bits
  const Options& options = options_;
  if (options.run.sweep) {
    sweep_.emplace(*options.run.sweep, rows);
    for (const Sweep::Axis& axis : sweep_->axes()) {
      if (has(command.given, axis.option))
        throw Error(Fault::usage, concat(axis.option, " is swept: leave it out, or take it out of --sweep"));
      if (names_input_picture(*find(rows, axis.option)) && std::ranges::any_of(axis.values, names_several))
        throw Error(Fault::usage, concat("--sweep: a value of ", axis.option, " is one picture; ", axis.option,
                                         " itself takes folders and patterns"));
    }
  }
  if (options.run.wildcards) wildcards_.emplace(*options.run.wildcards);
  if (options.output.path == "-")
    require_stdout_takes_pictures();
  else if (!options.output.nowhere)
    name_ = output_template(options.output.path, default_names(options), options.output.format);
  if (options.run.prompts) {
    lines_.emplace(*options.run.prompts);
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
  if (lists_records_) {
    ended_ = of_records_ == command_.records.size();
    if (ended_) return std::nullopt;
    return jobs_of_record(command_.records[of_records_++]);
  }
  if (!lines_) {
    ended_ = index_ > 0;
    if (ended_) return std::nullopt;
    unreadable_ = true;  // what is wrong with all that was asked for ends the run
    return jobs_of({options_, merged(command_.given, command_.defaults)}, /*own_seed=*/sweep_ && sweep_->has("--seed"),
                   "");
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
    count_unread(before);
    throw;
  }
}

// A line that could not be read as far as its pictures, after picture `before` of the run, counts all the same.
void Jobs::count_unread(std::uint64_t before) {
  if (index_ == before) index_ += options_.run.num_images * (sweep_ ? sweep_->cells() : 1);
}

std::vector<Job> Jobs::jobs_of_line(const BatchLine& line) {
  try {
    return jobs_of(asked_by(line), has(line.options, "--seed") || (sweep_ && sweep_->has("--seed")), line.where);
  } catch (const Error& error) {
    if (error.fault() == Fault::output) throw;
    throw Error(error.fault(), concat(line.where, ": ", error.text()));
  }
}

// What the command line says comes before what the picture says, and all else after it.
std::vector<Job> Jobs::jobs_of_record(const RecordedJob& picture) {
  const std::uint64_t before = index_;
  try {
    if (picture.error) throw *picture.error;
    const bool own_seed = !has(command_.given, "--seed") && has(picture.settings, "--seed");
    return jobs_of(asked(merged(merged(command_.given, picture.settings), command_.defaults)),
                   own_seed || (sweep_ && sweep_->has("--seed")), printable(picture.file), picture.file);
  } catch (const Error& error) {
    count_unread(before);
    if (error.fault() == Fault::output || picture.error) throw;
    throw Error(error.fault(), concat(printable(picture.file), ": ", error.text()));
  }
}

// Throws Error(usage) where a seed that is drawn by chance would be another in every run.
void Jobs::require_no_common_seeds() const {
  if (existing_ == Existing::kept || options_.run.shards > 1)
    throw Error(Fault::usage, concat(options_.run.shards > 1 ? "--shard" : "--skip-existing",
                                     " needs a seed that all runs agree on: --seed, or one in every line"));
}

// What the command line says comes before what a line says, except for the seed: there it is the first of the run.
Asked Jobs::asked_by(const BatchLine& line) const {
  Settings own = checked(line.options, rows_);
  for (auto& [option, value] : own) {
    const OptionRow& row = *find(rows_, option);
    if (row.value.kind == Value::Kind::integer) value = without_fraction(std::move(value));
    if (option == "--seed" && value == kRandomSeed) {
      require_no_common_seeds();
      value = std::to_string(std::random_device()());
    }
    if (row.scope != Scope::picture)
      throw Error(Fault::usage, concat(option, " belongs to the whole run, not to a line"));
    try_out(row, Argument(option, value));  // what is wrong is wrong even where the command line comes first
  }
  Settings given = command_.given;
  if (has(given, "--seed")) std::erase_if(given, [](const Setting& s) { return s.option == "--seed"; });
  return asked(merged(merged(given, own), command_.defaults));
}

Asked Jobs::asked(Settings given) const {
  Asked all{{}, std::move(given)};
  apply(all.given, rows_, all.options);
  return all;
}

// The options in every combination of the sweep, read again: what an option says in passing about another one counts
// for its own cells alone.
std::vector<std::shared_ptr<const Asked>> Jobs::cells(Asked line) const {
  if (!sweep_) {
    check_picture(line.options);
    return {std::make_shared<const Asked>(std::move(line))};
  }
  Settings rest = line.given;
  std::erase_if(rest, [this](const Setting& s) { return sweep_->has(s.option); });
  std::vector<std::shared_ptr<const Asked>> cells;
  for (std::size_t i = 0; i < sweep_->cells(); ++i) {
    cells.push_back(std::make_shared<const Asked>(asked(merged(sweep_->cell(i), rest))));
    check_picture(cells.back()->options);
  }
  return cells;
}

// Whatever can be wrong with a line is looked for in all of its pictures, those of other shards too: a line fails in
// every shard, or in none. `record`: the picture that says all this.
std::vector<Job> Jobs::jobs_of(const Asked& line, bool own_seed, const std::string& where,
                               const std::optional<std::string>& record) {
  const InputLists lists(line.given);
  for (std::string& warning : lists.warnings()) warn_once(std::move(warning));
  const std::size_t in_sweep = sweep_ ? sweep_->cells() : 1, of_each = line.options.run.num_images * in_sweep;
  const std::uint64_t first = std::exchange(index_, index_ + of_each * lists.count());
  if (!own_seed && !options_.request.seed) require_no_common_seeds();
  std::vector<Job> own;
  std::vector<std::shared_ptr<const Asked>> cells;  // of a picture of the list
  std::unordered_map<std::string, std::string> names;
  for (std::size_t i = 0; i < of_each * lists.count(); ++i) {
    const std::size_t in_line = i % of_each;
    if (in_line == 0) cells = this->cells(lists.several() ? asked(lists.at(i / of_each)) : line);
    const std::shared_ptr<const Asked>& cell = cells[in_line % in_sweep];
    const std::uint64_t index = first + i;
    const std::uint64_t seed = own_seed ? *cell->options.request.seed + i / in_sweep : first_seed_ + index / in_sweep;
    Job job{.request = cell->options.request, .file = {}, .where = where, .index = index, .unread = cell};
    job.request.seed = seed;
    settle_texts(job.request);
    const std::optional<std::string> input = lists.several() || !record ? lists.input(i / of_each) : record;
    if (lists.several()) job.where = concat(where, where.empty() ? "" : ": ", printable(*input));
    if (name_) take_name(job, input, lists, names);
    if (index % options_.run.shards != options_.run.shard) continue;
    if (options_.output.grid || sweep_) job.given = cell->given;
    if (name_ && !wanted(cell->options, job)) continue;
    if (is_readable(job, lists.several())) own.push_back(std::move(job));
  }
  names_.merge(names);
  return own;
}

// Throws Error(usage) for the name of another picture, and where the next run would take this one for an input.
void Jobs::take_name(Job& job, const std::optional<std::string>& input, const InputLists& lists,
                     std::unordered_map<std::string, std::string>& names) const {
  std::optional<std::string> input_field;
  if (input) input_field = input_name(*input);
  job.file = name_->expand({job.index, *job.request.seed, job.request.prompt.value_or(""), model_name_, input_field});
  std::string name = job.file.lexically_normal().string();
  const auto known = names_.find(name);
  const auto [own, fresh] = names.try_emplace(std::move(name), input.value_or(""));
  if (known != names_.end() || !fresh) {
    const std::string& other = known != names_.end() ? known->second : own->second;
    const bool of_two = input && !other.empty() && other != *input;
    throw Error(Fault::usage,
                concat("--output: two pictures would be named '", printable(job.file.string()), "'",
                       of_two ? concat(": those of ", printable(other), " and ", printable(*input)) : std::string()));
  }
  const auto& records = options_.process.from_image;
  if (lists.would_list(job.file) || (lists_records_ && would_list(*records, job.file)))
    throw Error(Fault::usage, concat("--output: '", printable(job.file.string()),
                                     "' would be among the pictures that are read, where a later run or another shard "
                                     "takes it for one of them; write into another folder"));
}

// Looks at the first bytes of what it is made of. Throws Error(input); of one of many pictures it is kept, and the
// answer is no.
bool Jobs::is_readable(const Job& job, bool one_of_many) {
  const Inputs& in = job.unread->options.inputs;
  std::vector<std::string> files = input_pictures(in);
  if (in.expect) files.push_back(*in.expect);
  for (const std::string& file : files) {
    if (known_files_.contains(file)) continue;
    try {
      require_picture_file(file);
    } catch (const Error& error) {
      if (!one_of_many) throw;
      failed_.push_back({job.where, error});
      return false;
    }
    known_files_.insert(file);
  }
  return true;
}

// Lets prompts choose, and takes the tags out of the first one.
void Jobs::settle_texts(Request& r) {
  std::uint64_t stream = 0;
  for (std::size_t i = 0; i < kPrompts.size(); ++i)
    for (const TextField& field : {kPrompts[i], kNegativePrompts[i]}) {
      std::optional<std::string>& text = r.*field.text;
      const std::uint64_t own_stream = stream++;
      if (!text) continue;
      if (wildcards_)
        text = wildcards_->choose(*text, *r.seed, own_stream);
      else if (Wildcards::chooses(*text))
        warn_once("{a|b} and __name__ in prompts are text; with --wildcards DIR they are choices");
      if (field.text != &Request::prompt) {
        refuse_tags(*text, flag_of(field.name));
        continue;
      }
      take_lora_tags(
          *text, [this](const std::string& name) { return find_lora(name); }, r.loras);
    }
}

fs::path Jobs::find_lora(const std::string& name) {
  if (!options_.run.lora_dir) throw Error(Fault::usage, "say with --lora-dir DIR where LoRA files are");
  if (!lora_folder_)
    lora_folder_.emplace(*options_.run.lora_dir, command_.lora_hashes, [this](const std::string& w) { warn_once(w); });
  return lora_folder_->find(name);
}

void Jobs::read(Job& job) {
  if (!job.unread) return;
  const Inputs& inputs = job.unread->options.inputs;
  Request& r = job.request;
  r.init_image = picture(inputs.init_image);
  r.mask = mask(inputs.mask);
  r.depth = picture(inputs.depth);
  for (const std::string& file : inputs.reference_images) r.references.push_back(picture(file));
  r.controls = controls(inputs, [this](const std::string& file) { return picture(file); });
  if (inputs.expect) job.expected = {picture(inputs.expect), *inputs.expect};
  job.sources = sources(job.unread->given);
  job.unread.reset();
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
                                      options_.output.existing ? "--no-clobber forbids to replace it"
                                                               : "--overwrite replaces it, --skip-existing keeps it"));
  if (found == Found::file) require_not_an_input(cell, file);
  if (found == Found::device || !folders_.insert(file.parent_path()).second) return true;
  if (options_.process.dry_run)
    require_writable(file);
  else
    check_writable_folder(file.parent_path());
  return true;
}

// What `decode` makes of the file's bytes, once.
template <class Decode>
std::shared_ptr<const Image> Jobs::read_once(std::map<std::string, InputPicture>& read,
                                             const std::optional<std::string>& file, const Decode& decode) {
  if (!file) return nullptr;
  InputPicture& known = read[*file];
  if (!known.image) {
    known = decode(read_picture_file(*file), printable(*file));
    picture_bytes_ += known.image->rgb.size();
  }
  return known.image;
}

std::shared_ptr<const Image> Jobs::picture(const std::optional<std::string>& file) {
  return read_once(pictures_, file, input_picture);
}

std::shared_ptr<const Image> Jobs::mask(const std::optional<std::string>& file) {
  return read_once(masks_, file, [this](const std::string& bytes, const std::string& who) {
    using Said = InputMask::Said;
    InputMask found = input_mask(bytes, who);
    if (found.said == Said::by_opacity)
      warn_once(concat(who,
                       ": its colours are all black or all white, so its opacity is the mask: what is "
                       "opaque is painted anew"));
    if (found.said == Said::by_colours_despite_transparency)
      warn_once(concat(who, ": its transparency is not looked at: what is white is painted anew"));
    return std::move(found.picture);
  });
}

void Jobs::warn_once(std::string warning) {
  if (warned_.insert(warning).second) warnings_.push_back(std::move(warning));
}

void Jobs::forget_pictures() {
  pictures_.clear();
  masks_.clear();
  picture_bytes_ = 0;
}

std::shared_ptr<const RecordedInputs> Jobs::sources(const Settings& given) {
  RecordedInputs found{named(given), {}};
  for (const Setting& setting : found.given)
    for (const auto* read : {&pictures_, &masks_})
      if (const auto known = read->find(in_home(setting.value)); known != read->end()) {
        found.pictures.push_back({setting.value, known->second.sha256});
        break;  // they have the same bytes
      }
  if (sources_ && found == *sources_) return sources_;
  return sources_ = std::make_shared<const RecordedInputs>(std::move(found));
}

}  // namespace sdgen::cli
