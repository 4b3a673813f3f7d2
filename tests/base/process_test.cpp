// What a signal leaves behind, from the flag on.
#include "cli/process.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/scratch.h"
#include "io/file.h"

namespace sdgen::cli {
namespace {

// In a process of its own, which has a file that goes with it: raises the signals and ends with 0 if it still can.
int exit_code_after(const std::filesystem::path& file, const std::vector<int>& signals) {
  const pid_t child = fork();
  if (child == 0) {
    prepare_process();
    PassingFile passing(file);
    passing.write(std::as_bytes(std::span("preview", 7)));
    for (const int signal : signals) raise(signal);
    _exit(interrupted());  // without destructors
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(Signals, TheFirstRaisesAFlagAndTheSecondEndsItAll) {
  const Scratch scratch;
  const auto file = scratch / "a.png";
  for (const int signal : {SIGINT, SIGTERM}) {
    EXPECT_EQ(exit_code_after(file, {signal}), signal) << "the flag";
    EXPECT_TRUE(std::filesystem::exists(file)) << "whoever sees the flag removes it";
    EXPECT_EQ(exit_code_after(file, {SIGTERM, signal}), 128 + signal);
    EXPECT_TRUE(scratch.names().empty()) << "the second signal left a file";
    EXPECT_EQ(exit_code_after(file, {signal, SIGALRM}), 128 + signal);
    EXPECT_TRUE(scratch.names().empty()) << "the end of the grace left a file";
  }
}

TEST(Signals, WritesMeetClosedPipesAndFullFilesAsErrors) {
  const Scratch scratch;
  EXPECT_EQ(exit_code_after(scratch / "a.png", {SIGPIPE, SIGXFSZ}), 0);
}

TEST(Explain, KnowsLackOfMemoryByWhatLibtorchSays) {
  for (const char* what : {"DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
                           "CUDA out of memory. Tried to allocate 2.00 GiB", "Cannot allocate memory",
                           "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"}) {
    const Failure failure = explain(std::runtime_error(what));
    EXPECT_EQ(failure.exit_code, static_cast<int>(Fault::device));
    EXPECT_CONTAINS(failure.message, concat("out of memory: ", what));
  }
  EXPECT_CONTAINS(explain(std::runtime_error("CUDA error: an illegal memory access")).message, "the device failed");
  EXPECT_EQ(explain(std::runtime_error("memory")).exit_code, static_cast<int>(Fault::internal));
}

}  // namespace
}  // namespace sdgen::cli
