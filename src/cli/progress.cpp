#include "cli/progress.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/process.h"

namespace sdgen::cli {
namespace {

using std::chrono::duration;
using std::chrono::milliseconds;

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[160];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

// "0:07", "2:03:00".
std::string clock_time(double seconds) {
  const long s = std::lround(std::clamp(seconds, 0.0, 3.6e8));
  return s < 3600 ? format("%ld:%02ld", s / 60, s % 60) : format("%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

// "3.21 it/s"; slow steps are easier to grasp as "4.50 s/it".
std::string rate(double steps_per_second) {
  if (steps_per_second <= 0) return "? it/s";
  return steps_per_second >= 1 ? format("%.2f it/s", steps_per_second) : format("%.2f s/it", 1 / steps_per_second);
}

// "picture 2 of 4", "pictures 3-4 of 4".
std::string which(const Moment& m) {
  if (m.pictures == 1) return concat("picture ", m.first + 1, " of ", m.total_pictures);
  return concat("pictures ", m.first + 1, "-", m.first + m.pictures, " of ", m.total_pictures);
}

double since(std::chrono::steady_clock::time_point then) {
  return duration<double>(std::chrono::steady_clock::now() - then).count();
}

// Bytes that this process had resident at most.
double peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return 1024.0 * usage.ru_maxrss;
}

}  // namespace

std::string bar_line(const Moment& m, int columns) {
  constexpr int widest = 30, narrowest = 5;
  const std::string left = which(m) + "  ";
  const std::string steps = std::to_string(m.steps);
  std::string step = std::to_string(m.step);
  if (step.size() < steps.size()) step.insert(0, steps.size() - step.size(), ' ');
  const std::string right =
      concat(step, "/", steps, "  ", rate(m.steps_per_second), "  ETA ", clock_time(m.seconds_left));
  const int room = columns - static_cast<int>(left.size() + right.size()) - 4;  // brackets, two blanks
  if (room < narrowest) return (left + right).substr(0, std::max(columns, 0));
  const int width = std::min(room, widest);
  const int full = std::clamp(m.step * width / std::max(m.steps, 1), 0, width);
  std::string bar(full, '=');
  if (full < width) bar += '>';
  bar.resize(width, ' ');
  return concat(left, "[", bar, "]  ", right);
}

std::string plain_line(const Moment& m) {
  return concat(which(m), ": step ", m.step, "/", m.steps, ", ", rate(m.steps_per_second), ", ETA ",
                clock_time(m.seconds_left));
}

Progress::~Progress() {
  clear();
  if (running_ && total_pictures_ > 1)
    note(concat(finished_, " of ", finished_before_ + total_pictures_, " pictures are finished"));
}

void Progress::clear() {
  if (bar_shown_) write_stderr("\r\x1b[K");
  bar_shown_ = false;
}

void Progress::note(const std::string& line) {
  if (quiet_) return;
  clear();
  write_stderr(concat("sdgen: ", line, "\n"));
}

void Progress::detail(const std::string& line) {
  if (verbose_) note(line);
}

void Progress::begin(const ModelInfo& model) {
  detail(concat(model.path.string(), ": ", model.family));
  note(concat("model ", model.name, " on ", model.device, ", ", model.precision,
              format(", loaded in %.1f s", timings_.load)));
  for (const LoraInfo& lora : model.loras)
    note(concat("LoRA ", lora.name, ": ", lora.applied, " of ", lora.total, " modules applied"));
  running_ = true;
  began_ = Clock::now();
}

void Progress::expect(std::size_t pictures) {
  total_pictures_ = pictures;
  finished_before_ = finished_;
  expected_ = batch_began_ = Clock::now();
}

void Progress::end() {
  running_ = false;
  note(concat(finished_, finished_ == 1 ? " picture" : " pictures", format(" in %.1f s", since(began_))));
}

void Progress::stage(Stage stage, std::size_t first, double seconds) {
  const auto ended = [&](const char* name, double& slot) {
    slot = seconds;
    detail(concat("picture ", first + 1, ": ", name, format(" took %.3f s", seconds),
                  format(", at most %.2f GB of memory so far", peak_memory() / 1e9)));
  };
  switch (stage) {
    case Stage::load:
      timings_.load = seconds;
      break;
    case Stage::text:
      ended("text", timings_.text);
      break;
    case Stage::denoise:
      ended("denoising", timings_.denoise);
      break;
    case Stage::decode:
      ended("decoding", timings_.decode);
      break;
  }
  batch_began_ = Clock::now();
}

void Progress::step(std::size_t first, std::size_t pictures, int done, int total) {
  if (quiet_) return;
  const auto now = Clock::now();
  const bool first_step = done == 1 && first == 0;
  const milliseconds pause = columns_ > 0 ? milliseconds(50) : milliseconds(10'000);
  if (columns_ == 0 && first_step) shown_ = now;
  if (now - shown_ < pause && !(columns_ > 0 && done == total)) return;
  shown_ = now;

  const double seconds = since(batch_began_);
  const double work = first + static_cast<double>(pictures) * done / total;  // in pictures
  const Moment moment{first,
                      pictures,
                      total_pictures_,
                      done,
                      total,
                      seconds > 0 ? done / seconds : 0,
                      since(expected_) * (total_pictures_ / work - 1)};
  if (columns_ > 0) {
    write_stderr("\r" + bar_line(moment, columns_ - 1) + "\x1b[K");
    bar_shown_ = true;
  } else {
    note(plain_line(moment));
  }
}

void Progress::warning(const std::string& message) { note("warning: " + message); }

bool Progress::cancelled() { return interrupted() != 0; }

}  // namespace sdgen::cli
