// What the user sees of a run, on stderr: a moving bar on a terminal, a line now and then elsewhere, log lines.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string>

#include "cli/metadata.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

// A moment of the denoising loop.
struct Moment {
  std::size_t first = 0, pictures = 1, total_pictures = 1;  // the batch under way is pictures [first, first + pictures)
  int step = 0, steps = 1;
  double steps_per_second = 0;
  double seconds_left = 0;  // of the whole run
};
// "picture 2 of 4  [======>     ]  12/20  3.21 it/s  ETA 0:07", at most `columns` long (the bar gives way first).
std::string bar_line(const Moment& moment, int columns);
// "picture 2 of 4: step 12/20, 3.21 it/s, ETA 0:07"
std::string plain_line(const Moment& moment);

class Progress : public Observer {
 public:
  // `columns`: of the terminal on stderr, 0 when it is none.
  Progress(bool quiet, bool verbose, int columns) : quiet_(quiet), verbose_(verbose), columns_(columns) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() override;  // clears the bar; when begin() had no end(), says how far the run came

  void note(const std::string& line);  // a log line; nothing with --quiet
  void clear();                        // takes the bar off the terminal; the next step() puts it back

  void begin(const ModelInfo& model);
  void expect(std::size_t pictures);  // that the next call of the pipeline makes
  void finished() { ++finished_; }    // one more picture is where it shall be
  void end();

  void stage(Stage stage, std::size_t first, double seconds) override;
  void step(std::size_t first, std::size_t pictures, int done, int total) override;
  void warning(const std::string& message) override;
  bool cancelled() override;

  const Timings& timings() const { return timings_; }  // of the batch under way

 private:
  using Clock = std::chrono::steady_clock;
  void detail(const std::string& line);  // a log line of --verbose

  bool quiet_, verbose_;
  int columns_;
  bool running_ = false, bar_shown_ = false;
  std::size_t total_pictures_ = 0, finished_ = 0, finished_before_ = 0;  // before what is expected now
  Clock::time_point began_, expected_, batch_began_, shown_;
  Timings timings_;
};

}  // namespace sdgen::cli
