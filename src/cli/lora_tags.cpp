#include "cli/lora_tags.h"

#include <cctype>
#include <optional>

#include "io/file.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kMaxScale = 1000;
constexpr std::size_t kMostLoras = 1000;  // of a prompt

bool asks_for_lora(std::string_view kind) { return kind == "lora" || kind == "lyco"; }

// <KIND:TEXT>, where in a prompt.
struct TagPlace {
  std::size_t begin, end;
  std::string text, kind, inside;
};

// The first tag from `at` on. One that has no end is a tag if it can be nothing else. Throws Error(usage) for that.
std::optional<TagPlace> tag_in(const std::string& prompt, std::size_t at, const std::string& flag = "--prompt") {
  const auto of_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || (c & 0x80); };
  for (; (at = prompt.find('<', at)) != std::string::npos; ++at) {
    std::size_t colon = at + 1;
    while (colon < prompt.size() && of_word(prompt[colon])) ++colon;
    if (colon == at + 1 || colon == prompt.size() || prompt[colon] != ':') continue;
    const std::string kind = prompt.substr(at + 1, colon - at - 1);
    const std::size_t end = prompt.find('>', colon);
    if (end != std::string::npos)
      return TagPlace{at, end + 1, prompt.substr(at, end + 1 - at), kind, prompt.substr(colon + 1, end - colon - 1)};
    if (asks_for_lora(kind))
      throw Error(Fault::usage, concat(flag, ": ", printable(prompt.substr(at), 80), ": the tag has no '>'"));
  }
  return std::nullopt;
}

class Tag {
 public:
  explicit Tag(const TagPlace& place) : place_(place), parts_(split(place.inside, ':')) {
    for (std::string& part : parts_) part = trimmed(part);
  }

  void require_lora() const {
    if (asks_for_lora(place_.kind)) return;
    if (place_.kind == "hypernet") wrong("hypernetworks are not supported; take the tag out of the prompt");
    wrong("of such tags only <lora:NAME:SCALE> is known; take it out of the prompt");
  }

  Lora lora(const std::function<fs::path(const std::string& name)>& find) const {
    std::optional<double> text, unet;
    for (std::size_t i = 1, scales = 0; i < parts_.size(); ++i) {
      const std::size_t equals = parts_[i].find('=');
      const std::string name = parts_[i].substr(0, equals);
      if (equals == std::string::npos) {
        if (++scales > 2) wrong("expected <lora:NAME:SCALE>, <lora:NAME:TE:UNET> or <lora:NAME:te=X:unet=Y>");
        if (auto& scale = scales == 1 ? text : unet; !scale) scale = number(parts_[i]);
      } else if (name == "te" || name == "unet") {
        (name == "te" ? text : unet) = number(parts_[i].substr(equals + 1));
      } else {
        wrong(concat("'", printable(name, 40), "' is not supported; te=X and unet=X are"));
      }
    }
    if (parts_[0].empty()) wrong("it names no file");
    try {
      return {find(parts_[0]), unet.value_or(text.value_or(1)), text.value_or(1)};
    } catch (const Error& error) {
      throw Error(error.fault(), said(error.text()));
    }
  }

  [[noreturn]] void wrong(const std::string& what) const { throw Error(Fault::usage, said(what)); }

 private:
  std::string said(const std::string& what) const {
    return concat("--prompt: ", printable(place_.text, 80), ": ", what);
  }
  double number(const std::string& text) const {
    try {
      return Argument("--prompt", text).real(-kMaxScale, kMaxScale);
    } catch (const Error&) {
      wrong(concat("'", printable(text, 40), "' is not a scale"));
    }
  }

  const TagPlace& place_;
  std::vector<std::string> parts_;
};

}  // namespace

Lora lora(const Argument& argument) {
  constexpr const char* expected = "PATH, PATH:SCALE or PATH:unet=X,te=Y, like style.safetensors:0.8";
  const std::string& text = argument.raw();
  const std::size_t colon = text.rfind(':');
  const std::string tail = colon == std::string::npos ? "" : text.substr(colon + 1);
  Lora result;
  if (colon == std::string::npos || tail.find('/') != std::string::npos || tail.ends_with(".safetensors")) {
    result.path = in_home(text);
  } else {
    result.path = in_home(text.substr(0, colon));
    const auto scale = [&](const std::string& number) {
      try {
        return Argument(argument.flag(), number).real(-kMaxScale, kMaxScale);
      } catch (const Error&) {
        argument.wrong(expected);
      }
    };
    if (tail.find('=') == std::string::npos) {
      result.unet_scale = result.text_scale = scale(tail);
    } else {
      for (const std::string& part : split(tail, ',')) {
        const std::size_t equals = part.find('=');
        const std::string name = part.substr(0, equals);
        if (equals == std::string::npos || (name != "unet" && name != "te")) argument.wrong(expected);
        (name == "unet" ? result.unet_scale : result.text_scale) = scale(part.substr(equals + 1));
      }
    }
  }
  if (result.path.empty()) argument.wrong(expected);
  return result;
}

std::string written(const Lora& lora) {
  const std::string path = lora.path.string(), unet = shortest(lora.unet_scale), text = shortest(lora.text_scale);
  return unet == text ? concat(path, ':', unet) : concat(path, ":unet=", unet, ",te=", text);
}

void take_lora_tags(std::string& prompt, const std::function<fs::path(const std::string& name)>& find,
                    std::vector<Lora>& loras) {
  for (std::size_t at = 0; const auto found = tag_in(prompt, at);) {
    const Tag tag(*found);
    tag.require_lora();
    if (loras.size() >= kMostLoras) tag.wrong(concat("more than ", kMostLoras, " LoRAs"));
    loras.push_back(tag.lora(find));
    prompt.erase(found->begin, found->end - found->begin);
    // What is left on both sides may be a tag.
    at = prompt.rfind('<', found->begin);
    if (at == std::string::npos) at = 0;
  }
}

void refuse_tags(const std::string& text, const std::string& flag) {
  if (const auto found = tag_in(text, 0, flag))
    throw Error(Fault::usage, concat(flag, ": ", printable(found->text, 80),
                                     ": a tag belongs in the prompt, --prompt; here it would be drawn as words"));
}

}  // namespace sdgen::cli
