// What the tokenizers ask of Unicode: classes, lower case and composition, through ICU; and the words of prompts.
//
// The reference is the Rust library "tokenizers" 0.23.3, which takes these from places of different age: Oniguruma
// and the standard library (classes, lower case: Unicode 16), unicode-normalization-alignments (composition: Unicode
// 9). Debian 12's ICU 72 knows Unicode 15: all code points of Unicode 15 give the same result, those assigned later
// count as unassigned here.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sdgen::unicode {

// Throws Error(usage) that names the byte offset and the value of the first byte that is not UTF-8. The other functions
// here expect valid text.
void require_utf8(std::string_view text);

bool is_letter(char32_t code_point);     // \p{L}
bool is_number(char32_t code_point);     // \p{N}
bool is_ideograph(char32_t code_point);  // of Chinese, Japanese and Korean: the property Ideographic
bool is_space(char32_t code_point);      // \s, the property White_Space
bool is_word(char32_t code_point);       // \w of UTS 18: Alphabetic, M, Nd, Pc, Join_Control

// Appends the full lower-case mapping of one code point, without context: a final sigma becomes U+03C3 like any other.
void append_lower(std::string& out, char32_t code_point);

// The text in lower case, as Python's str.lower() has it: with a sigma at the end of a word. Throws as require_utf8().
std::string lower(std::string_view text);

// Without what Python's str.strip() takes for white space at its ends: White_Space, and four separators of old.
std::string_view stripped(std::string_view text);

// Normalization form C by the tables of Unicode 9: marks added later are neither reordered nor composed.
std::string compose(std::string_view text);

// A word of a text: byte offsets.
struct Word {
  std::size_t begin, end;
};
// The words of `text` in order, by ICU's rules and, for Chinese, its dictionary: what has letters or digits, and emoji.
// None of what is not UTF-8.
std::vector<Word> words(std::string_view text);

}  // namespace sdgen::unicode
