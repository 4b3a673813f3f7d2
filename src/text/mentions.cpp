// Words in prompts, as tokenizers find them: whatever the case of their letters.
#include "io/utf8.h"
#include "sdgen/sdgen.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

std::string lower_case(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) unicode::append_lower(out, next_character(text, at));
  return out;
}

}  // namespace

bool mentions(const Request& request, const TextualInversionInfo& inversion) {
  const std::string word = lower_case(inversion.word);
  for (const auto& prompts : {kPrompts, kNegativePrompts})
    for (const TextField& field : prompts)
      if (const auto& text = request.*field.text; text && lower_case(*text).find(word) != std::string::npos)
        return true;
  return false;
}

}  // namespace sdgen
