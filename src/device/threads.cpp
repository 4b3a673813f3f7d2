#include "device/threads.h"

#include <ATen/Parallel.h>

#include <latch>
#include <system_error>
#include <thread>
#include <vector>

#include "sdgen/error.h"

namespace sdgen {

void start_threads() {
  const int count = at::get_num_threads();
  std::latch go(1);
  std::vector<std::jthread> tried;  // all at once, as OpenMP's will be
  try {
    for (int i = 1; i < count; ++i) tried.emplace_back([&go] { go.wait(); });
  } catch (const std::system_error& error) {
    go.count_down();
    throw Error(Fault::device, concat("only ", tried.size() + 1, " of ", count, " threads can be started: ",
                                      error.code().message(), "; ask for fewer with ", FieldName{"threads"}));
  }
  go.count_down();
  tried.clear();
  at::parallel_for(0, count, 1, [](std::int64_t, std::int64_t) {});
}

}  // namespace sdgen
