// A thread that puts finished pictures away while the next ones are made.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "cli/results.h"

namespace sdgen::cli {

// Saves pictures in the order in which they come. What goes wrong with one is thrown by the next call; pictures after
// it are not saved.
class Writer {
 public:
  using Save = std::function<void(Finished&)>;

  // At most `most` pictures wait. `failed` is called, by the writing thread, as soon as something has gone wrong, so
  // that nobody goes on making pictures.
  Writer(Save save, std::size_t most, std::function<void()> failed);
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer();  // saves what waits: those pictures are finished, whatever ended the run

  void add(Finished picture);  // waits while too many wait
  void finish();               // until all are saved

 private:
  void work();

  const Save save_;
  const std::size_t most_;
  const std::function<void()> failed_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<Finished> waiting_;
  bool saving_ = false, ending_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace sdgen::cli
