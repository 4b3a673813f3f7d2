// What the user sees of a run, on stderr: a moving bar on a terminal, a line now and then elsewhere, log lines.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cli/fields.h"
#include "cli/metadata.h"
#include "cli/options.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

// A moment of the denoising loop.
struct Moment {
  std::size_t first = 0, pictures = 1;    // the batch under way is pictures [first, first + pictures) of the run
  std::optional<std::size_t> total = 1;   // pictures of the run; nothing: nobody knows, a pipe is still open
  std::size_t finished = 0;               // of them: written
  int step = 0, steps = 1;                // of the batch
  double steps_per_second = 0;            // 0: unknown yet
  double seconds_left = 0, run_left = 0;  // of the batch, and of the whole run where its total is known
};
// "picture 2 of 4  [======>     ]  12/20  3.21 it/s  ETA 0:07 | 1 done, ETA 0:31", at most `columns` long (the bar
// gives way first). What follows "|" is about the whole run, where that is more than a picture.
std::string bar_line(const Moment& moment, int columns);
// "picture 2 of 4: step 12/20, 3.21 it/s, ETA 0:07 | 1 done, ETA 0:31"
std::string plain_line(const Moment& moment);

// When a line is due where no bar can move: whenever a tenth of the run has passed, and after five minutes without one
// (a long job should show that it lives); never two within a second.
class Pace {
 public:
  // `share` of the run is done, as far as its total is known, `seconds` after it began.
  bool due(std::optional<double> share, double seconds);

 private:
  int tenths_ = 0;
  double last_ = 0;
};

// The networks' thread and one that writes finished pictures may call it at a time.
class Progress : public Observer {
 public:
  // `columns`: of the terminal on stderr, 0 when it is not one.
  Progress(const OutputOptions& output, int columns)
      : quiet_(output.quiet),
        verbose_(output.verbose),
        json_(output.progress == ProgressForm::json),
        columns_(columns) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() override;  // clears the bar; when begin() had no end(), says how far the run came

  void note(const std::string& line);   // a log line; nothing with --quiet
  void print(const std::string& text);  // as it is, with --quiet too: errors, pictures
  void clear();                         // takes the bar off the terminal; the next step() puts it back

  // Keeps the bar off the terminal as long as it lives: others write there.
  class Pause {
   public:
    explicit Pause(Progress& progress);
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;
    ~Pause();

   private:
    Progress& progress_;
  };

  void begin(const ModelInfo& model);
  // The files that the next call of the pipeline makes (empty: stdout), and how many pictures are known to come
  // `later`. `more`: others may come after them, nobody knows how many.
  void expect(std::vector<std::filesystem::path> files, std::size_t later, bool more);
  // A preview of the picture of this name is written.
  void previewed(const std::filesystem::path& file, const std::filesystem::path& preview);
  void finished(const std::filesystem::path& file);  // one more picture is written
  void end();

  void stage(Stage stage, std::size_t first, double seconds) override;
  void step(std::size_t first, std::size_t pictures, int done, int total) override;
  void computed(std::size_t first, const Computation& how) override;
  void detail(const std::string& message) override;
  void warning(const std::string& message) override;
  void warning_of_fields(const Error& about) override { warning(in_flags(about)); }
  bool cancelled() override;
  void stop() { stopped_ = true; }  // nothing more is to be made: cancelled() from now on

  Timings timings() const;  // of the batch under way
  Computation computation() const;

 private:
  using Clock = std::chrono::steady_clock;
  // These are called with the lock held.
  void take_off();
  void say(const std::string& line);       // note()
  void say_more(const std::string& line);  // detail()
  Moment moment(std::size_t first, std::size_t pictures, int done, int total) const;
  // A line of JSON about the picture of this number: {"picture": ..., "pictures": ..., "file": ..., "step": ...,
  // "of": ..., "seconds": ...} and `more` (schema.h).
  void say_json(std::size_t number, const std::function<void(OrderedJson&)>& more = {});
  void say_json(const std::filesystem::path& file, const std::function<void(OrderedJson&)>& more);

  struct UnderWay {
    std::filesystem::path file;
    int step = 0, steps = 0;
  };

  const bool quiet_, verbose_, json_;
  const int columns_;
  std::atomic<bool> stopped_ = false;
  mutable std::mutex lock_;
  bool running_ = false, bar_shown_ = false, more_ = false;
  int pauses_ = 0;
  std::size_t before_ = 0, expected_ = 0, later_ = 0;  // pictures of earlier calls, of this one and of later ones
  std::size_t finished_ = 0;                           // in their places
  Clock::time_point began_, call_began_, batch_began_, shown_;
  Pace pace_;
  Timings timings_;
  std::map<std::size_t, UnderWay> under_way_;  // by their numbers from 0; for lines of JSON
  std::map<std::size_t, double> texts_;  // by the batch's first picture: prompts may be read long before it is drawn
  Computation computation_;
};

}  // namespace sdgen::cli
