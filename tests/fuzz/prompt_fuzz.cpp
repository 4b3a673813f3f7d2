// Every text is a prompt: in all its languages it is taken apart, or refused with Error(usage).
#include "cli/lora_tags.h"
#include "cli/names.h"
#include "fuzz.h"
#include "text/clip_tokenizer.h"
#include "text/known_words.h"
#include "text/prompt_chunks.h"
#include "text/prompt_grammar.h"
#include "text/unicode.h"

using namespace sdgen;
using fuzz::accepts;

namespace {

void schedule(std::string_view text, int steps) {
  const auto prompts = parse_schedule(text, steps);
  int last = 0;
  for (const ScheduledPrompt& prompt : prompts) {
    fuzz::require(prompt.until > last, "later and later", text);
    last = prompt.until;
  }
  fuzz::require(last == steps, "up to the last step", text);
  for (int call = 0; call < steps + 2; ++call) text_at(prompts, call);
}

void file_names(const std::string& text) {
  const std::string name = cli::safe_file_name(text);
  fuzz::require(!name.empty() && name.size() <= 80 && name.find('/') == std::string::npos && name[0] != '.',
                "a file name", name);
  fuzz::require(fuzz::fit_for_terminal(name), "a name fit for a terminal", name);
  accepts({Fault::usage}, [&] { cli::NameTemplate(text).expand({7, 8, text, text, text}); });
}

const Tokenizer& clip() {
  static const auto tokenizer = builtin_clip_tokenizer("<|endoftext|>");
  return *tokenizer;
}

// Of a model that knows little.
void unknown_words(const std::string& text) {
  static const KnownWords list = [] {
    const fuzz::Folder folder;
    return KnownWords(folder.write("list.json", R"({"things": [["red hut", "小屋"], ["leaves"]], "parts": ["t"],
                                                    "empty": ["a", "的"], "near": {"灯塔": [0]}, "examples": [1]})"));
  }();
  const KnownWords::Reading reading = list.read({text});
  if (reading.known()) return;
  const std::string line = list.warning("m", text, reading);
  fuzz::require(fuzz::fit_for_terminal(line) && line.size() < 1000, "a warning fit for a terminal", line);
}

}  // namespace

// Its 49,408 tokens are not part of an input's cost.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  clip();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  std::string_view text = fuzz::text_of(bytes, size);
  const int steps = 1 + fuzz::take_byte(text) % 60;
  accepts({Fault::usage}, [&] {
    const auto parts = parse_weights(text);
    fuzz::require(!parts.empty(), "a part", text);
  });
  accepts({Fault::usage}, [&] { schedule(text, steps); });
  accepts({Fault::usage}, [&] {
    for (const ComposedPrompt& prompt : parse_composition(text)) schedule(prompt.text, steps);
  });
  accepts({Fault::usage}, [&] {
    const auto chunks = weighted_chunks(clip(), text);
    fuzz::require(!chunks.empty(), "a chunk", text);
    for (const PromptChunk& chunk : chunks)
      fuzz::require(chunk.ids.size() == 77 && chunk.weights.size() == 77, "a whole chunk", text);
  });
  unknown_words(std::string(text));
  accepts({Fault::usage}, [&] {
    const CutWords cut = cut_words(clip(), text);
    fuzz::require(text.find(cut.first) != std::string_view::npos, "words of the text", text);
  });
  accepts({Fault::usage}, [&] {
    std::string prompt(text);
    std::vector<Lora> loras;
    cli::take_lora_tags(
        prompt, [](const std::string& name) { return name; }, loras);
    try {
      cli::refuse_tags(prompt, "--negative-prompt");
    } catch (const Error&) {
      fuzz::require(false, "no tag that is left", prompt);
    }
  });
  file_names(std::string(text));
  if (valid_utf8_prefix(text) < text.size()) return 0;
  const std::string composed = unicode::compose(text);
  fuzz::require(valid_utf8_prefix(composed) == composed.size(), "composed UTF-8", text);
  return 0;
}
