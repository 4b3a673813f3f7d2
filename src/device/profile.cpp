#include "device/profile.h"

#include <torch/csrc/autograd/profiler_kineto.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "io/file.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;
using torch::profiler::impl::ActivityType;

constexpr std::size_t kMostTrace = std::size_t{4} << 30;  // bytes; a picture of Stable Diffusion takes 20 MB

}  // namespace

Profile::Profile(fs::path file, bool overwrite, bool cuda) : file_(std::move(file)), overwrite_(overwrite) {
  if (!overwrite && fs::is_regular_file(file_))
    throw Error(Fault::output, concat(file_.string(), " exists; ", FieldName{"no_clobber"}, " forbids to replace it"));
  check_writable_folder(file_.parent_path());
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO,
                                                     /*report_input_shapes=*/true);
  setenv("KINETO_LOG_LEVEL", "99", /*overwrite=*/0);  // it calls a machine without CUDA an error
  std::set<ActivityType> activities = {ActivityType::CPU};
  if (cuda) activities.insert(ActivityType::CUDA);
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities);
}

Profile::~Profile() {
  if (recording_) torch::autograd::profiler::disableProfiler();
}

void Profile::write() {
  recording_ = false;
  const auto result = torch::autograd::profiler::disableProfiler();
  // Kineto writes to any path and says little of what goes wrong: into a file of ours first.
  const fs::path aside = fs::temp_directory_path() / concat("sdgen-profile-", getpid(), ".json");
  result->save(aside.string());
  try {
    const std::string trace = read_file(aside, kMostTrace);
    make_folder(file_.parent_path());
    write_file_atomically(file_, std::as_bytes(std::span(trace)), overwrite_);
  } catch (...) {
    std::error_code ignored;
    fs::remove(aside, ignored);
    throw;
  }
  fs::remove(aside);
}

}  // namespace sdgen
