// The thread that saves pictures: order, patience, and what becomes of pictures and errors.
#include "cli/writer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <vector>

#include "base/scratch.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

Finished picture(int number) { return {std::to_string(number), Image{1, 1, {0, 0, 0}}, {}, {}, {}, {}}; }
const auto kNothing = [] {};

TEST(Writer, SavesInOrderAndFinishes) {
  std::vector<std::string> saved;
  Writer writer([&](Finished& p) { saved.push_back(p.file.string()); }, 2, kNothing);
  for (int i = 0; i < 9; ++i) writer.add(picture(i));
  writer.finish();
  EXPECT_EQ(saved, (std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8"}));
}

TEST(Writer, SavesWhatWaitsWhenItEnds) {
  std::atomic<int> saved = 0;
  std::promise<void> go;
  {
    Writer writer([&, wait = go.get_future().share()](Finished&) { wait.wait(), ++saved; }, 5, kNothing);
    for (int i = 0; i < 4; ++i) writer.add(picture(i));
    go.set_value();
  }
  EXPECT_EQ(saved, 4);
}

TEST(Writer, NeverHoldsMoreThanItShall) {
  std::atomic<int> added = 0, saved = 0, most = 0;
  {
    Writer writer([&](Finished&) { most = std::max<int>(most, added - saved++); }, 3, kNothing);
    for (int i = 0; i < 200; ++i) writer.add(picture(i)), ++added;
  }
  EXPECT_EQ(saved, 200);
  EXPECT_LE(most, 3 + 2);  // one is being saved, one is counted late
}

TEST(Writer, AnErrorReachesWhoAddsAndEndsTheSaving) {
  std::atomic<int> saved = 0;
  std::promise<void> failed;
  Writer writer(
      [&](Finished& p) {
        if (p.file == "1") throw Error(Fault::output, "the disk is full");
        ++saved;
      },
      2, [&] { failed.set_value(); });
  writer.add(picture(0));
  writer.add(picture(1));
  failed.get_future().wait();
  EXPECT_EQ(message_of(Fault::output, [&] { writer.add(picture(2)); }), "the disk is full");
  EXPECT_EQ(message_of(Fault::output, [&] { writer.finish(); }), "the disk is full");
  EXPECT_EQ(saved, 1);
}

TEST(Writer, WhoAddsWaitsWhereAsManyWait) {
  std::atomic<int> added = 0, saved = 0;
  std::promise<void> saving, go;
  std::future<void> adding;
  Writer writer(
      [&, wait = go.get_future().share()](Finished&) {
        if (saved++ == 0) saving.set_value();
        wait.wait();
      },
      3, kNothing);
  writer.add(picture(0));
  saving.get_future().wait();
  for (int i = 1; i <= 3; ++i) writer.add(picture(i));  // the first one does not wait any more
  adding = std::async(std::launch::async, [&] { writer.add(picture(4)), ++added; });
  EXPECT_EQ(adding.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  EXPECT_EQ(added, 0);
  go.set_value();
  adding.get();
  writer.finish();
  EXPECT_EQ(saved, 5);
}

}  // namespace
}  // namespace sdgen::cli
