// Runs the sdgen executable as a user would, and looks at the files that it leaves.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sdgen::test {

namespace fs = std::filesystem;

inline std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Outcome {
  int exit_code = -1;  // -signal when a signal ended it
  std::string out, err;
};

// A run of the program under way. Its stdout and stderr go to files, so that nobody has to drain pipes.
class Process {
 public:
  struct Setup {
    std::map<std::string, std::optional<std::string>> environment;  // nothing: unset
    std::function<bool()> in_child;  // called before the program starts; false: exit code 125
    fs::path folder;                 // its working folder
  };

  Process(std::vector<std::string> arguments, const fs::path& logs, const Setup& setup) : logs_(logs) {
    arguments.insert(arguments.begin(), SDGEN_BINARY);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    fs::remove(logs_ / "stdout");
    fs::remove(logs_ / "stderr");
    child_ = fork();
    if (child_ != 0) return;
    redirect(STDOUT_FILENO, logs_ / "stdout");
    redirect(STDERR_FILENO, logs_ / "stderr");
    for (const auto& [name, value] : setup.environment) {
      value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
    }
    if ((!setup.folder.empty() && chdir(setup.folder.c_str()) != 0) || (setup.in_child && !setup.in_child()))
      _exit(125);
    execv(SDGEN_BINARY, argv.data());
    _exit(126);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (child_ <= 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }

  void signal(int number) { kill(child_, number); }
  // Was this signal sent, and no thread has taken it yet?
  bool has_pending(int number) const {
    const std::string status = contents("/proc/" + std::to_string(child_) + "/status");
    const std::size_t at = status.find("ShdPnd:");
    return at != std::string::npos && (std::stoull(status.substr(at + 7, 18), nullptr, 16) >> (number - 1) & 1) != 0;
  }

  // Waits until stderr contains `text`; false after a minute or when the program ends first.
  bool wait_for_stderr(const std::string& text) {
    return wait_until([&] { return contains(contents(logs_ / "stderr"), text); });
  }
  bool wait_until(const std::function<bool()>& condition) {
    for (int i = 0; i < 6000; ++i) {
      if (condition()) return true;
      if (ended()) return condition();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  bool ended() {
    if (child_ > 0 && waitpid(child_, &status_, WNOHANG) == child_) child_ = 0;
    return child_ == 0;
  }

  // The end of the run; kills it after four minutes.
  Outcome wait() {
    for (int i = 0; i < 24000 && !ended(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (!ended()) return {-SIGKILL, contents(logs_ / "stdout"), contents(logs_ / "stderr") + "\n[did not end]"};
    const int code = WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_);
    return {code, contents(logs_ / "stdout"), contents(logs_ / "stderr")};
  }

 private:
  static void redirect(int descriptor, const fs::path& path) {
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
    if (file == -1 || dup2(file, descriptor) == -1) _exit(125);
    close(file);
  }

  fs::path logs_;
  pid_t child_ = -1;
  int status_ = 0;
};

// A terminal that the program's stderr can be, and what has been written there.
class Terminal {
 public:
  // Of this size; null: whatever the system gives.
  explicit Terminal(const winsize* size = nullptr) {
    opened_ = openpty(&terminal_, &screen_, nullptr, nullptr, const_cast<winsize*>(size)) == 0;
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() {
    if (!opened_) return;
    close(terminal_);
    close(screen_);
  }

  bool opened() const { return opened_; }
  // For Process::Setup: stderr is this terminal.
  std::function<bool()> in_child() const {
    return [screen = screen_] { return dup2(screen, STDERR_FILENO) != -1; };
  }
  // Waits for the end of the process and reads meanwhile, as a terminal that is full would stop it.
  Outcome watch(Process& process) {
    process.wait_until([this] { return read_screen(), false; });
    Outcome outcome = process.wait();
    read_screen();
    outcome.err = seen_;
    return outcome;
  }

 private:
  void read_screen() {
    pollfd ready{terminal_, POLLIN, 0};
    char text[4096];
    while (poll(&ready, 1, 0) == 1) {
      const ssize_t count = read(terminal_, text, sizeof text);
      if (count <= 0) break;
      seen_.append(text, static_cast<std::size_t>(count));
    }
  }

  bool opened_ = false;
  int terminal_ = -1, screen_ = -1;
  std::string seen_;
};

// A tmpfs of `bytes` on `folder`, in a mount namespace of this test process's own. Only where the kernel lets us.
class SmallDisk {
 public:
  SmallDisk(const fs::path& folder, std::size_t bytes) : folder_(folder) {
    const std::string size = "size=" + std::to_string(bytes);
    mounted_ = unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               mount("tmpfs", folder.c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) umount2(folder_.c_str(), MNT_DETACH);
  }

  bool mounted() const { return mounted_; }
  bool make_read_only() { return mount(nullptr, folder_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0; }

 private:
  fs::path folder_;
  bool mounted_ = false;
};

// A named pipe that takes 4 KB and that nobody reads: who writes a picture into it blocks, once it is full.
class FullPipe {
 public:
  explicit FullPipe(const fs::path& path) {
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    end_ = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    EXPECT_EQ(fcntl(end_, F_SETPIPE_SZ, kBytes), kBytes);
  }
  FullPipe(const FullPipe&) = delete;
  FullPipe& operator=(const FullPipe&) = delete;
  ~FullPipe() { close(end_); }

  bool is_full() const {
    int waiting = 0;
    return ioctl(end_, FIONREAD, &waiting) == 0 && waiting == kBytes;
  }

 private:
  static constexpr int kBytes = 4096;
  int end_;
};

using Words = std::vector<std::string>;

class Program : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "sdgen-program-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    top_ = name;
    fs::create_directory(top_ / "logs");
    fs::create_directory(folder_ = top_ / "work");
    setup_.folder = folder_;
    setup_.environment = {{"SDGEN_MODEL", std::nullopt}, {"SDGEN_DATA", std::nullopt}};
  }
  void TearDown() override { fs::remove_all(top_); }

  Outcome run(const Words& words) { return Process(words, top_ / "logs", setup_).wait(); }

  // The same with a model, a prompt, a seed and few steps.
  Outcome make(Words words) {
    words.insert(words.begin(), {"-m", model(), "-p", "a red fox", "-s", "7", "--steps", "2"});
    return run(words);
  }

  static std::string model() {
    for (const char* place : {SDGEN_FIXTURES "/tiny-sd", SDGEN_SOURCE "/models/default"}) {
      if (fs::exists(fs::path(place) / "model_index.json")) return place;
    }
    return "";
  }

  // What lies in the working folder, hidden and temporary files included.
  std::set<std::string> files() {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      names.insert(entry.path().lexically_relative(folder_).string());
    }
    return names;
  }

  fs::path top_, folder_;
  Process::Setup setup_;
};

class ProgramWithModel : public Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    ASSERT_FALSE(model().empty()) << "there is neither tests/fixtures/tiny-sd nor models/default";
  }
};

// Width and height of a whole PNG file (signature, IHDR, IEND); zeros for anything else.
inline std::pair<int, int> png_size(const std::string& bytes) {
  const auto big_endian = [&bytes](std::size_t at) {
    int value = 0;
    for (std::size_t i = at; i < at + 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  };
  if (bytes.size() < 45 || !bytes.starts_with("\x89PNG\r\n\x1a\n") || !bytes.ends_with("IEND\xae\x42\x60\x82"))
    return {};
  return {big_endian(16), big_endian(20)};
}

}  // namespace sdgen::test
