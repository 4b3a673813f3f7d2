#include "cli/results.h"

#include <algorithm>
#include <cstddef>
#include <string>

#include "cli/from_image.h"
#include "cli/process.h"
#include "image/xmp.h"
#include "io/file.h"
#include "io/hash.h"
#include "io/writable.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

void put(const std::filesystem::path& file, std::span<const std::byte> bytes, bool overwrite) {
  if (file.empty())
    write_stdout({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  else
    write_file_atomically(file, bytes, overwrite);
}

}  // namespace

Results::Results(const Options& options, Progress& progress)
    : options_(options),
      progress_(progress),
      existing_(existing_files(options)),
      format_(output_format(options.output.path, options.output.format)),
      manifest_path_(manifest_path(options)) {}

void Results::prepare(const Machine& machine) {
  const std::lock_guard guard(lock_);
  machine_ = machine;
  if (has_manifest()) manifest();
}

void Results::check() const {
  if (has_manifest()) require_writable(manifest_path_);
}

void Results::expect(const std::filesystem::path& file) {
  if (folders_.insert(file.parent_path()).second) make_folder(file.parent_path());
}

void Results::require_fits(const Request& planned) const {
  Size size{planned.width.value_or(0), planned.height.value_or(0)};
  if (planned.only_masked && planned.init_image) {  // the rest of the picture is around what is made
    const Margins grown = planned.extend.value_or(Margins());
    size = {planned.init_image->width + grown.left + grown.right,
            planned.init_image->height + grown.top + grown.bottom};
  }
  if (std::max(size.width, size.height) > format_.most_side)
    throw Error(Fault::usage,
                concat(format_.name, " files hold at most ", format_.most_side, " pixels a side, and this picture has ",
                       size.width, 'x', size.height, ": write another format (--format png)"));
}

Manifest& Results::manifest() {
  if (!manifest_) manifest_.emplace(manifest_path_);
  return *manifest_;
}

std::vector<std::byte> Results::encoded(const Image& image, const PictureFacts& made,
                                        const std::filesystem::path& file) {
  PictureTexts texts{.source_type = source_type(options_.output.mark, !made.sources.pictures.empty())};
  if (options_.output.metadata) texts.parameters = a1111_parameters(made), texts.record = record_text(made);
  return format_.encode(image, texts, {options_.output.quality, [&](const std::string& what) {
                                         progress_.warning(file.empty() ? what : concat(file.string(), ": ", what));
                                       }});
}

void Results::save(const Finished& picture, const ModelInfo& model, const ModelHashing& hashes) {
  const PictureFacts made{*picture.sources, picture.request, *picture.scheduler,     picture.computation, model,
                          picture.loras,    hashes.get(),    options_.output.quality};
  const std::vector<std::byte> bytes = encoded(picture.image, made, picture.file);
  const Progress::Pause pause(progress_);
  std::error_code error;
  const bool empty = std::filesystem::file_size(picture.file, error) == 0 && !error;  // see Jobs
  try {
    put(picture.file, bytes, existing_ == Existing::replaced || (existing_ == Existing::kept && empty));
  } catch (const Error&) {
    if (existing_ != Existing::kept || !std::filesystem::is_regular_file(picture.file, error)) throw;
    keep({picture.file});
    return;
  }
  progress_.finished(picture.file);
  if (picture.file.empty()) return;
  const std::string file = picture.file.string();
  const std::string hash = sha256_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (has_manifest()) {
    const std::lock_guard guard(lock_);
    manifest().add(json_line(made, manifest().name_of(file), picture.timings, hash, machine_));
  }
  write_stdout(options_.output.json ? json_line(made, file, picture.timings, hash, machine_) : file + "\n");
}

void Results::keep(const std::vector<std::filesystem::path>& files) {
  if (files.size() == 1)
    progress_.note(files[0].string() + " is there already");
  else if (files.size() > 1)
    progress_.note(concat(files.size(), " pictures are there already"));
  if (!has_manifest() || files.empty()) return;
  const std::lock_guard guard(lock_);
  for (const auto& file : files) {
    if (manifest().tells_of(file)) continue;
    std::string line;
    try {
      line = json_line_of(file, manifest().name_of(file));
    } catch (const Error& error) {
      progress_.warning(concat(error.what(), ": it is left out of the manifest; is it a picture?"));
      continue;
    }
    manifest().add(line);
  }
}

std::string source_type(bool mark, bool made_of_pictures) {
  return std::string(!mark ? "" : made_of_pictures ? kMadeByModelOfPictures : kMadeByModel);
}

void save_picture(const std::filesystem::path& file, const ImageFormat& format, const Image& image,
                  const PictureTexts& texts, bool overwrite) {
  put(file, format.encode(image, texts, {}), overwrite);
}

}  // namespace sdgen::cli
