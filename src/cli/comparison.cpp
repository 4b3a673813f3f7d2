#include "cli/comparison.h"

#include <algorithm>
#include <cstdio>
#include <span>

#include "cli/arguments.h"
#include "cli/junit.h"
#include "cli/process.h"
#include "io/file.h"
#include "io/json.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

// Of pictures that half precisions drew. Two instruction sets' pictures of the embedded model are 43 to 50 dB and up to
// 4 bits apart, different pictures of it at most 24 dB and at least 14 bits.
constexpr double kHalfPsnr = 30;
constexpr int kHalfHash = 8;

std::string decimals(double x, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, x);
  return text;
}

// Equal in every sample, as far as is known.
bool equal(const Compared& c) { return !c.difference || c.difference->max == 0; }

const char* word(const Compared& c) {
  switch (c.verdict) {
    case Verdict::same:
      return equal(c) ? "same" : "alike";
    case Verdict::different:
      return "different";
    case Verdict::missing:
      return "missing";
    case Verdict::unreadable:
      break;
  }
  return "unreadable";
}

std::string pair_name(const Compared& c) {
  return printable(c.a, 4096) + (c.b.empty() ? "" : " " + printable(c.b, 4096));
}

// What is said behind the verdict.
std::string said(const Compared& c) {
  std::vector<std::string> parts;
  if (!equal(c)) parts.push_back(measures(*c.difference));
  if (!c.why.empty()) parts.push_back(printable_lines(c.why, kMostMessage));
  return joined(parts, "; ");
}

}  // namespace

std::string beyond(const Difference& d, const Limits& limits) {
  std::vector<std::string> found;
  const bool any = limits.max || limits.psnr || limits.ssim || limits.hash;
  if (d.max > limits.max.value_or(any ? 255 : 0)) found.push_back(concat("max is above ", limits.max.value_or(0)));
  if (limits.psnr && d.psnr && *d.psnr < *limits.psnr)
    found.push_back(concat("PSNR is below ", shortest(*limits.psnr)));
  if (limits.ssim && d.ssim && *d.ssim < *limits.ssim)
    found.push_back(concat("SSIM is below ", shortest(*limits.ssim)));
  if (limits.ssim && !d.ssim && d.max > 0) found.push_back("pictures with a side below 7 pixels have no SSIM");
  if (limits.hash && d.hash > *limits.hash) found.push_back(concat("hash is above ", *limits.hash));
  return joined(found);
}

Limits tolerance(const std::string& precision) {
  if (precision == "float32") return {.max = 1};
  return {.psnr = kHalfPsnr, .hash = kHalfHash};
}

std::string unlike(const Image& expected, const Image& made, const Limits& limits) {
  if (expected.width != made.width || expected.height != made.height)
    return concat(expected.width, "x", expected.height, " pixels are expected, ", made.width, "x", made.height,
                  " are drawn");
  const Difference found = difference(expected, made);
  const std::string why = beyond(found, limits);
  return why.empty() ? "" : concat(measures(found), "; ", why);
}

std::string measures(const Difference& d) {
  std::string text = concat("max ", d.max, ", mean ", decimals(d.mean, 3));
  if (d.psnr) text += concat(", PSNR ", decimals(*d.psnr, 2), " dB");
  if (d.ssim) text += concat(", SSIM ", decimals(*d.ssim, 5));
  return text + concat(", hash ", d.hash);
}

std::string line_of(const Compared& c) {
  const std::string more = said(c);
  return concat(pair_name(c), ": ", word(c), more.empty() ? "" : ": ", more, "\n");
}

std::string json_line_of(const Compared& c) {
  OrderedJson line{{"a", c.a}};
  if (!c.b.empty()) line["b"] = c.b;
  line["same"] = c.verdict == Verdict::same;
  line["verdict"] = word(c);
  const auto& d = c.difference;
  const auto known = [](const auto& value) { return value ? OrderedJson(*value) : OrderedJson(); };
  line["max"] = d ? OrderedJson(d->max) : OrderedJson();
  line["mean"] = d ? OrderedJson(d->mean) : OrderedJson();
  line["psnr"] = d ? known(d->psnr) : OrderedJson();
  line["ssim"] = d ? known(d->ssim) : OrderedJson();
  line["hash"] = d ? OrderedJson(d->hash) : OrderedJson();
  if (!c.why.empty()) line["why"] = printable_lines(c.why, kMostMessage);
  return line_of_json(line) + "\n";
}

ComparisonReport::ComparisonReport(std::string name, const Options& options, Progress& progress)
    : name_(std::move(name)), options_(options), progress_(progress) {
  if (const auto& junit = options.process.junit) {
    make_folder(fs::path(*junit).parent_path());
    check_writable_folder(fs::path(*junit).parent_path());
  }
}

void ComparisonReport::add(Compared compared) {
  const std::lock_guard guard(lock_);
  all_.push_back(std::move(compared));
  const Progress::Pause pause(progress_);
  write_stdout(options_.output.json ? json_line_of(all_.back()) : line_of(all_.back()));
}

std::size_t ComparisonReport::count(Verdict verdict) const {
  return std::size_t(std::ranges::count(all_, verdict, &Compared::verdict));
}

int ComparisonReport::of(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception&) {
    end();
    throw;
  }
  end();
  return exit_code();
}

void ComparisonReport::end() {
  const std::lock_guard guard(lock_);
  if (const auto& file = options_.process.junit) {
    std::vector<TestCase> cases;
    for (const Compared& c : all_)
      cases.push_back({.name = c.b.empty() ? c.a : concat(c.a, " ", c.b),
                       .seconds = c.seconds,
                       .outcome = c.verdict == Verdict::same         ? TestCase::Outcome::passed
                                  : c.verdict == Verdict::unreadable ? TestCase::Outcome::error
                                                                     : TestCase::Outcome::failed,
                       .type = word(c),
                       .message = said(c)});
    const std::string xml = junit("sdgen " + name_, cases);
    write_file_atomically(*file, std::as_bytes(std::span(xml)), /*overwrite=*/true);
  }
  std::vector<std::string> parts;
  for (const auto& [verdict, what] : {std::pair{Verdict::same, " the same"},
                                      {Verdict::different, " different"},
                                      {Verdict::missing, " missing"},
                                      {Verdict::unreadable, " unreadable"}})
    if (const std::size_t n = count(verdict); n > 0 || verdict == Verdict::same) parts.push_back(concat(n, what));
  progress_.note(concat("of ", all_.size(), ": ", joined(parts)));
}

int ComparisonReport::exit_code() const {
  const std::lock_guard guard(lock_);
  if (count(Verdict::unreadable) > 0) return static_cast<int>(Fault::input);
  return count(Verdict::same) == all_.size() ? 0 : 1;
}

}  // namespace sdgen::cli
