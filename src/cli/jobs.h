// What a run will make, and where it goes: settled and checked line by line, before anything is made of a line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cli/batch_file.h"
#include "cli/command_line.h"
#include "cli/lora_folder.h"
#include "cli/names.h"
#include "cli/options.h"
#include "cli/picture_list.h"
#include "cli/record.h"
#include "cli/results.h"
#include "cli/sweep.h"
#include "cli/wildcards.h"
#include "image/picture.h"

namespace sdgen::cli {

// What is asked for, and all that was said for it.
struct Asked {
  Options options;
  Settings given;
};

// A picture to make.
struct Job {
  Request request;             // seeded; without its input pictures until they are read: Jobs::read()
  std::filesystem::path file;  // empty: stdout
  std::string where;           // the line that asks for it, "jobs.jsonl:12"; empty: the command line
  std::shared_ptr<const RecordedInputs> sources = std::make_shared<RecordedInputs>();
  std::uint64_t index = 0;                   // of the run, from 0
  Settings given = {};                       // with --grid: all that was said about it
  Expected expected = {};                    // --expect
  std::shared_ptr<const Asked> unread = {};  // what it is made of; null: it has been read

  bool of_pictures() const;  // is it made of others, read or not?
};

// Throws Error(output) when `file` is one of the pictures and lists that the options name, and --overwrite was not
// given: what a run reads it does not replace unasked.
void require_not_an_input(const Options& options, const std::filesystem::path& file);

// Throws Error(usage) when stdout, which is to take a PNG, is a terminal.
void require_stdout_takes_pictures();

// The pictures that the options ask for, and the lines of their batch file where there is one. Picture i of the run,
// counted over all lines, has seed first_seed() + i (mod 2^64); one of a line with a seed of its own counts from that.
// A sweep makes each of them in every combination, one after the other, with the same seed. Where a line names a folder
// of pictures, so many are made of each, one picture after the other. A line that is wrong counts as so many pictures
// as the options ask for, so that nobody else's number depends on it.
class Jobs {
 public:
  // `rows` are those that the command line was read by; both must outlive this. Throws Error(usage) for a bad
  // template or sweep, Error(input) when the batch file or the folder of wildcards cannot be read.
  // `cancelled` is asked while lines are waited for: then next() throws Cancelled.
  Jobs(
      const CommandLine& command, std::string model_name, std::span<const OptionRow> rows,
      std::function<bool()> cancelled = [] { return false; });

  // The pictures of the next line: those of this shard whose files are missing. Nothing at the end. Throws Error(usage)
  // and Error(input) about this line alone, after which one can go on, and Error(output) when a file exists that is
  // neither to be replaced nor kept, or its folder cannot be written.
  std::optional<std::vector<Job>> next();
  // Pictures of the last line that are not among these: of a folder, those whose own input is no picture. They fail
  // alone.
  struct Failed {
    std::string where;
    Error error;
  };
  std::vector<Failed> take_failed() { return std::exchange(failed_, {}); }
  // Reads the pictures that a job is made of into its request, and the one that it is to be. Throws Error(input).
  void read(Job& job);
  // Did next() throw because the batch file cannot be read any further, or all that was asked for is wrong?
  bool unreadable() const { return unreadable_; }
  // Would next() answer without waiting for more lines to come?
  bool ready();
  // Has nothing asked for a picture so far, in any shard?
  bool none() const { return index_ == 0; }
  // Has next() come to the end?
  bool ended() const { return ended_; }

  // A picture that several lines name is read once. How many bytes of pictures are kept for that, and the end of it.
  std::size_t picture_bytes() const { return picture_bytes_; }
  void forget_pictures();
  std::size_t skipped() const { return skipped_.size(); }             // that take_skipped() has
  const Sweep* sweep() const { return sweep_ ? &*sweep_ : nullptr; }  // null: none
  std::uint64_t first_seed() const { return first_seed_; }
  bool random_seed() const { return !options_.request.seed; }
  std::vector<Job> take_skipped();                         // those whose files were there already (--skip-existing)
  const std::vector<std::string>& unused_columns() const;  // of a table: no options
  // What users should be told of the jobs since the last call; each once a run.
  std::vector<std::string> take_warnings() { return std::exchange(warnings_, {}); }

 private:
  void count_unread(std::uint64_t before);
  std::vector<Job> jobs_of_line(const BatchLine& line);
  std::vector<Job> jobs_of_record(const RecordedJob& picture);
  Asked asked_by(const BatchLine& line) const;
  void require_no_common_seeds() const;
  Asked asked(Settings given) const;
  std::vector<std::shared_ptr<const Asked>> cells(Asked line) const;
  std::vector<Job> jobs_of(const Asked& line, bool own_seed, const std::string& where,
                           const std::optional<std::string>& record = {});
  void take_name(Job& job, const std::optional<std::string>& input, const InputLists& lists,
                 std::unordered_map<std::string, std::string>& names) const;
  bool is_readable(const Job& job, bool one_of_many);
  void settle_texts(Request& request);
  std::filesystem::path find_lora(const std::string& name);
  bool wanted(const Options& cell, const Job& job);  // false: its file is there and stays
  template <class Decode>
  std::shared_ptr<const Image> read_once(std::map<std::string, InputPicture>& read,
                                         const std::optional<std::string>& file, const Decode& decode);
  std::shared_ptr<const Image> picture(const std::optional<std::string>& file);
  std::shared_ptr<const Image> mask(const std::optional<std::string>& file);
  void warn_once(std::string warning);
  std::shared_ptr<const RecordedInputs> sources(const Settings& given);

  const CommandLine& command_;
  const Options& options_;
  std::string model_name_;
  std::span<const OptionRow> rows_;
  const Existing existing_;
  const bool lists_records_;
  std::optional<NameTemplate> name_;  // none: stdout
  std::optional<BatchFile> lines_;
  std::optional<Sweep> sweep_;
  std::optional<Wildcards> wildcards_;
  std::optional<LoraFolder> lora_folder_;
  bool ended_ = false, unreadable_ = false;
  std::uint64_t first_seed_, index_ = 0;
  std::set<std::filesystem::path> folders_;
  std::vector<Job> skipped_;
  std::vector<Failed> failed_;
  // Of all shards' pictures by their names: what each is made of; "": nothing, or it is the same for all.
  std::unordered_map<std::string, std::string> names_;
  std::set<std::string> known_files_;              // input pictures that were looked at
  std::size_t of_records_ = 0;                     // how many of them were taken
  std::map<std::string, InputPicture> pictures_;   // by path, until forgotten
  std::map<std::string, InputPicture> masks_;      // likewise
  std::size_t picture_bytes_ = 0;                  // of these
  std::vector<std::string> warnings_;              // not told yet
  std::set<std::string> warned_;                   // of all time
  std::shared_ptr<const RecordedInputs> sources_;  // of the last line: most lines have the same
};

}  // namespace sdgen::cli
