#include "cli/progress.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/process.h"
#include "io/json.h"
#include "io/utf8.h"

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

// "picture 2 of 4", "pictures 3-4 of 4"; of a run without a known end "picture 2".
std::string which(const Moment& m) {
  const std::string of = m.total ? concat(" of ", *m.total) : "";
  if (m.pictures == 1) return concat("picture ", m.first + 1, of);
  return concat("pictures ", m.first + 1, "-", m.first + m.pictures, of);
}

// " | 1 done, ETA 0:31": of the whole run.
std::string overall(const Moment& m) {
  if (m.total && *m.total <= m.pictures) return "";
  return concat(" | ", m.finished, " done", m.total ? concat(", ETA ", clock_time(m.run_left)) : "");
}

double since(std::chrono::steady_clock::time_point then) {
  return duration<double>(std::chrono::steady_clock::now() - then).count();
}

// Bytes that this process had resident at most.
double peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return 1024.0 * static_cast<double>(usage.ru_maxrss);
}

}  // namespace

std::string bar_line(const Moment& m, int columns) {
  constexpr int widest = 30, narrowest = 5;
  const std::string left = which(m) + "  ";
  const std::string steps = std::to_string(m.steps);
  std::string step = std::to_string(m.step);
  if (step.size() < steps.size()) step.insert(0, steps.size() - step.size(), ' ');
  const std::string right =
      concat(step, "/", steps, "  ", rate(m.steps_per_second), "  ETA ", clock_time(m.seconds_left), overall(m));
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
                clock_time(m.seconds_left), overall(m));
}

bool Pace::due(std::optional<double> share, double seconds) {
  constexpr double least = 1, most = 300;
  if (seconds - last_ < least) return false;
  const int tenths = share ? static_cast<int>(*share * 10 + 1e-9) : 0;
  if ((tenths <= tenths_ || tenths >= 10) && seconds - last_ < most) return false;  // the end has a line of its own
  tenths_ = tenths;
  last_ = seconds;
  return true;
}

Progress::~Progress() {
  clear();
  if (!running_) return;
  if (more_)
    note(concat(finished_, " pictures are finished"));
  else if (const std::size_t all = before_ + expected_ + later_; all > 1)
    note(concat(finished_, " of ", all, " pictures are finished"));
}

void Progress::take_off() {
  if (bar_shown_) write_stderr("\r\x1b[K");
  bar_shown_ = false;
}

void Progress::say(const std::string& line) {
  if (quiet_) return;
  take_off();
  write_stderr(concat("sdgen: ", printable_lines(line, kMostMessage), "\n"));
}

void Progress::say_more(const std::string& line) {
  if (verbose_) say(line);
}

void Progress::clear() {
  const std::lock_guard guard(lock_);
  take_off();
}

void Progress::note(const std::string& line) {
  const std::lock_guard guard(lock_);
  say(line);
}

void Progress::print(const std::string& text) {
  const std::lock_guard guard(lock_);
  take_off();
  write_stderr(text);
}

Progress::Pause::Pause(Progress& progress) : progress_(progress) {
  const std::lock_guard guard(progress_.lock_);
  progress_.take_off();
  ++progress_.pauses_;
}

Progress::Pause::~Pause() {
  const std::lock_guard guard(progress_.lock_);
  --progress_.pauses_;
}

void Progress::begin(const ModelInfo& model) {
  const std::lock_guard guard(lock_);
  say_more(concat(model.path.string(), ": ", model.family));
  const std::string unet = model.backbone.empty() ? "" : concat(" with the U-Net ", model.backbone);
  say(concat("model ", model.name, unet, " on ", model.device, ", ", model.precision,
             format(", loaded in %.1f s", timings_.load)));
  running_ = true;
  began_ = Clock::now();
}

void Progress::expect(std::vector<std::filesystem::path> files, std::size_t later, bool more) {
  const std::lock_guard guard(lock_);
  before_ += expected_;
  texts_.clear();
  expected_ = files.size();
  later_ = later;
  for (std::size_t i = 0; json_ && i < files.size(); ++i) under_way_[before_ + i] = {std::move(files[i])};
  more_ = more;
  call_began_ = batch_began_ = Clock::now();
}

void Progress::say_json(std::size_t number, const std::function<void(OrderedJson&)>& more) {
  const UnderWay& picture = under_way_[number];
  OrderedJson line{{"picture", number + 1}};
  line["pictures"] = more_ ? OrderedJson() : OrderedJson(before_ + expected_ + later_);
  line["file"] = picture.file.empty() ? OrderedJson() : OrderedJson(picture.file.string());
  line["step"] = picture.step;
  line["of"] = picture.steps;
  line["seconds"] = std::round(since(began_) * 1e3) / 1e3;
  if (more) more(line);
  take_off();
  write_stderr(line_of_json(line) + "\n");
}

void Progress::say_json(const std::filesystem::path& file, const std::function<void(OrderedJson&)>& more) {
  const auto found = std::ranges::find_if(under_way_, [&](const auto& entry) { return entry.second.file == file; });
  if (found != under_way_.end()) say_json(found->first, more);
}

void Progress::previewed(const std::filesystem::path& file, const std::filesystem::path& preview) {
  const std::lock_guard guard(lock_);
  if (json_) say_json(file, [&](OrderedJson& line) { line["preview"] = preview.string(); });
}

void Progress::finished(const std::filesystem::path& file) {
  const std::lock_guard guard(lock_);
  ++finished_;
  if (!json_) return;
  say_json(file, [](OrderedJson& line) { line["finished"] = true; });
  std::erase_if(under_way_, [&](const auto& entry) { return entry.second.file == file; });
}

void Progress::end() {
  const std::lock_guard guard(lock_);
  running_ = false;
  say(concat(finished_, finished_ == 1 ? " picture" : " pictures", format(" in %.1f s", since(began_))));
}

Timings Progress::timings() const {
  const std::lock_guard guard(lock_);
  return timings_;
}

Computation Progress::computation() const {
  const std::lock_guard guard(lock_);
  return computation_;
}

void Progress::computed(std::size_t /*first*/, const Computation& how) {
  const std::lock_guard guard(lock_);
  computation_ = how;
}

void Progress::stage(Stage stage, std::size_t first, double seconds) {
  const std::lock_guard guard(lock_);
  const auto ended = [&](const char* name, double& slot) {
    slot = seconds;
    say_more(concat("picture ", before_ + first + 1, ": ", name, format(" took %.3f s", seconds),
                    format(", at most %.2f GB of memory so far", peak_memory() / 1e9)));
  };
  switch (stage) {
    case Stage::load:
      timings_.load += seconds;
      break;
    case Stage::text:
      ended("text", texts_[first]);
      break;
    case Stage::denoise:
      timings_.text = std::exchange(texts_[first], 0);
      ended("denoising", timings_.denoise);
      break;
    case Stage::decode:
      ended("decoding", timings_.decode);
      break;
  }
  batch_began_ = Clock::now();
}

Moment Progress::moment(std::size_t first, std::size_t pictures, int done, int total) const {
  Moment m{before_ + first, pictures, before_ + expected_ + later_, finished_, done, total};
  if (more_) m.total.reset();
  const double seconds = since(batch_began_);
  if (seconds > 0) m.steps_per_second = done / seconds;
  m.seconds_left = seconds * (double(total) / done - 1);
  const double work = double(first) + double(pictures) * done / total;  // of this call, in pictures
  m.run_left = since(call_began_) * (double(expected_ + later_) / work - 1);
  return m;
}

void Progress::step(std::size_t first, std::size_t pictures, int done, int total) {
  const std::lock_guard guard(lock_);
  for (std::size_t i = before_ + first; json_ && i < before_ + first + pictures; ++i) {
    under_way_[i].step = done;
    under_way_[i].steps = total;
    say_json(i);
  }
  if (json_ || quiet_ || pauses_ > 0) return;
  const Moment m = moment(first, pictures, done, total);
  if (columns_ == 0) {
    const double work = double(m.first) + double(pictures) * done / total;
    if (pace_.due(m.total ? std::optional(work / double(*m.total)) : std::nullopt, since(began_))) say(plain_line(m));
    return;
  }
  const auto now = Clock::now();
  if (now - shown_ < milliseconds(50) && done < total) return;
  shown_ = now;
  write_stderr("\r" + bar_line(m, columns_ - 1) + "\x1b[K");
  bar_shown_ = true;
}

void Progress::detail(const std::string& message) {
  const std::lock_guard guard(lock_);
  say_more(message);
}

void Progress::warning(const std::string& message) { note("warning: " + message); }

bool Progress::cancelled() { return stopped_ || interrupted() != 0; }

}  // namespace sdgen::cli
