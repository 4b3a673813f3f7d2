// UTF-8 (RFC 3629): stepping through it, checking, repairing, and the way to and from Latin-1.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sdgen {

// Steps through text that may be anything. Overlong forms, surrogates and code points above U+10FFFF are no characters.
constexpr char32_t kNoCharacter = 0xFFFFFFFF, kReplacement = 0xFFFD;
// The character that begins at text[at], kNoCharacter where none does; moves `at` past it, or past that one byte.
char32_t next_character(std::string_view text, std::size_t& at);
// The character that ends before text[end], kNoCharacter where none does; moves `end` to its first byte, or one byte
// back. `end` must not be 0.
char32_t previous_character(std::string_view text, std::size_t& end);
void append_utf8(std::string& out, char32_t code_point);

// The number of leading bytes of `text` that are whole, valid UTF-8 characters: text.size() if all of it is.
std::size_t valid_utf8_prefix(std::string_view text);

// `text` with every byte that belongs to no valid character replaced by U+FFFD.
std::string repair_utf8(std::string_view text);

// ISO 8859-1: the first 256 code points, one byte each. Empty when valid UTF-8 `text` holds others.
std::optional<std::string> latin1_from_utf8(std::string_view text);
std::string utf8_from_latin1(std::string_view text);

// A string that a file brought along, made fit for an error message: control characters, those that turn the direction
// of text, and invalid bytes written as \xNN, so that no file can send escape sequences to a terminal, and cut after
// about `max_bytes`.
std::string printable(std::string_view text, std::size_t max_bytes = 200);
// The same of a text of several lines, whose ends stay.
std::string printable_lines(std::string_view text, std::size_t max_bytes);

}  // namespace sdgen
