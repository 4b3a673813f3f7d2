#include "cli/lora_tags.h"

#include <algorithm>

#include "io/file.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kMaxScale = 1000;
constexpr std::size_t kMostLoras = 1000;  // of a run: each tag is held against all before it

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

void take_lora_tags(std::string& prompt, const std::optional<std::string>& folder, std::vector<Lora>& loras) {
  constexpr std::string_view begin = "<lora:";
  for (std::size_t at = 0; (at = prompt.find(begin, at)) != std::string::npos;) {
    const std::size_t end = prompt.find('>', at);
    if (end == std::string::npos) return;  // no tag: plain words
    const std::string tag = prompt.substr(at, end + 1 - at);
    const auto fail = [&tag](const std::string& what) {
      throw Error(Fault::usage, concat("--prompt: ", printable(tag, 80), ": ", what));
    };
    if (!folder) fail("say with --lora-dir DIR where LoRA files are");
    const std::vector<std::string> parts = split(tag.substr(begin.size(), tag.size() - begin.size() - 1), ':');
    const std::string& name = parts[0];
    if (name.empty() || name.starts_with('/') || parts.size() > 3 ||
        concat('/', name, '/').find("/../") != std::string::npos)
      fail("expected <lora:NAME:SCALE> or <lora:NAME:TE:UNET>");
    if (loras.size() >= kMostLoras) fail(concat("more than ", kMostLoras, " LoRAs"));
    Lora lora{fs::path(*folder) / (name + ".safetensors")};
    const auto scale = [&](const std::string& number) {
      try {
        return Argument("--prompt", number).real(-kMaxScale, kMaxScale);
      } catch (const Error&) {
        fail(concat("'", printable(number, 40), "' is not a scale"));
        throw;
      }
    };
    if (parts.size() > 1) lora.text_scale = lora.unet_scale = scale(parts[1]);
    if (parts.size() > 2) lora.unet_scale = scale(parts[2]);
    if (std::ranges::any_of(loras, [&](const Lora& other) { return other.path == lora.path; }))
      fail("this LoRA is asked for twice; one model makes all pictures of a run, with one scale");
    loras.push_back(lora);
    prompt.erase(at, tag.size());
  }
}

}  // namespace sdgen::cli
