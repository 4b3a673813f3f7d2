#include "program/copies.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#include "cli/process.h"
#include "io/json.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

constexpr char kLine = '+', kError = '!';  // what a line begins with: what was said, or the error that ended a copy

// Writes a line in one piece, whoever writes at the same time.
void write_line(int to, char kind, const std::string& line) {
  static std::mutex lock;
  const std::lock_guard guard(lock);
  const std::string bytes = kind + line + '\n';
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t written = write(to, bytes.data() + done, bytes.size() - done);
    if (written < 0 && errno != EINTR) throw Cancelled();  // nobody listens any more
    if (written > 0) done += std::size_t(written);
  }
}

std::string error_line(const std::exception& error) {
  const auto* own = dynamic_cast<const Error*>(&error);
  Fault fault = Fault::internal;
  std::string text = error.what();
  if (own) {
    fault = own->fault(), text = own->text();
  } else if (const Failure failure = explain(error); failure.exit_code == static_cast<int>(Fault::device)) {
    fault = Fault::device;  // memory, mostly
  }
  return OrderedJson{{"fault", static_cast<int>(fault)}, {"text", text}}.dump(-1, ' ', false,
                                                                              OrderedJson::error_handler_t::replace);
}

// What a copy does from its first moment to its last.
[[noreturn]] void live(int number, int to, pid_t parent, const std::function<void(int, const Say&)>& work) {
  int code = 0;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  try {
    if (getppid() != parent) throw Cancelled();  // it ended before that was said
    work(number, [to](const std::string& line) { write_line(to, kLine, line); });
  } catch (const Cancelled&) {
    code = 1;
  } catch (const std::exception& error) {
    code = 1;
    try {
      write_line(to, kError, error_line(error));
    } catch (const std::exception&) {  // the other process will see that this one ended
    }
  }
  _exit(code);
}

// The copies, as the process that they are of sees them. Those that are still there at the end are ended.
class Copies {
 public:
  Copies(int count, const std::function<void(int, const Say&)>& work) {
    for (int number = 0; number < count; ++number) begin(number, work);
  }
  ~Copies() {
    for (const Copy& copy : all_) kill(copy.process, SIGTERM);
    for (const Copy& copy : all_) {
      close(copy.from);
      waitpid(copy.process, nullptr, 0);
    }
  }
  Copies(const Copies&) = delete;
  Copies& operator=(const Copies&) = delete;

  bool any() const { return !all_.empty(); }

  // What they say within a tenth of a second. Throws their errors.
  void listen(const std::function<void(std::string_view)>& hear) {
    std::vector<pollfd> pipes;
    for (const Copy& copy : all_) pipes.push_back({copy.from, POLLIN, 0});
    if (poll(pipes.data(), pipes.size(), 100) <= 0) return;
    for (std::size_t i = pipes.size(); i-- > 0;)
      if (pipes[i].revents != 0) read_some(i, hear);
  }

 private:
  struct Copy {
    pid_t process;
    int from;
    std::string text = {};  // of a line whose end has not come
  };

  void begin(int number, const std::function<void(int, const Say&)>& work) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
    const pid_t parent = getpid(), process = fork();
    if (process < 0) fail("fork");
    if (process == 0) {
      close(ends[0]);
      for (const Copy& other : all_) close(other.from);
      live(number, ends[1], parent, work);
    }
    close(ends[1]);
    all_.push_back({process, ends[0]});
  }

  [[noreturn]] static void fail(const char* call) {
    throw Error(Fault::device, concat("another process of sdgen cannot be started (", call, ": ", std::strerror(errno),
                                      "): ask for fewer with --jobs"));
  }

  void read_some(std::size_t index, const std::function<void(std::string_view)>& hear) {
    Copy& copy = all_[index];
    char bytes[4096];
    const ssize_t count = read(copy.from, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) return;
    if (count <= 0) return ended(index);
    copy.text.append(bytes, std::size_t(count));
    std::size_t begin = 0;
    for (std::size_t end; (end = copy.text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const std::string_view line = std::string_view(copy.text).substr(begin, end - begin);
      if (line[0] == kError) rethrow(line.substr(1));
      hear(line.substr(1));
    }
    copy.text.erase(0, begin);
  }

  void ended(std::size_t index) {
    const Copy copy = std::move(all_[index]);
    all_.erase(all_.begin() + std::ptrdiff_t(index));
    close(copy.from);
    int status = 0;
    while (waitpid(copy.process, &status, 0) < 0 && errno == EINTR) continue;
    if (WIFSIGNALED(status))
      throw Error(Fault::device, concat("one of the processes of --jobs was ended by signal ", WTERMSIG(status), " (",
                                        strsignal(WTERMSIG(status)),
                                        "); where it was killed, memory ran out: each has the networks for itself, so "
                                        "ask for fewer"));
    if (interrupted() != 0) throw Cancelled();  // and so was the copy
    if (status != 0)
      throw Error(Fault::device, "one of the processes of --jobs was told to end before its work was done");
  }

  [[noreturn]] static void rethrow(std::string_view line) {
    const Json error = Json::parse(line);
    throw Error(static_cast<Fault>(error.at("fault").get<int>()), error.at("text").get<std::string>());
  }

  std::vector<Copy> all_;
};

}  // namespace

void in_copies(int count, const std::function<void(int, const Say&)>& work,
               const std::function<void(std::string_view)>& hear, const std::function<bool()>& cancelled) {
  for (Copies copies(count, work); copies.any();) {
    if (cancelled()) throw Cancelled();
    copies.listen(hear);
  }
}

}  // namespace sdgen::cli
