#include "cli/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <initializer_list>
#include <new>
#include <system_error>

#include "cli/fields.h"
#include "io/file.h"
#include "io/lack_of_memory.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

std::atomic<int> signal_seen = 0;
static_assert(std::atomic<int>::is_always_lock_free);  // so that a handler may use it

constexpr unsigned kGrace = 2;  // seconds

// Everything here is async-signal-safe.
extern "C" void on_signal(int signal) {
  const int saved_errno = errno;
  if (signal_seen.exchange(signal) != 0) {
    remove_temporary_files();
    _exit(128 + signal);
  }
  alarm(kGrace);
  errno = saved_errno;
}

extern "C" void on_end_of_grace(int) {
  remove_temporary_files();
  _exit(128 + signal_seen.load());
}

bool contains_any(std::string_view text, std::initializer_list<std::string_view> phrases) {
  return std::ranges::any_of(phrases, [text](std::string_view phrase) { return text.find(phrase) != text.npos; });
}

// What std::thread and std::async throw when there is no room for another stack.
bool lacks_threads(const std::exception& error) {
  const auto* known = dynamic_cast<const std::system_error*>(&error);
  return known != nullptr && known->code() == std::errc::resource_unavailable_try_again;
}
// libtorch distinguishes it from other faults by its text alone.
bool is_device_failure(std::string_view what) {
  // oneDNN does not say more of a kernel that it could not build, which happens when memory runs out.
  return contains_any(what, {"CUDA error", "CUDA driver", "CUDNN_STATUS", "CUBLAS_STATUS",
                             "could not create a primitive", "could not execute a primitive"});
}

}  // namespace

void prepare_process() {
  for (int fd = 0; fd <= 2; ++fd) {
    // Opened for the wrong direction on purpose: using it stays an error (EBADF).
    if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) == -1) _exit(70);
  }
  struct sigaction action = {};
  sigemptyset(&action.sa_mask);
  action.sa_handler = on_signal;  // no SA_RESTART: a blocked write returns and looks at the flag
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = on_end_of_grace;
  sigaction(SIGALRM, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
  sigaction(SIGXFSZ, &action, nullptr);
}

void extend_grace() {
  if (interrupted() != 0) alarm(10);
}

int interrupted() { return signal_seen.load(); }

void write_stdout(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EINTR) {
      if (interrupted() != 0) throw Cancelled();
    } else if (errno == EAGAIN) {  // the other end made it non-blocking
      pollfd wait{STDOUT_FILENO, POLLOUT, 0};
      poll(&wait, 1, 100);
    } else if (errno == EPIPE) {
      throw Error(Fault::output, "");
    } else {
      throw Error(Fault::output, concat("standard output cannot be written: ", std::strerror(errno)));
    }
  }
}

void write_stderr(std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (written == 0 || errno != EINTR) {
      return;
    }
  }
}

int terminal_columns() {
  if (isatty(STDERR_FILENO) != 1) return 0;
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

Failure explain(const std::exception& error) {
  // Names of files, tensors and keys come from strangers, and the code that throws may have forgotten it.
  const auto* known = dynamic_cast<const Error*>(&error);
  const std::string what = printable_lines(known ? in_flags(*known) : error.what(), kMostMessage);
  if (known) {
    const Fault fault = known->fault();
    if (what.empty()) return {static_cast<int>(fault), ""};
    std::string message = concat("sdgen: ", what, "\n");
    if (fault == Fault::usage) message += "see sdgen --help\n";
    if (fault == Fault::internal) message += "sdgen: this is a bug: please report it with the command line\n";
    return {static_cast<int>(fault), message};
  }
  if (dynamic_cast<const Cancelled*>(&error) != nullptr) {
    const int signal = interrupted() != 0 ? interrupted() : SIGINT;
    return {128 + signal, concat("sdgen: ended by ", signal == SIGTERM ? "SIGTERM" : "SIGINT", "\n")};
  }
  const std::string first_line = what.substr(0, what.find('\n'));  // libtorch appends a stack trace
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr || says_lack_of_memory(what) || lacks_threads(error)) {
    return {static_cast<int>(Fault::device), concat("sdgen: out of memory: ", first_line, "\n")};
  }
  if (is_device_failure(what))
    return {static_cast<int>(Fault::device), concat("sdgen: the device failed: ", first_line, "\n")};
  return {static_cast<int>(Fault::internal),
          concat("sdgen: internal error: ", what, "\nsdgen: this is a bug: please report it with the command line\n")};
}

}  // namespace sdgen::cli
