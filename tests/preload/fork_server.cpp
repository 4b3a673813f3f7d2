// LD_PRELOAD: starts a program once and runs its main() in a fork for every request, so that thousands of runs do not
// wait for the dynamic linker (0.3 s of libtorch each, which the program opens when it is wanted: here at once).
// tools/reference/fork_server.py is the other end.
//
// A request on descriptor 198: its length (uint32), then strings that end with NUL: how many variables of the
// environment are changed, those (NAME=VALUE, or NAME to unset it), the working folder, files for stdout and stderr,
// the program's arguments. The answer on descriptor 199 is a Result. End of file ends the server.
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr int kRequests = 198, kResults = 199;
constexpr int kWait = 120'000;  // milliseconds; what takes longer is killed

using Main = int (*)(int, char**, char**);
Main real_main = nullptr;

struct Result {
  std::int64_t status, peak_kilobytes, cpu_microseconds, timed_out;
};

bool read_all(void* out, std::size_t size) {
  for (char* next = static_cast<char*>(out); size > 0;) {
    const ssize_t got = read(kRequests, next, size);
    if (got <= 0) return false;
    next += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

bool next_request(std::vector<std::string>& words) {
  std::uint32_t size = 0;
  if (!read_all(&size, sizeof size)) return false;
  std::string text(size, '\0');
  if (!read_all(text.data(), size)) return false;
  words.clear();
  for (std::size_t begin = 0, end; (end = text.find('\0', begin)) != std::string::npos; begin = end + 1)
    words.push_back(text.substr(begin, end - begin));
  return words.size() >= 4;
}

void redirect(int descriptor, const std::string& file) {
  const int opened = open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (opened < 0 || dup2(opened, descriptor) < 0) _exit(125);
  close(opened);
}

[[noreturn]] void run(std::vector<std::string>& words) {
  close(kRequests);
  close(kResults);
  auto word = words.begin() + 1;
  for (int left = std::atoi(words[0].c_str()); left > 0; --left, ++word) {
    const std::size_t equals = word->find('=');
    if (equals == std::string::npos)
      unsetenv(word->c_str());
    else
      setenv(word->substr(0, equals).c_str(), word->c_str() + equals + 1, 1);
  }
  if (chdir((word++)->c_str()) != 0) _exit(125);
  redirect(STDOUT_FILENO, *word++);
  redirect(STDERR_FILENO, *word++);
  std::vector<char*> argv;
  for (; word != words.end(); ++word) argv.push_back(word->data());
  argv.push_back(nullptr);
  const int code = real_main(static_cast<int>(argv.size()) - 1, argv.data(), environ);
  fflush(nullptr);
  _exit(code);  // not exit(): the destructors of the libraries cost more than most of the runs
}

int serve(int, char**, char**) {
  if (const auto open_core = reinterpret_cast<void (*)()>(dlsym(RTLD_DEFAULT, "sdgen_open_core"))) open_core();
  for (std::vector<std::string> words; next_request(words);) {
    const pid_t child = fork();
    if (child == 0) run(words);
    if (child < 0) return 1;
    pollfd ended{static_cast<int>(syscall(SYS_pidfd_open, child, 0)), POLLIN, 0};
    Result result{};
    if (poll(&ended, 1, kWait) == 0) {
      result.timed_out = 1;
      kill(child, SIGKILL);
    }
    close(ended.fd);
    int status = 0;
    rusage usage{};
    wait4(child, &status, 0, &usage);
    const auto microseconds = [](timeval time) { return time.tv_sec * 1'000'000 + time.tv_usec; };
    result.status = status;
    result.peak_kilobytes = usage.ru_maxrss;
    result.cpu_microseconds = microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
    if (write(kResults, &result, sizeof result) != sizeof result) return 1;
  }
  return 0;
}

}  // namespace

// glibc's entry into every program.
extern "C" int __libc_start_main(Main main, int argc, char** argv, void (*init)(), void (*fini)(), void (*rtld_fini)(),
                                 void* stack_end) {
  using Start = int (*)(Main, int, char**, void (*)(), void (*)(), void (*)(), void*);
  const auto start = reinterpret_cast<Start>(dlsym(RTLD_NEXT, "__libc_start_main"));
  const bool served = std::getenv("SDGEN_FORK_SERVER") != nullptr;
  unsetenv("SDGEN_FORK_SERVER");  // children of the program are plain again
  unsetenv("LD_PRELOAD");
  real_main = main;
  return start(served ? serve : main, argc, argv, init, fini, rtld_fini, stack_end);
}
