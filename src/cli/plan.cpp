#include "cli/plan.h"

#include <unistd.h>

#include <random>
#include <set>

#include "cli/names.h"
#include "io/file.h"
#include "io/picture.h"
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

std::vector<Control> read_controls(const Options& options) {
  const auto of = [](const std::vector<double>& values, std::size_t i, double otherwise) {
    return values.empty() ? otherwise : values[values.size() == 1 ? 0 : i];
  };
  std::vector<Control> controls;
  for (std::size_t i = 0; i < options.control_images.size(); ++i)
    controls.push_back({std::make_shared<const Image>(read_picture(options.control_images[i])),
                        of(options.control_scales, i, 1), of(options.control_starts, i, 0),
                        of(options.control_ends, i, 1)});
  return controls;
}

}  // namespace

void require_stdout_takes_pictures() {
  if (isatty(STDOUT_FILENO) == 1)
    throw Error(Fault::usage, "--output -: stdout is a terminal; redirect it to a file or a program");
}

Plan make_plan(const Options& options, const std::string& model_name) {
  Plan plan;
  plan.random_seed = !options.request.seed;
  plan.first_seed = plan.random_seed ? std::random_device()() : *options.request.seed;  // 32 random bits
  const bool to_stdout = options.output == "-";
  if (to_stdout) require_stdout_takes_pictures();
  const NameTemplate name = to_stdout ? NameTemplate("") : output_template(options.output, options.num_images > 1);
  std::set<fs::path> names, folders;
  for (std::size_t i = 0; i < options.num_images; ++i) {
    Request request = options.request;
    request.seed = plan.first_seed + i;
    fs::path file;
    if (!to_stdout) {
      file = name.expand({i, *request.seed, request.prompt.value_or(""), model_name});
      if (!names.insert(file.lexically_normal()).second) {
        throw Error(Fault::usage, concat("--output: two pictures would be named '", printable(file.string()), "'"));
      }
      const Found found = look(file);
      if (found == Found::file && options.skip_existing) {
        plan.skipped.push_back(file);
        continue;
      }
      if (found == Found::file && !options.overwrite) {
        throw Error(Fault::output, concat("'", printable(file.string()),
                                          "' exists; --overwrite replaces it, --skip-existing keeps it"));
      }
      if (found != Found::device) folders.insert(file.parent_path());
    }
    plan.requests.push_back(std::move(request));
    plan.files.push_back(std::move(file));
  }
  for (const fs::path& folder : folders) check_writable_folder(folder);
  if (plan.requests.empty()) return plan;
  const auto read = [](const std::optional<std::string>& file) {
    return file ? std::make_shared<const Image>(read_picture(*file)) : nullptr;
  };
  const auto picture = read(options.init_image), mask = read(options.mask), depth = read(options.depth);
  for (Request& request : plan.requests) {
    request.init_image = picture;
    request.mask = mask;
    request.depth = depth;
  }
  if (!plan.requests.empty()) {
    const std::vector<Control> controls = read_controls(options);
    for (Request& request : plan.requests) request.controls = controls;
  }
  return plan;
}

}  // namespace sdgen::cli
