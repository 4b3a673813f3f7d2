// Every input of fuzz/corpus through its fuzz target, without a fuzzer and without clang: what was found once stays
// found. A promise that is broken ends the program with a line "broken: ..." (fuzz/fuzz.h).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#define X(target)                                                                  \
  extern "C" int sdgen_fuzz_##target(const std::uint8_t* bytes, std::size_t size); \
  extern "C" __attribute__((weak)) int sdgen_fuzz_prepare_##target(int*, char***);  // not every target has one
SDGEN_FUZZ_TARGETS
#undef X

namespace {

namespace fs = std::filesystem;

struct Target {
  const char* name;
  int (*run)(const std::uint8_t* bytes, std::size_t size);
  int (*prepare)(int*, char***);  // may be null
};
constexpr Target kTargets[] = {
#define X(target) {#target, sdgen_fuzz_##target, sdgen_fuzz_prepare_##target},
    SDGEN_FUZZ_TARGETS
#undef X
};

void PrintTo(const Target& target, std::ostream* out) { *out << target.name; }

class Corpus : public testing::TestWithParam<Target> {};

TEST_P(Corpus, IsReplayed) {
  const Target& target = GetParam();
  fs::path folder = fs::path(SDGEN_FUZZ_CORPUS) / target.name;
  if (std::string_view(target.name) == "adapters") folder = folder.parent_path() / "keys";  // the same inputs
  if (target.prepare) target.prepare(nullptr, nullptr);
  std::size_t inputs = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    SCOPED_TRACE(entry.path());
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
    std::vector<std::uint8_t> bytes(text.begin(), text.end());
    bytes.reserve(bytes.size() + 1);  // never null
    target.run(bytes.data(), bytes.size());
    // Cut off and damaged, too: most faults of readers are in what follows a truth.
    target.run(bytes.data(), bytes.size() / 2);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(&byte - bytes.data() == 40 ? byte ^ 0x20 : byte);
    target.run(bytes.data(), bytes.size());
    ++inputs;
  }
  EXPECT_GT(inputs, 0u) << folder;
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Corpus, testing::ValuesIn(kTargets),
                         [](const testing::TestParamInfo<Target>& info) { return std::string(info.param.name); });

}  // namespace
