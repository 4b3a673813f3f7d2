#include "cli/writer.h"

#include <utility>

namespace sdgen::cli {

Writer::Writer(Save save, std::size_t most, std::function<void()> failed)
    : save_(std::move(save)), most_(most), failed_(std::move(failed)), thread_([this] { work(); }) {}

Writer::~Writer() {
  {
    const std::lock_guard guard(lock_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Writer::add(Finished picture) {
  std::unique_lock guard(lock_);
  changed_.wait(guard, [this] { return waiting_.size() < most_ || error_; });
  if (error_) std::rethrow_exception(error_);
  waiting_.push_back(std::move(picture));
  changed_.notify_all();
}

void Writer::finish() {
  std::unique_lock guard(lock_);
  changed_.wait(guard, [this] { return (waiting_.empty() && !saving_) || error_; });
  if (error_) std::rethrow_exception(error_);
}

void Writer::work() {
  std::unique_lock guard(lock_);
  while (true) {
    changed_.wait(guard, [this] { return !waiting_.empty() || ending_; });
    if (waiting_.empty() || error_) return;
    Finished picture = std::move(waiting_.front());
    waiting_.pop_front();
    saving_ = true;
    guard.unlock();
    std::exception_ptr error;
    try {
      save_(picture);
    } catch (...) {
      error = std::current_exception();
    }
    guard.lock();
    saving_ = false;
    error_ = error;
    changed_.notify_all();
    if (!error) continue;
    guard.unlock();
    failed_();
    return;
  }
}

}  // namespace sdgen::cli
