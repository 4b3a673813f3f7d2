#include "text/added_tokens.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "io/utf8.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

bool word_ends(std::string_view text) {
  std::size_t offset = text.size();
  return offset > 0 && unicode::is_word(previous_character(text, offset));
}

bool word_begins(std::string_view text) {
  std::size_t offset = 0;
  return !text.empty() && unicode::is_word(next_character(text, offset));
}

std::size_t begin_of_trailing_space(std::string_view text) {
  std::size_t begin = text.size();
  for (std::size_t offset = begin; offset > 0; begin = offset) {
    if (!unicode::is_space(previous_character(text, offset))) break;
  }
  return begin;
}

std::size_t end_of_leading_space(std::string_view text) {
  std::size_t end = 0;
  for (std::size_t offset = 0; offset < text.size(); end = offset) {
    if (!unicode::is_space(next_character(text, offset))) break;
  }
  return end;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, Normalize normalize, bool skip_special)
    : normalize_(std::move(normalize)), skip_special_(skip_special) {
  for (AddedToken& token : tokens) add(std::move(token));
}

void AddedTokens::add(AddedToken token) {
  if (token.normalized) token.content = normalize_(token.content);
  if (!token.content.empty()) insert(token.normalized ? normalized_ : raw_, std::move(token));
}

bool AddedTokens::knows(std::string_view content) const {
  const auto is = [](std::string_view wanted) {
    return [wanted](const AddedToken& token) { return token.content == wanted; };
  };
  return find(raw_, is(content)) || find(normalized_, is(normalize_(content)));
}

const AddedToken* AddedTokens::find(const Matcher& matcher, const std::function<bool(const AddedToken&)>& wanted) {
  for (const auto& row : matcher)
    for (const AddedToken& token : row)
      if (wanted(token)) return &token;
  return nullptr;
}

void AddedTokens::insert(Matcher& matcher, AddedToken token) {
  auto& row = matcher[static_cast<std::uint8_t>(token.content[0])];
  const auto shorter = std::find_if(
      row.begin(), row.end(), [&](const AddedToken& other) { return other.content.size() < token.content.size(); });
  row.insert(shorter, std::move(token));
}

const AddedToken* AddedTokens::match(const Matcher& matcher, std::string_view rest) {
  for (const AddedToken& token : matcher[static_cast<std::uint8_t>(rest[0])]) {
    if (rest.starts_with(token.content)) return &token;
  }
  return nullptr;
}

void AddedTokens::split(const Matcher& matcher, std::string_view text, const OnText& on_text,
                        const OnToken& on_token) const {
  std::size_t done = 0;  // end of what has been handed out
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* token = match(matcher, text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at + token->content.size();
    at = end;  // the search goes on after every match, taken or not, and does not see stripped white space as gone
    if (skip_special_ && token->special) continue;
    if (token->single_word && (word_ends(text.substr(0, begin)) || word_begins(text.substr(end)))) continue;
    if (token->lstrip) begin = std::max(begin_of_trailing_space(text.substr(0, begin)), done);
    if (token->rstrip) end += end_of_leading_space(text.substr(end));
    if (done < begin) on_text(text.substr(done, begin - done));
    on_token(token->id);
    done = end;
  }
  if (done < text.size()) on_text(text.substr(done));
}

void AddedTokens::split(std::string_view text, const OnText& on_text, const OnToken& on_token) const {
  split(
      raw_, text, [&](std::string_view piece) { split(normalized_, normalize_(piece), on_text, on_token); }, on_token);
}

}  // namespace sdgen
