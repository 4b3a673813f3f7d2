// Any bytes are a batch file whose lines are pictures to make, or are refused with Error(usage or input), line by line.
#include <array>

#include "cli/batch_file.h"
#include "cli/jobs.h"
#include "cli/options.h"
#include "fuzz.h"
#include "rows.h"

using namespace sdgen;
using fuzz::accepts;
using fuzz::rows;

namespace {

// Returns how many pictures a line asks for at most.
std::size_t read_lines(const std::string& path, std::size_t most) {
  cli::BatchFile file(path);
  file.set_known([](const std::string& name) { return cli::find(rows(), name) != nullptr; });
  std::size_t lines = 0, pictures = 0;
  for (bool more = true; more; ++lines) {
    fuzz::require(lines <= most, "every line is read once");
    std::optional<cli::BatchLine> line;
    const bool readable = accepts({Fault::usage, Fault::input}, [&] {
      line = file.next();
      more = line.has_value();
    });
    if (!readable && lines == 0) break;  // the header of a table
    if (!line) continue;
    accepts({Fault::usage}, [&] {
      cli::Options options;
      cli::apply(cli::checked(line->options, rows()), rows(), options);
      cli::check_combination(options);
      pictures = std::max(pictures, options.run.num_images);
    });
  }
  return pictures;
}

// The pictures of the lines, up to some.
void make_jobs(const std::string& path, const std::filesystem::path& out, std::size_t most) {
  cli::CommandLine command;
  cli::Options& options = command.options;
  options.run.prompts = path;
  options.output.path = (out / "{index}.png").string();
  options.request.seed = 1;
  cli::Jobs jobs(command, "model", rows());
  for (bool more = true; more && most > 0 && !jobs.unreadable(); --most)
    accepts({Fault::usage, Fault::input}, [&] {
      const auto made = jobs.next();
      more = made.has_value();
    });
}

}  // namespace

// The first byte says which form the rest has.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  constexpr std::array forms = {"jobs.txt", "jobs.jsonl", "jobs.csv", "jobs.tsv"};
  static const fuzz::Folder folder;
  std::string_view text = fuzz::text_of(bytes, size);
  const std::string path = folder.write(forms[fuzz::take_byte(text) % forms.size()], text).string();
  std::size_t pictures = 0;
  accepts({Fault::input, Fault::usage}, [&] { pictures = read_lines(path, size + 2); });
  if (pictures > 100) return 0;  // a line may ask for a million
  accepts({Fault::input, Fault::usage}, [&] { make_jobs(path, folder.path(), 100); });
  return 0;
}
