#include "io/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <map>
#include <thread>
#include <vector>

#include "base/scratch.h"

namespace sdgen {
namespace {

// What the system calls below do instead of their work, while an object of this class lives.
struct Faults {
  Faults() { active = this; }
  ~Faults() { active = nullptr; }

  int fail_at = 0;                    // the number of the call that fails, counted over all kinds from 1; 0: none
  int error = EIO;                    // with this errno
  std::map<std::string, int> always;  // calls that always fail, and with what
  std::size_t most = SIZE_MAX;        // bytes that one read or write moves
  int interruptions = 0;              // calls that still end with EINTR
  void (*at_fsync)() = nullptr;

  int calls = 0;
  bool failed = false;
  std::string which;  // the call that failed

  // The errno that this call must fail with, 0: none.
  int next(const char* call) {
    ++calls;
    if (interruptions > 0) return --interruptions, EINTR;
    if (calls == fail_at) return failed = true, which = call, error;
    const auto found = always.find(call);
    return found == always.end() ? 0 : found->second;
  }

  static thread_local Faults* active;
};
thread_local Faults* Faults::active = nullptr;

int fault_of(const char* call) { return Faults::active == nullptr ? 0 : Faults::active->next(call); }
std::size_t most(std::size_t size) { return Faults::active == nullptr ? size : std::min(size, Faults::active->most); }

}  // namespace
}  // namespace sdgen

// These take the place of libc's in this executable.
#define RETURN_FAULT(call)                                \
  if (const int error = ::sdgen::fault_of(call); error) { \
    errno = error;                                        \
    return -1;                                            \
  }
extern "C" {
int open(const char* path, int flags, ...) {
  const bool nameless = (flags & O_TMPFILE) == O_TMPFILE;
  RETURN_FAULT(nameless ? "open without a name" : "open");
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 || nameless ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}
ssize_t pread(int descriptor, void* out, size_t size, off_t offset) {
  RETURN_FAULT("pread");
  return syscall(SYS_pread64, descriptor, out, sdgen::most(size), offset);
}
ssize_t write(int descriptor, const void* bytes, size_t size) {
  RETURN_FAULT("write");
  return syscall(SYS_write, descriptor, bytes, sdgen::most(size));
}
int fsync(int descriptor) {
  RETURN_FAULT("fsync");
  if (sdgen::Faults::active != nullptr && sdgen::Faults::active->at_fsync != nullptr) sdgen::Faults::active->at_fsync();
  return static_cast<int>(syscall(SYS_fsync, descriptor));
}
int close(int descriptor) {
  const int closed = static_cast<int>(syscall(SYS_close, descriptor));
  RETURN_FAULT("close");
  return closed;
}
int rename(const char* from, const char* to) noexcept {
  RETURN_FAULT("rename");
  return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  RETURN_FAULT("renameat2");
  return static_cast<int>(syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}
int link(const char* from, const char* to) noexcept {
  RETURN_FAULT("link");
  return static_cast<int>(syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) noexcept {
  RETURN_FAULT("linkat");
  return static_cast<int>(syscall(SYS_linkat, from_folder, from, to_folder, to, flags));
}
}  // extern "C"

namespace sdgen {
namespace {

using Names = std::set<std::string>;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

void write(const std::filesystem::path& path, std::string_view text, bool overwrite = false) {
  write_file_atomically(path, bytes_of(text), overwrite);
}

std::string refusal(const std::filesystem::path& path, std::string_view text, bool overwrite = false) {
  const std::string message = message_of(Fault::output, [&] { write(path, text, overwrite); });
  EXPECT_TRUE(message.starts_with(path.string() + ": ")) << message;
  return message;
}

TEST(InputFile, ReadsFromAnyPlace) {
  const Scratch scratch;
  const InputFile file(scratch.write("a", "0123456789"));
  EXPECT_EQ(file.size(), 10u);
  std::string out(4, '\0');
  file.read(3, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(out, "3456");
  EXPECT_EQ(file.read_some(8, std::as_writable_bytes(std::span(out))), 2u);
  EXPECT_EQ(file.read_some(100, std::as_writable_bytes(std::span(out))), 0u);
  EXPECT_CONTAINS(message_of(Fault::input, [&] { file.read(7, std::as_writable_bytes(std::span(out))); }), "shrank");
}

TEST(InputFile, GoesOnAfterInterruptionsAndShortReads) {
  const Scratch scratch;
  const auto path = scratch.write("a", "0123456789");
  Faults faults;
  faults.interruptions = 3;
  faults.most = 3;
  EXPECT_EQ(read_file(path, 100), "0123456789");
}

TEST(InputFile, AnInterruptedReadGoesOn) {
  const Scratch scratch;
  const InputFile file(scratch.write("a", "0123456789"));
  Faults faults;
  faults.interruptions = 3;  // all of them while it is read
  std::array<char, 10> bytes{};
  file.read(0, std::as_writable_bytes(std::span(bytes)));
  EXPECT_EQ(std::string(bytes.data(), bytes.size()), "0123456789");
}

TEST(InputFile, SaysWhatFailed) {
  const Scratch scratch;
  const auto path = scratch.write("a", "0123456789");
  Faults faults;
  faults.always = {{"pread", EIO}};
  EXPECT_EQ(message_of(Fault::input, [&] { read_file(path, 100); }),
            path.string() + ": cannot be read at byte 0: Input/output error");
  faults.always = {{"open", EACCES}};
  EXPECT_EQ(message_of(Fault::input, [&] { read_file(path, 100); }),
            path.string() + ": cannot be opened: Permission denied");
}

TEST(ReadFile, HasALimit) {
  const Scratch scratch;
  const auto path = scratch.write("a", "0123456789");
  EXPECT_EQ(read_file(path, 10), "0123456789");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { read_file(path, 9); }), "has 10 bytes, at most 9 are read");
  EXPECT_EQ(read_file(scratch.write("empty", ""), 0), "");
  EXPECT_CONTAINS(read_file("/proc/self/status", 1 << 16), "Name:") << "a file whose size is unknown";
  EXPECT_CONTAINS(message_of(Fault::input, [&] { read_file("/proc/self/status", 10); }), "has more than 10 bytes");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { read_file("/dev/zero", 10); }), "is a device");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { read_file(scratch.folder(), 10); }), "is a folder");
}

TEST(WriteFile, WritesNewFiles) {
  const Scratch scratch;
  write(scratch / "a", "hello");
  write(scratch / "empty", "");
  EXPECT_EQ(contents(scratch / "a"), "hello");
  EXPECT_EQ(scratch.names(), (Names{"a", "empty"}));
  struct stat status {};
  ASSERT_EQ(stat((scratch / "a").c_str(), &status), 0);
  const mode_t mask = umask(0);
  umask(mask);
  EXPECT_EQ(status.st_mode & 0777, 0666 & ~mask) << "as any program's files";
}

TEST(WriteFile, WritesIntoTheCurrentFolder) {
  const Scratch scratch;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(scratch.folder());
  write("a", "hello");
  check_writable_folder("");
  std::filesystem::current_path(before);
  EXPECT_EQ(contents(scratch / "a"), "hello");
  EXPECT_EQ(scratch.names(), Names{"a"});
}

TEST(WriteFile, TakesTheLongestName) {
  const Scratch scratch;
  write(scratch / std::string(255, 'n'), "hello");
  EXPECT_EQ(scratch.names(), Names{std::string(255, 'n')});
  EXPECT_CONTAINS(refusal(scratch / std::string(256, 'n'), "hello"), "File name too long");
}

TEST(WriteFile, ReplacesOnlyWhenAsked) {
  const Scratch scratch;
  const auto path = scratch.write("a", "old");
  EXPECT_CONTAINS(refusal(path, "new"), "exists already");
  EXPECT_EQ(contents(path), "old");
  write(path, "new", true);
  EXPECT_EQ(contents(path), "new");
  EXPECT_EQ(scratch.names(), Names{"a"});
  EXPECT_CONTAINS(refusal(scratch.folder(), "new", true), "is a folder");
}

TEST(WriteFile, FollowsLinksWhenItReplaces) {
  const Scratch scratch;
  scratch.write("target", "old");
  std::filesystem::create_symlink("target", scratch / "link");
  std::filesystem::create_symlink("nowhere", scratch / "dangling");
  EXPECT_CONTAINS(refusal(scratch / "link", "new"), "exists already");
  EXPECT_CONTAINS(refusal(scratch / "dangling", "new"), "exists already");
  write(scratch / "link", "new", true);
  EXPECT_TRUE(std::filesystem::is_symlink(scratch / "link"));
  EXPECT_EQ(contents(scratch / "target"), "new");
}

TEST(WriteFile, NamesMissingFolders) {
  const Scratch scratch;
  EXPECT_CONTAINS(refusal(scratch / "no/a", "new"), "cannot be written: No such file or directory (3 bytes)");
  scratch.write("file", "");
  EXPECT_CONTAINS(refusal(scratch / "file/a", "new"), "Not a directory");
}

TEST(WriteFile, GoesOnAfterInterruptionsAndShortWrites) {
  const Scratch scratch;
  {
    Faults faults;
    faults.interruptions = 5;
    faults.most = 2;
    write(scratch / "a", "0123456789");
    EXPECT_GE(faults.calls, 5 + 5);
  }
  EXPECT_EQ(contents(scratch / "a"), "0123456789");
}

// Every call in turn fails with every error: nothing is left over and nothing is lost. Files are made without a name
// where that works, else with one.
TEST(WriteFile, LeavesNothingBehindWhateverFails) {
  const std::map<std::string, int> nowhere_nameless = {{"open without a name", EOPNOTSUPP}};
  for (const int error : {ENOSPC, EDQUOT, EIO, EACCES, EROFS}) {
    for (const auto& [replace, always] :
         {std::pair{false, std::map<std::string, int>{}}, std::pair{true, std::map<std::string, int>{}},
          std::pair{false, nowhere_nameless}, std::pair{true, nowhere_nameless}}) {
      bool failed = true;
      for (int k = 1; failed; ++k) {
        ASSERT_LT(k, 50);
        const Scratch scratch;
        const auto path = scratch / "a";
        if (replace) scratch.write("a", "old");
        Faults faults;
        faults.fail_at = k;
        faults.error = error;
        faults.always = always;
        faults.most = 4;
        std::string message;
        try {
          write(path, "0123456789", replace);
        } catch (const Error& caught) {
          EXPECT_EQ(caught.fault(), Fault::output);
          message = caught.what();
        }
        failed = faults.failed;
        faults.fail_at = 0;
        if (message.empty()) {  // the call's failure does not matter (a file system without fsync), or there was none
          EXPECT_EQ(contents(path), "0123456789") << error << " at call " << k;
          // The other way is taken, or all is done already.
          const bool does_not_matter = faults.which == "open without a name" || faults.which == "linkat" ||
                                       (always.empty() && faults.which == "close");
          EXPECT_TRUE(!failed || error == EROFS || does_not_matter) << faults.which << " with " << error;
          EXPECT_EQ(scratch.names(), Names{"a"});
        } else {
          EXPECT_CONTAINS(message, path.string() + ": cannot be written: ");
          EXPECT_CONTAINS(message, "(10 bytes");
          const bool full = error == ENOSPC || error == EDQUOT;
          EXPECT_EQ(contains(message, "10 bytes are needed, "), full) << message;
          EXPECT_EQ(scratch.names(), replace ? Names{"a"} : Names{}) << error << " at call " << k;
          EXPECT_EQ(contents(path), replace ? "old" : "");
        }
      }
    }
  }
}

TEST(WriteFile, NeedsNeitherRenameFlagsNorHardLinks) {
  for (const std::map<std::string, int>& missing :
       {std::map<std::string, int>{{"renameat2", EINVAL}},
        std::map<std::string, int>{{"renameat2", ENOSYS}, {"link", EPERM}},
        std::map<std::string, int>{{"renameat2", EINVAL}, {"link", EOPNOTSUPP}, {"fsync", EINVAL}}}) {
    const Scratch scratch;
    Faults faults;
    faults.always = missing;
    faults.always["open without a name"] = EOPNOTSUPP;
    write(scratch / "a", "new");
    EXPECT_EQ(contents(scratch / "a"), "new");
    EXPECT_EQ(scratch.names(), Names{"a"});
    EXPECT_CONTAINS(refusal(scratch / "a", "newer"), "exists already");
    EXPECT_EQ(scratch.names(), Names{"a"});
    faults.always["rename"] = EIO;
    if (missing.count("link") != 0) {
      EXPECT_CONTAINS(refusal(scratch / "b", "new"), "Input/output error");
      EXPECT_EQ(scratch.names(), Names{"a"}) << "the reserved name is given back";
    }
  }
}

// The file appears between the first look and the rename.
TEST(WriteFile, NeverReplacesAFileThatAppearsMeanwhile) {
  static std::filesystem::path path;
  for (const std::map<std::string, int>& missing :
       {std::map<std::string, int>{}, std::map<std::string, int>{{"linkat", EPERM}},
        std::map<std::string, int>{{"renameat2", EINVAL}},
        std::map<std::string, int>{{"renameat2", EINVAL}, {"link", EPERM}}}) {
    const Scratch scratch;
    path = scratch / "a";
    Faults faults;
    faults.always = missing;
    if (!missing.empty()) faults.always["open without a name"] = EOPNOTSUPP;
    faults.at_fsync = [] { std::ofstream(path) << "first"; };
    EXPECT_CONTAINS(refusal(path, "second"), "exists already");
    EXPECT_EQ(contents(path), "first");
    EXPECT_EQ(scratch.names(), Names{"a"});
  }
}

TEST(WriteFile, LetsOneOfManyWritersWin) {
  const Scratch scratch;
  std::atomic<int> won = 0, lost = 0;
  std::vector<std::thread> writers;
  for (int i = 0; i < 8; ++i) {
    writers.emplace_back([&, i] {
      try {
        write(scratch / "a", std::string(100'000, static_cast<char>('a' + i)));
        ++won;
      } catch (const Error&) {
        ++lost;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(won, 1);
  EXPECT_EQ(lost, 7);
  const std::string text = contents(scratch / "a");
  EXPECT_EQ(text, std::string(100'000, text.at(0)));
  EXPECT_EQ(scratch.names(), Names{"a"});
}

TEST(WriteFile, WritesDevicesPipesAndDescriptorsDirectly) {
  const Scratch scratch;
  write("/dev/null", "gone");
  EXPECT_EQ(refusal("/dev/full", "12345"), "/dev/full: cannot be written: No space left on device (5 bytes)");

  ASSERT_EQ(mkfifo((scratch / "pipe").c_str(), 0600), 0);
  std::string received;
  std::thread reader([&] { received = contents(scratch / "pipe"); });
  write(scratch / "pipe", "through the pipe");
  reader.join();
  EXPECT_EQ(received, "through the pipe");

  const int descriptor = ::open((scratch / "out").c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_GE(descriptor, 0);
  for (const char* prefix : {"/dev/fd/", "/proc/self/fd/"}) write(concat(prefix, descriptor), "again ");
  ::close(descriptor);
  EXPECT_EQ(contents(scratch / "out"), "again again ") << "what was there stays";
  EXPECT_CONTAINS(refusal(concat("/dev/fd/", descriptor), "x"), "Bad file descriptor");
  EXPECT_EQ(scratch.names(), (Names{"out", "pipe"}));
}

TEST(WriteFile, LeavesNothingWhenASignalEndsTheProcess) {
  const Scratch scratch;
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    signal(SIGTERM, [](int number) {
      remove_temporary_files();
      _exit(128 + number);
    });
    Faults faults;
    faults.at_fsync = [] { raise(SIGTERM); };
    write(scratch / "a", "0123456789");
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 143);
  EXPECT_EQ(scratch.names(), Names{});
}

TEST(WriteFile, SignalsDoNotTouchFinishedFiles) {
  const Scratch scratch;
  for (int i = 0; i < 100; ++i) write(scratch / "a", "hello", true);
  remove_temporary_files();
  EXPECT_EQ(scratch.names(), Names{"a"});
}

TEST(PassingFile, GoesWithItsMaker) {
  const Scratch scratch;
  const auto bytes = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  {
    PassingFile file(scratch / "a"), never(scratch / "b");
    scratch.write("b", "somebody else's");
    file.write(bytes("one"));
    file.write(bytes("two"));
    EXPECT_EQ(contents(scratch / "a"), "two");
  }
  EXPECT_EQ(scratch.names(), Names{"b"});
  PassingFile file(scratch / "a");
  file.write(bytes("three"));
  remove_temporary_files();
  EXPECT_EQ(scratch.names(), Names{"b"});
}

TEST(MakeFolder, MakesWhatIsMissing) {
  const Scratch scratch;
  make_folder("");
  make_folder(scratch / "a/b/");
  make_folder(scratch / "a/b");
  EXPECT_TRUE(std::filesystem::is_directory(scratch / "a/b"));
  scratch.write("file", "");
  EXPECT_CONTAINS(message_of(Fault::output, [&] { make_folder(scratch / "file/c"); }),
                  "file/c: this folder cannot be made: Not a directory");
}

TEST(CheckWritableFolder, FindsWhatWouldFailLater) {
  const Scratch scratch;
  const auto refused = [](const std::filesystem::path& folder) {
    return message_of(Fault::output, [&] { check_writable_folder(folder); });
  };
  check_writable_folder(scratch.folder());
  check_writable_folder(scratch / "no/such/folder/");  // can be made
  EXPECT_FALSE(std::filesystem::exists(scratch / "no"));
  EXPECT_CONTAINS(refused(scratch.write("file", "")), "it is not a folder");
  EXPECT_CONTAINS(refused(scratch / "file/below"), "Not a directory");
  EXPECT_CONTAINS(refused("/proc"), "/proc: files cannot be written");
  for (const auto& [call, error] : std::map<std::string, int>{{"open", EROFS}, {"write", ENOSPC}, {"close", EDQUOT}}) {
    Faults faults;
    faults.always = {{call, error}, {"open without a name", EOPNOTSUPP}};
    EXPECT_CONTAINS(refused(scratch.folder()), std::generic_category().message(error));
  }
  EXPECT_EQ(scratch.names(), Names{"file"});
}

}  // namespace
}  // namespace sdgen
