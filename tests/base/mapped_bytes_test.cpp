#include "io/mapped_bytes.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/scratch.h"

namespace sdgen {
namespace {

// A file of several pages, each byte of which tells its place.
class Mapped : public testing::Test {
 protected:
  static std::string numbered(std::size_t size) {
    std::string bytes(size, '\0');
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + i / 251);
    return bytes;
  }
  // Of the last write: a write within the same tick of the system's clock has the same time.
  void let_the_clock_tick() const { std::this_thread::sleep_for(std::chrono::milliseconds(30)); }
  std::string_view text(const MappedBytes& bytes, std::size_t size) const {
    return {reinterpret_cast<const char*>(bytes.data()), size};
  }
  const std::size_t page_ = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::string right_ = numbered(5 * page_ + 100);
  const Scratch scratch_;
  const std::filesystem::path path_ = scratch_.write("a", right_);
  const InputFile file_{path_};
};

TEST_F(Mapped, HasTheBytesFromAnyPlace) {
  for (const std::size_t begin : {std::size_t{0}, std::size_t{1}, page_ - 1, page_, 2 * page_ + 33, right_.size() - 1})
    for (const std::size_t size : {std::size_t{1}, page_, right_.size()}) {
      const std::size_t here = std::min(size, right_.size() - begin);
      const auto bytes = MappedBytes::map(file_, begin, here);
      ASSERT_TRUE(bytes);
      bytes->fetch(0, here);
      bytes->fetch(here / 2, here - here / 2);
      EXPECT_EQ(text(*bytes, here), std::string_view(right_).substr(begin, here)) << begin << ", " << here;
      bytes->require_unchanged();
    }
}

TEST_F(Mapped, NothingIsNull) { EXPECT_EQ(MappedBytes::map(file_, 3, 0), nullptr); }

TEST_F(Mapped, OutlivesTheFile) {
  auto file = std::make_unique<InputFile>(path_);
  const auto bytes = MappedBytes::map(*file, 0, right_.size());
  file.reset();
  std::filesystem::remove(path_);
  EXPECT_EQ(text(*bytes, right_.size()), right_);
  bytes->require_unchanged();
}

TEST_F(Mapped, AFileThatIsCutReadsAsZerosAndIsAnError) {
  const auto whole = MappedBytes::map(file_, 0, right_.size()), begin = MappedBytes::map(file_, 10, 20);
  EXPECT_EQ(text(*whole, right_.size()), right_);
  std::filesystem::resize_file(path_, page_ + 5);
  const std::string left = right_.substr(0, page_ + 5) + std::string(right_.size() - page_ - 5, '\0');
  std::thread([&] { EXPECT_EQ(text(*whole, right_.size()), left); }).join();
  EXPECT_EQ(text(*whole, right_.size()), left);
  for (const auto& bytes : {whole, begin})
    EXPECT_EQ(message_of(Fault::input, [&] { bytes->require_unchanged(); }),
              concat(path_.string(), ": has ", page_ + 5, " bytes now and had ", right_.size(),
                     " when it was opened: it must not change while it is in use (is another program writing it?)"));
  const auto beyond = MappedBytes::map(file_, 3 * page_, 10);
  if (!beyond) return;  // the system may say so at once
  beyond->fetch(0, 10);
  EXPECT_EQ(text(*beyond, 10), std::string(10, '\0'));
}

// What was lost stays an error, though the file has its size and its time again.
TEST_F(Mapped, AFileThatWasCutAndRestoredIsAnError) {
  const auto bytes = MappedBytes::map(file_, 0, right_.size());
  const auto time = std::filesystem::last_write_time(path_);
  std::filesystem::resize_file(path_, 1);
  EXPECT_EQ(bytes->data()[4 * page_], std::byte{0});
  std::ofstream(path_, std::ios::binary | std::ios::in) << right_;
  std::filesystem::last_write_time(path_, time);
  EXPECT_CONTAINS(message_of(Fault::input, [&] { bytes->require_unchanged(); }),
                  "could not be read while it was in use");
  // The next mapping, in the same place, has nothing to do with it.
  const auto again = MappedBytes::map(file_, 0, right_.size());
  EXPECT_EQ(text(*again, right_.size()), right_);
  again->require_unchanged();
}

TEST_F(Mapped, AFileThatIsWrittenToIsAnError) {
  const auto bytes = MappedBytes::map(file_, 0, right_.size());
  let_the_clock_tick();
  std::ofstream(path_, std::ios::binary | std::ios::in) << 'x';
  EXPECT_EQ(message_of(Fault::input, [&] { bytes->require_unchanged(); }),
            path_.string() + ": was written to while it was in use (is another program writing it?)");
}

// Other memory is none of its business.
TEST_F(Mapped, ASignalFromElsewhereEndsTheProcess) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto touch = [&] {
    ::signal(SIGBUS, SIG_DFL);  // not a sanitizer's own
    const auto bytes = MappedBytes::map(file_, 0, right_.size());
    const void* other = mmap(nullptr, right_.size(), PROT_READ, MAP_SHARED, file_.descriptor(), 0);
    std::filesystem::resize_file(path_, 1);
    const volatile char beyond = static_cast<const volatile char*>(other)[3 * page_];
    _exit(beyond);
  };
  EXPECT_EXIT(touch(), testing::KilledBySignal(SIGBUS), "");
  const auto send = [&] {
    ::signal(SIGBUS, SIG_DFL);
    const auto bytes = MappedBytes::map(file_, 0, right_.size());
    ::raise(SIGBUS);
    _exit(0);
  };
  EXPECT_EXIT(send(), testing::KilledBySignal(SIGBUS), "");
}

// There whether it changes could not be told.
TEST_F(Mapped, AFileOfAnotherTimeIsNotMapped) {
  std::filesystem::last_write_time(path_, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(MappedBytes::map(file_, 0, right_.size()), nullptr);
}

}  // namespace
}  // namespace sdgen
