// Pictures held against each other: what counts as the same, and how it is told.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "cli/progress.h"
#include "image/compare.h"

namespace sdgen::cli {

// What became of a pair of pictures.
struct Compared {
  // missing: one of them is not there; unreadable: one of them is no picture, or damaged.
  enum class Verdict { same, different, missing, unreadable };

  std::string a, b;  // what was compared; b may be empty
  Verdict verdict = Verdict::same;
  std::optional<Difference> difference = {};  // where both could be read and have one size
  std::string why = {};                       // what people should know
  double seconds = 0;
};

using Verdict = Compared::Verdict;

// Which limit the difference is beyond, in words; "": none. Without limits no sample may differ.
std::string beyond(const Difference& difference, const Limits& limits);

// How far a picture may be from one that another build or machine drew, by what the networks computed in: float32
// rounds to within a level; half precisions differ as much as their own rounding does with another number of threads
// (src/cli/README.md#verify has the figures).
Limits tolerance(const std::string& precision);

// In what a picture is not the expected one beyond the limits, in words: sizes, or measures; "": in nothing.
std::string unlike(const Image& expected, const Image& made, const Limits& limits);

// "max 3, mean 0.412, PSNR 48.31 dB, SSIM 0.99812, hash 0"
std::string measures(const Difference& difference);

// "a.png b.png: different: max 3, ..."
std::string line_of(const Compared& compared);
// An object: a, b, same, verdict, max, mean, psnr (null: equal), ssim, hash (all null where nothing could be measured),
// why where there is something to say.
std::string json_line_of(const Compared& compared);

// The comparisons of a call: a line for each on stdout, all of them in a report at the end. Two threads may use it.
class ComparisonReport {
 public:
  // `name` says what compares: "compare". `options` and `progress` must outlive this. Throws Error(output) when the
  // JUnit file cannot be written where it belongs.
  ComparisonReport(std::string name, const Options& options, Progress& progress);

  void add(Compared compared);
  // Does the work that adds the pairs, and ends the report, also where that throws, a signal's end too. Returns the
  // exit code.
  int of(const std::function<void()>& work);
  // Writes the JUnit file, and how many were the same to stderr. Throws Error(output).
  void end();
  // 0, 1: some differ or are missing, 3: some cannot be read.
  int exit_code() const;

 private:
  std::size_t count(Compared::Verdict verdict) const;

  mutable std::mutex lock_;
  const std::string name_;
  const Options& options_;
  Progress& progress_;
  std::vector<Compared> all_;
};

}  // namespace sdgen::cli
