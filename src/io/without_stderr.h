// Libraries that tell stderr of every damaged byte, where one line of our own is the message.
#pragma once

#include <functional>
#include <optional>

namespace sdgen {

// Runs `action` on a thread of its own, for which stderr leads nowhere; other threads' stays as it is. What it throws
// is thrown here. Where the system forbids a thread such files of its own (some containers do), stderr stays as it is.
void run_without_stderr(const std::function<void()>& action);

template <class Action>
auto without_stderr(const Action& action) {
  std::optional<decltype(action())> result;
  run_without_stderr([&] { result = action(); });
  return *std::move(result);
}

}  // namespace sdgen
