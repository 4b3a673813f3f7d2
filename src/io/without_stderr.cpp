#include "io/without_stderr.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <exception>
#include <thread>

namespace sdgen {

void run_without_stderr(const std::function<void()>& action) {
  std::exception_ptr error;
  std::thread([&] {
    // From here on the thread's table of open files is a copy.
    if (unshare(CLONE_FILES) == 0)
      if (const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC); nowhere >= 0) dup2(nowhere, STDERR_FILENO);
    try {
      action();
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error) std::rethrow_exception(error);
}

}  // namespace sdgen
