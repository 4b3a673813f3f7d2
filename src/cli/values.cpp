#include "cli/values.h"

#include <algorithm>
#include <vector>

#include "image/sheet.h"
#include "io/file.h"
#include "io/text.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

constexpr std::string_view kDeepCache = "deepcache:", kFirstBlock = "first-block:";
constexpr double kMostThreshold = 1000;

// Two whole numbers with `between` between them, each at least `least`.
std::pair<int, int> two(const Argument& argument, char between, int least, const char* expected,
                        std::uint64_t most = kMostSide) {
  const std::string& text = argument.raw();
  const std::size_t at = text.find(between);
  if (at == std::string::npos) argument.wrong(expected);
  const auto part = [&](std::string number) {
    try {
      return static_cast<int>(Argument(argument.flag(), std::move(number)).integer(least, most));
    } catch (const Error&) {
      argument.wrong(expected);
    }
  };
  return {part(text.substr(0, at)), part(text.substr(at + 1))};
}

// A part of an argument's text that is a number, as Argument::real() reads it.
double real_part(const Argument& argument, std::string_view text, double least, double most, const char* expected) {
  try {
    return Argument(argument.flag(), std::string(text)).real(least, most);
  } catch (const Error&) {
    argument.wrong(expected);
  }
}

// Whole numbers from 0 to `most` in a part of an argument's text, with `between` between them.
std::vector<int> numbers(const Argument& argument, std::string_view text, char between, int most,
                         const char* expected) {
  std::vector<int> all;
  for (const std::string& number : split(text, between)) {
    try {
      all.push_back(static_cast<int>(Argument(argument.flag(), number).integer(0, std::uint64_t(most))));
    } catch (const Error&) {
      argument.wrong(expected);
    }
  }
  return all;
}

}  // namespace

const std::string& device(const Argument& argument) {
  const std::string& text = argument.raw();
  if (text == "auto" || text == "cpu" || text == "cuda") return text;
  if (text.starts_with("cuda:") && text.size() > 5 && text.size() <= 8) {
    Argument(argument.flag(), text.substr(5)).integer(0, 999);
    return text;
  }
  argument.wrong("auto, cpu, cuda or cuda:N");
}

std::string control_mode(const Argument& argument) {
  const std::string& text = argument.raw();
  if (text == kNoControlMode) return "";
  if (std::ranges::find(kControlModes, text) != kControlModes.end()) return text;
  if (!text.empty() && text.find_first_not_of("0123456789") == std::string::npos) {
    argument.integer(0, 999);
    return text;
  }
  const std::vector<std::string> words(kControlModes.begin(), kControlModes.end());
  argument.wrong(concat(joined(words), ", a number, or none"));
}
std::string written_control_mode(const std::string& mode) { return mode.empty() ? kNoControlMode : mode; }

Size size(const Argument& argument) {
  const auto [width, height] = two(argument, 'x', 1, "WIDTHxHEIGHT in pixels, like 1024x768");
  return {width, height};
}

Point point(const Argument& argument) {
  const auto [left, top] = two(argument, ',', 0, "LEFT,TOP in pixels, like 0,128");
  return {left, top};
}

TextualInversion textual_inversion(const Argument& argument) {
  const std::string& text = argument.utf8();
  const std::size_t colon = text.rfind(':');
  const std::string word = colon == std::string::npos ? "" : text.substr(colon + 1);
  const bool named = !word.empty() && word.find('/') == std::string::npos && !word.ends_with(".safetensors");
  TextualInversion file{in_home(named ? text.substr(0, colon) : text), named ? word : ""};
  if (file.path.empty()) argument.wrong("PATH or PATH:WORD, like cat.safetensors:my-cat");
  return file;
}

Margins margins(const Argument& argument) {
  constexpr const char* expected = "LEFT,TOP,RIGHT,BOTTOM in pixels, like 0,0,64,0";
  const std::vector<int> sides = numbers(argument, argument.raw(), ',', kMostSide, expected);
  if (sides.size() != 4) argument.wrong(expected);
  return {sides[0], sides[1], sides[2], sides[3]};
}

std::vector<int> layers(const Argument& argument) {
  std::vector<int> all =
      numbers(argument, argument.raw(), ',', kMostLayers, "layers' numbers from 0, with commas between, like 7,8,9");
  std::ranges::sort(all);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

Interval interval(const Argument& argument) {
  constexpr const char* expected = "BEGIN,END, two shares of the steps from 0 to 1, the first one less, like 0.2,0.8";
  const std::vector<std::string> ends = split(argument.raw(), ',');
  if (ends.size() != 2) argument.wrong(expected);
  const Interval interval{real_part(argument, ends[0], 0, 1, expected), real_part(argument, ends[1], 0, 1, expected)};
  if (interval.begin >= interval.end) argument.wrong(expected);
  return interval;
}

StepCache step_cache(const Argument& argument) {
  constexpr const char* expected =
      "deepcache:N or deepcache:N:LAYERS, like deepcache:3, for a U-Net, or first-block:X, like first-block:0.1, for a "
      "transformer";
  const std::string_view text = argument.raw();
  const auto behind = [&](std::string_view kind) { return text.starts_with(kind) ? text.substr(kind.size()) : ""; };
  if (const std::string_view every = behind(kDeepCache); !every.empty()) {
    const std::vector<int> all = numbers(argument, every, ':', kMostSteps, expected);
    StepCache cache{.kind = StepCache::Kind::deep, .every = all[0]};
    if (all.size() > 1) cache.layers = all[1];
    if (all.size() > 2 || cache.every < 1 || cache.layers < 1 || cache.layers > kMostLayers) argument.wrong(expected);
    return cache;
  }
  const std::string_view threshold = behind(kFirstBlock);
  return {.kind = StepCache::Kind::first_block,
          .threshold = real_part(argument, threshold, 0, kMostThreshold, expected)};
}

std::pair<std::size_t, std::size_t> shard(const Argument& argument) {
  const auto [index, count] = two(argument, '/', 0, "I/N with I from 0 to N-1, like 0/8", 1'000'000'000);
  if (index >= count) argument.wrong("I/N with I from 0 to N-1, like 0/8");
  return {index, count};
}

GridSize grid(const Argument& argument) {
  if (argument.raw() == "auto") return {};
  const std::string expected = concat("auto or COLUMNSxROWS, each from 1 to ", kMostCells, ", like 4x2");
  const auto [columns, rows] = two(argument, 'x', 1, expected.c_str());
  if (std::max(columns, rows) > kMostCells) argument.wrong(expected);
  return {columns, rows};
}

std::string written(const Size& size) { return concat(size.width, 'x', size.height); }
std::string written(const Point& point) { return concat(point.left, ',', point.top); }
std::string written(const Margins& m) { return concat(m.left, ',', m.top, ',', m.right, ',', m.bottom); }
std::string written(const std::vector<int>& layers) {
  std::string text;
  for (const int layer : layers) text += concat(text.empty() ? "" : ",", layer);
  return text;
}
std::string written(const Interval& interval) { return concat(shortest(interval.begin), ',', shortest(interval.end)); }
std::string written(const StepCache& cache) {
  if (cache.kind == StepCache::Kind::first_block) return concat(kFirstBlock, shortest(cache.threshold));
  return concat(kDeepCache, cache.every, cache.layers == 1 ? "" : concat(':', cache.layers));
}
std::string written(const GridSize& size) { return size == GridSize() ? "auto" : concat(size.columns, 'x', size.rows); }
std::string written(const TextualInversion& inversion) {
  return inversion.word.empty() ? inversion.path.string() : concat(inversion.path.string(), ':', inversion.word);
}

}  // namespace sdgen::cli
