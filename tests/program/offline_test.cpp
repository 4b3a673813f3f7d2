// sdgen speaks to no network: the kernel kills it at the first socket.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <array>
#include <cstddef>

#include "program/program.h"

namespace sdgen::test {
namespace {

// From here on, and in whatever is executed, socket() is the end.
bool forbid_sockets() {
  std::array<sock_filter, 4> filter = {
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_socket, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{filter.size(), filter.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_F(ProgramWithModel, NeedsNoNetwork) {
  setup_.in_child = [] { return forbid_sockets() && socket(AF_INET, SOCK_STREAM, 0) >= 0; };
  const int code = run({"--version"}).exit_code;
  ASSERT_EQ(code, -SIGSYS) << "the filter lets sockets pass (125: this kernel has no seccomp)";

  setup_.in_child = forbid_sockets;
  std::ofstream(folder_ / "jobs.txt") << "a fox\na cat --seed 3\n";
  for (const Words& words :
       {Words{"-m", model(), "-p", "a fox", "-s", "7", "--steps", "2", "-v", "-o", "x.png"},
        {"-m", model(), "--prompts", "jobs.txt", "-s", "1", "--steps", "1", "--grid", "auto", "-o", "./"},
        {"--from-image", "x.png", "-o", "again.png"},
        {"inspect", model()},
        {"inspect", "x.png"},
        {"canny", "-i", "x.png", "-o", "edges.png"},
        {"compare", "x.png", "again.png"},
        {"verify", "x.png"},
        {"-m", "no-such/model", "-p", "x"},
        {"--version"}}) {
    const Outcome outcome = run(words);
    EXPECT_NE(outcome.exit_code, -SIGSYS) << words[0];
    EXPECT_EQ(outcome.exit_code, words.back() == "x" ? 3 : 0) << outcome.err;
  }
}

}  // namespace
}  // namespace sdgen::test
