// UTF-8 (RFC 3629) as files and messages need it: checking, repairing, and the way to and from Latin-1.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sdgen {

// The number of leading bytes of `text` that are whole, valid UTF-8 characters: text.size() if all of it is. Overlong
// forms, surrogates and code points above U+10FFFF are invalid.
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
