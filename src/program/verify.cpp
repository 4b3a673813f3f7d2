#include "program/verify.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "cli/command_line.h"
#include "cli/comparison.h"
#include "cli/fields.h"
#include "cli/from_image.h"
#include "cli/golden.h"
#include "cli/lora_folder.h"
#include "cli/lora_tags.h"
#include "cli/model_path.h"
#include "cli/names.h"
#include "cli/process.h"
#include "image/image_format.h"
#include "image/picture.h"
#include "io/file.h"
#include "io/hash.h"
#include "io/text.h"
#include "io/utf8.h"
#include "program/copies.h"
#include "program/core.h"
#include "program/run.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

// The files that records name, where they are now.
class Found {
 public:
  Found(const Options& options, Progress& progress) : options_(options) {
    if (options.run.lora_dir)
      loras_.emplace(*options.run.lora_dir, LoraHashes{}, [&progress](const std::string& w) { progress.warning(w); });
  }

  // What has to be said instead of the record: a model of -m with the recorded hash, LoRAs that are elsewhere now.
  Settings instead_of(const Json& record) {
    Settings settings;
    const ReadRecord read = read_record(record.dump());
    const auto hashes = [&](const char* key) {
      const auto found = std::ranges::find(read.hashes, key, &std::pair<std::string, std::vector<std::string>>::first);
      return found == read.hashes.end() ? std::vector<std::string>{} : found->second;
    };
    if (const auto model = hashes("model"); model.size() == 1)
      for (const std::string& path : options_.process.models)
        if (hash_of(path) == model[0]) {
          settings.push_back({"--model", path});
          break;
        }
    add_loras(settings, values_of(read.settings, "--lora"), hashes("lora"));
    return settings;
  }

 private:
  const std::string& hash_of(const std::string& path) {
    const auto [entry, is_new] = hashes_.try_emplace(path);
    if (is_new) entry->second = weights_sha256(find_model(path), {});
    return entry->second;
  }

  void add_loras(Settings& settings, const std::vector<std::string>& said, const std::vector<std::string>& hashes) {
    if (!loras_ || said.size() != hashes.size()) return;
    bool moved = false;
    Settings all;
    for (std::size_t i = 0; i < said.size(); ++i) {
      Lora lora = cli::lora(Argument("--lora", said[i]));
      if (!present(lora.path))
        if (const auto file = loras_->find_by_hash(hashes[i])) lora.path = *file, moved = true;
      all.push_back({"--lora", written(lora)});
    }
    if (moved) settings.insert(settings.end(), all.begin(), all.end());
  }

  const Options& options_;
  std::optional<LoraFolder> loras_;
  std::map<std::string, std::string> hashes_;  // of the models of -m
};

// A picture and how it is asked for again.
struct Task {
  Golden golden;
  Settings settings;  // what its record says, with files where they are now
  Settings recorded;  // as it says it
  bool done = false;
};

// Tasks that the same networks draw, in the same way.
struct Group {
  CommandLine command;  // about the networks and this machine
  fs::path model;
  std::vector<Task> tasks;
};

// Settings about the networks, of one record.
Settings about_networks(const Settings& settings, std::span<const OptionRow> rows) {
  Settings found;
  for (const Setting& s : settings)
    if (const OptionRow* row = find(rows, s.option); row && row->scope != Scope::picture) found.push_back(s);
  return found;
}

// What verify was told about the machine, which no record has.
void take_machine(Options& to, const Options& from) {
  to.load.device = from.load.device;
  to.load.offload = from.load.offload;
  to.run.threads = from.run.threads;
  to.output.quiet = from.output.quiet;
  to.output.verbose = from.output.verbose;
  to.output.nowhere = true;
}

// What became of a task of a group; called once for each, also by the writer's thread.
using Told = std::function<void(std::size_t task, Compared compared)>;

class Verification : public Run {
 public:
  Verification(Group& group, bool last, const Options& options, std::span<const OptionRow> rows, const Told& report,
               Progress& progress)
      : group_(group), last_(last), options_(options), rows_(rows), report_(report), progress_(progress) {}

  const Options& options() const override { return group_.command.options; }
  const fs::path& model() const override { return group_.model; }
  Progress& progress() override { return progress_; }
  Observer& observer() override { return progress_; }

  std::vector<Job> gather() override {
    constexpr std::size_t most = 1000, most_bytes = 256'000'000;  // requests in memory, and their pictures
    std::vector<Job> jobs;
    std::size_t bytes = 0;
    while (next_ < group_.tasks.size() && jobs.size() < most && bytes < most_bytes && !progress_.cancelled()) {
      const std::size_t index = next_++;
      try {
        Job job = job_of(group_.tasks[index], index);
        if (job.request.init_image) bytes += job.request.init_image->rgb.size();
        jobs.push_back(std::move(job));
      } catch (const Error& error) {
        refuse(index, error);
      }
    }
    return jobs.empty() && next_ < group_.tasks.size() && !progress_.cancelled() ? gather() : jobs;
  }
  std::size_t waiting() const override { return group_.tasks.size() - next_; }
  bool ended() const override { return last_; }
  bool prompts_differ() const override { return true; }
  bool as_they_come() const override { return false; }
  void begin(const Machine& machine) override { machine_ = machine; }
  bool wants_hashes() const override { return true; }
  void require_keepable(const Request&) const override {}
  void failed(const Job& job, const Error& error) override { refuse(job.index, error); }
  void expect(const std::vector<Job>&) override { began_ = std::chrono::steady_clock::now(); }
  void drawn(const ModelHashing&) override {}

  void save(Finished& picture, const ModelInfo& model, const ModelHashing& hashes) override {
    Task& task = group_.tasks[picture.index];
    const PictureFacts made{*picture.sources,
                            picture.request,
                            *picture.scheduler,
                            picture.computation,
                            model,
                            picture.loras,
                            hashes.get(),
                            quality_of(task.golden.record)};
    Compared compared{task.golden.name(), ""};
    try {
      compare(compared, task.golden, picture.image, made);
    } catch (const Error& error) {
      if (error.fault() != Fault::input) throw;
      compared.verdict = Verdict::unreadable;
      compared.why = in_flags(error);
    }
    const auto now = std::chrono::steady_clock::now();
    compared.seconds = std::chrono::duration<double>(now - std::exchange(began_, now)).count();
    task.done = true;
    report_(picture.index, std::move(compared));
    progress_.finished(picture.file);
  }

  // The pictures that nothing was said about: the model could not be loaded, for instance.
  void refuse_rest(const Error& error) {
    for (std::size_t i = 0; i < group_.tasks.size(); ++i)
      if (!group_.tasks[i].done) refuse(i, error);
  }

 private:
  // Its problem is its own where it is one of its files or settings.
  void refuse(std::size_t index, const Error& error) {
    if (error.fault() != Fault::input && error.fault() != Fault::usage) throw;
    Task& task = group_.tasks[index];
    task.done = true;
    report_(index, {task.golden.name(), "", Verdict::unreadable, {}, in_flags(error)});
  }

  Job job_of(const Task& task, std::size_t index) {
    CommandLine command;
    command.given = task.settings;
    take_machine(command.options, group_.command.options);
    apply(task.settings, rows_, command.options);
    Jobs jobs(command, name_of(group_.model), rows_);
    std::vector<Job> made = *jobs.next();
    Job job = std::move(made.at(0));
    jobs.read(job);
    job.index = index;
    job.file = task.golden.file;
    job.where = task.golden.name();
    job.sources = std::make_shared<const RecordedInputs>(RecordedInputs{named(task.recorded), job.sources->pictures});
    return job;
  }

  // The bytes of the file that the picture would be.
  std::vector<std::byte> bytes_of(const Golden& golden, const Image& image, const PictureFacts& made) {
    Options options;
    options.output.format = &output_format(golden.file.string(), nullptr);
    options.output.quality = made.quality;
    options.output.metadata = golden.says_so || !golden.there;
    if (golden.there) {
      const std::string bytes = read_picture_file(golden.file);
      if (const ImageFormat* format = image_format_of(bytes)) options.output.format = format;
      options.output.mark = !picture_texts(bytes, printable(golden.name())).source_type.empty();
    }
    return Results(options, progress_).encoded(image, made, golden.file);
  }

  void compare(Compared& compared, const Golden& golden, const Image& image, const PictureFacts& made) {
    const std::vector<std::byte> encoded = bytes_of(golden, image, made);
    const std::string_view bytes(reinterpret_cast<const char*>(encoded.data()), encoded.size());
    if (sha256_of(bytes) == golden.sha256) {
      compared.difference = no_difference({image.width, image.height});
      compared.why = "the same bytes";
      return;
    }
    std::vector<std::string> why = reasons(golden, made);
    if (!golden.there) {
      compared.verdict = Verdict::missing;
      why.insert(why.begin(), "is not there to compare with, and other bytes are drawn now than its manifest tells of");
    } else {
      const Image before = read_picture(golden.file), after = decode_picture(bytes, printable(golden.name()));
      hold_against(compared, why, before, after, made, promised(golden, made, why));
    }
    compared.why = joined(why, "; ");
    if (compared.verdict != Verdict::same) keep(golden, encoded);
  }

  void hold_against(Compared& compared, std::vector<std::string>& why, const Image& before, const Image& after,
                    const PictureFacts& made, bool promised) {
    if (before.width != after.width || before.height != after.height) {
      compared.verdict = Verdict::different;
      why.insert(why.begin(),
                 concat(before.width, "x", before.height, " pixels then, ", after.width, "x", after.height, " now"));
      return;
    }
    compared.difference = difference(before, after);
    const Limits& own = options_.limits;
    const bool given = own.max || own.psnr || own.ssim || own.hash;
    const Limits limits = given ? own : promised ? Limits{} : tolerance(made.model.precision);
    const std::string beyond_limits = beyond(*compared.difference, limits);
    if (!beyond_limits.empty()) {
      compared.verdict = Verdict::different;
      why.insert(why.begin(), promised && !given
                                  ? concat(beyond_limits, ", and this build and kind of CPU promise the same bytes")
                                  : beyond_limits);
    } else if (compared.difference->max == 0) {
      why.insert(why.begin(), "every sample, in other bytes");
    }
  }

  // Why it may be another one.
  std::vector<std::string> reasons(const Golden& golden, const PictureFacts& made) const {
    std::vector<std::string> found = changes(golden.record, record(made));
    if (!golden.device.empty() && golden.device != made.model.device)
      found.push_back(concat("on ", printable(golden.device, 40), " then, on ", made.model.device, " now"));
    if (!golden.machine) {
      found.emplace_back("nobody says on which machine it was made");
      return found;
    }
    const auto add = [&](const char* what, const std::string& then, const std::string& now) {
      if (then != now) found.push_back(concat(what, printable(then, 120), " then, ", now, " now"));
    };
    add("another kind of CPU: ", golden.machine->cpu, machine_.cpu);
    add("another build: ", golden.machine->build, machine_.build);
    if (made.model.precision != "float32")
      add("threads: ", std::to_string(golden.machine->threads), std::to_string(machine_.threads));
    return found;
  }

  // Does sdgen promise the same bytes? Then no reason for others was found.
  static bool promised(const Golden& golden, const PictureFacts& made, const std::vector<std::string>& reasons) {
    return reasons.empty() && golden.device == "cpu" && made.model.device == "cpu";
  }

  // With -o DIR, what was drawn instead.
  void keep(const Golden& golden, std::span<const std::byte> bytes) {
    if (!options_.output.path) return;
    const fs::path place = fs::path(*options_.output.path) / golden.file.filename();
    std::error_code error;
    if (fs::equivalent(place, golden.file, error))
      throw Error(Fault::output, concat("--output: '", printable(place.string()), "' is what is verified"));
    make_folder(place.parent_path());
    write_file_atomically(place, bytes, options_.output.existing == Existing::replaced);
  }

  Group& group_;
  const bool last_;
  const Options& options_;  // of verify
  std::span<const OptionRow> rows_;
  const Told& report_;
  Progress& progress_;
  Machine machine_;
  std::size_t next_ = 0;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

// The pictures by their networks. What stands in the way of one is reported.
std::vector<Group> groups_of(std::vector<Golden> all, const Options& options, std::span<const OptionRow> rows,
                             ComparisonReport& report, Progress& progress) {
  Found found(options, progress);
  std::vector<Group> groups;
  std::map<std::string, std::size_t> numbers;
  for (Golden& golden : all) {
    const std::string who = golden.name();
    try {
      if (!golden.problem.empty()) throw Error(Fault::input, golden.problem);
      const Settings instead = found.instead_of(golden.record);
      const FromImage read = settings_of_record(golden.record.dump(), printable(who), instead, rows);
      const Settings settings = merged(instead, read.settings), networks = about_networks(settings, rows);
      std::string key;
      for (const auto& [option, value] : networks) key += concat(option, '=', value, '\n');
      const auto [number, is_new] = numbers.try_emplace(key, groups.size());
      if (is_new) {
        Group group;
        take_machine(group.command.options, options);
        apply(networks, rows, group.command.options);
        group.model = find_model(group.command.options.model);
        groups.push_back(std::move(group));
      }
      groups[number->second].tasks.push_back({std::move(golden), settings, read.settings});
    } catch (const Error& error) {
      if (error.fault() != Fault::input && error.fault() != Fault::usage) throw;
      report.add({who, "", Verdict::unreadable, {}, in_flags(error)});
    }
  }
  return groups;
}

// Draws the pictures of a group.
void verify_group(Group& group, bool last, const Options& options, std::span<const OptionRow> rows, const Told& report,
                  Progress& progress) {
  Verification run(group, last, options, rows, report, progress);
  try {
    std::vector<Job> next = run.gather();
    if (!next.empty()) core().draw(run, std::move(next));
  } catch (const Error& error) {
    if (error.fault() != Fault::input && error.fault() != Fault::usage) throw;
    run.refuse_rest(error);
  }
  if (progress.cancelled()) throw Cancelled();
}

void verify_here(std::vector<Group>& groups, const Options& options, std::span<const OptionRow> rows,
                 ComparisonReport& report, Progress& progress) {
  core().prepare(options.run.threads);
  const Told say = [&](std::size_t, Compared compared) { report.add(std::move(compared)); };
  for (std::size_t i = 0; i < groups.size(); ++i)
    verify_group(groups[i], i + 1 == groups.size(), options, rows, say, progress);
}

// How a process of --jobs tells another what became of a task: numbers and words, without the name.
std::string told(std::size_t group, std::size_t task, const Compared& c) {
  OrderedJson line{{"group", group}, {"task", task}, {"verdict", int(c.verdict)}, {"why", c.why}};
  line["seconds"] = c.seconds;
  if (const auto& d = c.difference) {
    line["max"] = d->max, line["mean"] = d->mean, line["hash"] = d->hash;
    if (d->psnr) line["psnr"] = *d->psnr;
    if (d->ssim) line["ssim"] = *d->ssim;
  }
  return line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

Compared heard(const Json& line, const std::string& name) {
  Compared c{name, "", static_cast<Verdict>(line.at("verdict").get<int>())};
  line.at("why").get_to(c.why);
  line.at("seconds").get_to(c.seconds);
  if (!line.contains("max")) return c;
  c.difference = Difference{.max = line.at("max"), .mean = line.at("mean"), .hash = line.at("hash")};
  if (line.contains("psnr")) c.difference->psnr = line.at("psnr").get<double>();
  if (line.contains("ssim")) c.difference->ssim = line.at("ssim").get<double>();
  return c;
}

// Each process draws one of `jobs` pictures of every group, with its part of the threads.
void verify_in_copies(const std::vector<Group>& groups, int jobs, const Options& options,
                      std::span<const OptionRow> rows, ComparisonReport& report, Progress& progress) {
  const int threads = options.run.threads > 0 ? options.run.threads : int(std::thread::hardware_concurrency());
  const auto work = [&](int number, const Say& say) {
    Options own = options;
    own.output.quiet = true;
    Progress silent(own.output, /*columns=*/0);
    core().prepare(std::max(1, threads / jobs));
    for (std::size_t g = 0; g < groups.size(); ++g) {
      Group part{groups[g].command, groups[g].model, {}};
      take_machine(part.command.options, own);
      for (auto i = std::size_t(number); i < groups[g].tasks.size(); i += std::size_t(jobs))
        part.tasks.push_back(groups[g].tasks[i]);
      const Told tell = [&](std::size_t task, const Compared& compared) {
        say(told(g, task * std::size_t(jobs) + std::size_t(number), compared));
      };
      if (!part.tasks.empty()) verify_group(part, g + 1 == groups.size(), own, rows, tell, silent);
    }
  };
  const auto hear = [&](std::string_view text) {
    const Json line = Json::parse(text);
    const Task& task = groups.at(line.at("group")).tasks.at(line.at("task"));
    report.add(heard(line, task.golden.name()));
  };
  in_copies(jobs, work, hear, [&progress] { return progress.cancelled(); });
}

}  // namespace

int verify(const Options& options, std::span<const OptionRow> rows) {
  Progress progress(options.output, terminal_columns());
  ComparisonReport report("verify", options, progress);
  std::vector<Golden> all = goldens(options.process.paths, options.process.every);
  return report.of([&] {
    std::vector<Group> groups = groups_of(std::move(all), options, rows, report, progress);
    std::size_t most = 0;
    for (const Group& group : groups) most = std::max(most, group.tasks.size());
    const auto jobs = int(std::min(options.process.jobs, most));
    if (jobs > 1)
      verify_in_copies(groups, jobs, options, rows, report, progress);
    else if (!groups.empty())
      verify_here(groups, options, rows, report, progress);
  });
}

}  // namespace sdgen::cli
