#include "program/compare.h"

#include <chrono>
#include <set>
#include <vector>

#include "cli/comparison.h"
#include "cli/fields.h"
#include "cli/picture_set.h"
#include "cli/process.h"
#include "cli/results.h"
#include "image/image_format.h"
#include "image/picture.h"
#include "io/file.h"
#include "io/hash.h"
#include "io/utf8.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

struct Pair {
  NamedPicture a, b;
  fs::path difference = {};  // where its picture belongs; empty: nowhere
};

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

fs::path with_ending(const std::string& name, const char* ending) { return fs::path(name).replace_extension(ending); }

// The picture of this name, else the only one of this name with another ending; null: there is none.
const PictureSet::value_type* partner(const std::string& name, const PictureSet& others, const PictureSet& own) {
  if (const auto same = others.find(name); same != others.end()) return &*same;
  const fs::path stem = with_ending(name, "");
  const auto of_stem = [&](const PictureSet& set) {
    std::vector<const PictureSet::value_type*> found;
    for (const auto& entry : set)
      if (with_ending(entry.first, "") == stem) found.push_back(&entry);
    return found;
  };
  const auto found = of_stem(others);
  return found.size() == 1 && of_stem(own).size() == 1 ? found[0] : nullptr;
}

// The pictures of one side that are a matter of the comparison: a manifest tells of no sheets.
PictureSet without_sheets(const PictureSet& all, const PictureSet& others) {
  PictureSet left;
  for (const auto& [name, picture] : all)
    if (others.contains(name) || !is_sheet(name, all)) left.emplace(name, picture);
  return left;
}

std::vector<Pair> pairs_of_sets(const fs::path& a, const fs::path& b) {
  PictureSet left = picture_set(a), right = picture_set(b);
  if (!is_folder(a)) right = without_sheets(right, left);
  if (!is_folder(b)) left = without_sheets(left, right);
  const auto place = [](const fs::path& side) { return is_folder(side) ? side : side.parent_path(); };
  std::vector<Pair> pairs;
  std::set<std::string> met;
  for (const auto& [name, picture] : left) {
    const auto* other = partner(name, right, left);
    if (other) met.insert(other->first);
    pairs.push_back({picture, other ? other->second : NamedPicture{place(b) / name}, with_ending(name, ".png")});
  }
  for (const auto& [name, picture] : right)
    if (!met.contains(name)) pairs.push_back({{place(a) / name}, picture});
  return pairs;
}

// A picture and what it is compared with: another one, or the one of its name in a set.
Pair pair_of_pictures(const fs::path& a, const fs::path& b, const std::function<bool(const fs::path&)>& is_set) {
  if (!is_set(a) && !is_set(b)) return {{a}, {b}, with_ending(b.filename().string(), ".png")};
  const fs::path& picture = is_set(a) ? b : a;
  const fs::path& set = is_set(a) ? a : b;
  const std::string name = picture.filename().string();
  const PictureSet others = picture_set(set);
  const auto* other = partner(name, others, {{name, {picture}}});
  const NamedPicture found = other ? other->second : NamedPicture{(is_folder(set) ? set : set.parent_path()) / name};
  Pair pair{{picture}, found, with_ending(name, ".png")};
  if (is_set(a)) std::swap(pair.a, pair.b);
  return pair;
}

struct Wanted {
  std::vector<Pair> pairs;
  bool sets = false;
};

Wanted pairs_of(const fs::path& a, const fs::path& b) {
  for (const fs::path& path : {a, b})
    if (!present(path)) throw Error(Fault::input, concat(printable(path.string()), ": no such file or folder"));
  const auto is_set = [](const fs::path& path) { return is_folder(path) || is_manifest(path); };
  if (is_set(a) && is_set(b)) return {pairs_of_sets(a, b), true};
  return {{pair_of_pictures(a, b, is_set)}, false};
}

// Where the pictures of differences belong. Throws Error(output) where one would take the place of what is compared, or
// of another file unasked.
void settle_differences(Wanted& wanted, const Options& options) {
  if (!options.output.path) {
    for (Pair& pair : wanted.pairs) pair.difference.clear();
    return;
  }
  const fs::path output = *options.output.path;
  const bool folder = wanted.sets || !output.has_filename() || is_folder(output);
  for (Pair& pair : wanted.pairs) {
    if (pair.difference.empty()) continue;
    pair.difference = folder ? output / pair.difference : output;
    std::error_code error;
    for (const fs::path& side : {pair.a.file, pair.b.file})
      if (fs::equivalent(pair.difference, side, error))
        throw Error(Fault::output, concat("--output: '", printable(pair.difference.string()), "' is what is compared"));
    if (existing_files(options) == Existing::refused && present(pair.difference))
      throw Error(Fault::output, concat("'", printable(pair.difference.string()), "' exists; --overwrite replaces it"));
  }
}

// The decoded pictures of a pair, and what is wrong with its files.
class Reading {
 public:
  explicit Reading(const Pair& pair) : a_(pair.a), b_(pair.b) {}

  // Empty images where there is nothing to measure.
  Compared compare(const Limits& limits, Image& left, Image& right) {
    Compared found{a_.file.string(), b_.file.string()};
    try {
      if (!settle_bytes(found)) return found;
      left = decode_picture(bytes_a_, printable(a_.file.string()));
      right = bytes_a_ == bytes_b_ ? left : decode_picture(bytes_b_, printable(b_.file.string()));
      measure(found, limits, left, right);
    } catch (const Error& error) {
      if (error.fault() != Fault::input) throw;
      found.verdict = Compared::Verdict::unreadable;
      found.why = in_flags(error);
    }
    return found;
  }

 private:
  // Reads what is there, and says what needs no pixels. Returns whether pixels are to be compared.
  bool settle_bytes(Compared& found) {
    const bool there_a = read(a_, bytes_a_), there_b = read(b_, bytes_b_);
    for (const auto& [side, there, bytes] : {std::tuple{&a_, there_a, &bytes_a_}, {&b_, there_b, &bytes_b_}})
      if (there && !side->sha256.empty() && sha256_of(*bytes) != side->sha256) {
        found.verdict = Compared::Verdict::different;
        found.why = concat(side->file.string(), " has other bytes than its manifest tells of");
        return false;
      }
    if (there_a && there_b) return true;
    const NamedPicture& gone = there_a ? b_ : a_;
    const std::string& bytes = there_a ? bytes_a_ : bytes_b_;
    if ((!there_a && !there_b) || gone.sha256.empty()) {
      found.verdict = Compared::Verdict::missing;
      found.why = concat(gone.file.string(), " is not there");
    } else if (sha256_of(bytes) != gone.sha256) {
      found.verdict = Compared::Verdict::different;
      found.why = "other bytes than the manifest tells of, whose own picture is not there to compare with";
    } else {
      const Image image = decode_picture(bytes, printable((there_a ? a_ : b_).file.string()));
      found.difference = no_difference({image.width, image.height});
      found.why = "the bytes that the manifest tells of";
    }
    return false;
  }

  static bool read(const NamedPicture& picture, std::string& bytes) {
    if (!present(picture.file)) return false;
    bytes = read_picture_file(picture.file);
    return true;
  }

  static void measure(Compared& found, const Limits& limits, const Image& a, const Image& b) {
    if (a.width != b.width || a.height != b.height) {
      found.verdict = Compared::Verdict::different;
      found.why = concat(a.width, "x", a.height, " and ", b.width, "x", b.height, " pixels");
      return;
    }
    found.difference = difference(a, b);
    found.why = beyond(*found.difference, limits);
    if (!found.why.empty()) found.verdict = Compared::Verdict::different;
  }

  const NamedPicture &a_, &b_;
  std::string bytes_a_, bytes_b_;
};

void save_difference(const Pair& pair, const Compared& compared, const Image& a, const Image& b, bool only_differing,
                     const Options& options) {
  if (pair.difference.empty() || !compared.difference) return;
  if (only_differing && compared.difference->max == 0) return;
  make_folder(pair.difference.parent_path());
  save_picture(pair.difference, png_format(), difference_picture(a, b), {},
               existing_files(options) != Existing::refused);
}

}  // namespace

int compare(const Options& options) {
  Progress progress(options.output, /*columns=*/0);
  const auto& paths = options.process.paths;
  Wanted wanted = pairs_of(paths[0], paths[1]);
  settle_differences(wanted, options);
  ComparisonReport report("compare", options, progress);
  return report.of([&] {
    for (const Pair& pair : wanted.pairs) {
      if (interrupted() != 0) throw Cancelled();
      const auto began = std::chrono::steady_clock::now();
      Image a, b;
      Compared compared = Reading(pair).compare(options.limits, a, b);
      save_difference(pair, compared, a, b, /*only_differing=*/wanted.sets, options);
      compared.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
      report.add(std::move(compared));
    }
  });
}

}  // namespace sdgen::cli
