// Names of output files: templates with fields, and text made fit to be part of a file name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/image_format.h"

namespace sdgen::cli {

// What the fields stand for.
struct NameFields {
  std::uint64_t index = 0;  // number of the picture in the run, from 0
  std::uint64_t seed = 0;
  std::string prompt;  // any text: made safe when it is put in
  std::string model;   // likewise
  // Of the picture that it is made of, without its ending; likewise. Nothing: it is made of none.
  std::optional<std::string> input = {};
};

// "out/{index:06}-{seed}.png": text and the fields {index}, {seed}, {prompt}, {model}, {input}. The numbers take a
// width, ":06" or ":6", that is filled up with zeros. "{{" and "}}" stand for the braces themselves.
class NameTemplate {
 public:
  // Throws Error(usage) for an unknown field (with the nearest one) or a brace without its partner.
  explicit NameTemplate(const std::string& text);

  // Does it contain {index} or {seed}, so that the pictures of a run get different names?
  bool tells_pictures_apart() const;
  // Does it contain {input}?
  bool tells_inputs_apart() const;
  // Throws Error(usage) where {input} stands for nothing.
  std::string expand(const NameFields& fields) const;
  // Has it no field, so that it always makes the same name?
  bool is_fixed() const;
  // The folder that all names have in common; empty: the current one.
  std::filesystem::path folder() const;

 private:
  enum class Field { text, index, seed, prompt, model, input };
  struct Piece {
    Field field;
    std::string text;  // of Field::text
    int width = 0;     // of the numbers
  };
  static Piece parse_field(const std::string& text);
  std::vector<Piece> pieces_;
};

// The format that --format says (`given`; null: nothing), else the ending of the name after --output; PNG where neither
// does. Throws Error(usage) for a name that ends as another format's, and for a format that this sdgen cannot write.
const ImageFormat& output_format(const std::optional<std::string>& output, const ImageFormat* given);

// How many pictures there may be, and so what names they get where --output says none:
//   one              sdgen-{seed}
//   numbered         {index:05}-{seed}
//   inputs           {input}-{seed}: each of another picture
//   numbered_inputs  {index:05}-{input}-{seed}
enum class DefaultNames { one, numbered, inputs, numbered_inputs };

// The template that --output means: a folder, or a path that ends in '/', takes the default names, and so does no
// --output at all. Throws Error(usage) when several pictures would have the same name, and as output_format().
NameTemplate output_template(const std::optional<std::string>& output, DefaultNames names,
                             const ImageFormat* given = nullptr);

// Is `output` the explicit name of one file: no template, no folder? Throws as NameTemplate does.
bool names_one_file(const std::string& output);

// UTF-8 text as a part of a file name that every file system and shell takes: blanks, control characters, invalid bytes
// and / \ : * ? " < > | ' ` $ & ; ! # % ( ) [ ] { } ~ become "_" (a run of them one), dots, dashes and underscores at
// the ends go, and the rest is cut to at most `max_bytes` at a character's border. Never empty: "untitled" then.
std::string safe_file_name(std::string_view text, std::size_t max_bytes = 80);

}  // namespace sdgen::cli
