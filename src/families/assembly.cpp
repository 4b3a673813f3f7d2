#include "families/assembly.h"

#include <algorithm>
#include <mutex>
#include <set>

#include "adapters/textual_inversion.h"
#include "families/networks.h"
#include "formats/tokenizers.h"
#include "ops/cuda.h"
#include "ops/int8_conv.h"
#include "ops/panels.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

LoraNames::Parameters parameters_of(const Component& c) {
  LoraNames::Parameters shapes;
  with_network(c, [&]<class Network>(Network*, const auto& config) {
    const Network network(weights_of(c, {at::kMeta, at::kFloat}), config);
    for (const auto& [name, parameter] : network.named_parameters()) shapes[name] = parameter.sizes().vec();
  });
  return shapes;
}

bool is_clip(const Component& c) { return c.type->architecture == Architecture::clip_text; }
bool is_decoder(const Component& c) { return c.type->architecture == Architecture::decoder_text; }

// The words of the files, and of LoRAs, for the encoders that the model has: CLIPs, for T5 has none that anybody
// taught.
TextualInversions read_inversions(const std::vector<Component>& encoders, const AssembleOptions& options,
                                  const std::set<std::filesystem::path>& loras) {
  TextualInversions::Encoders widths;
  for (const Component& c : encoders)
    if (is_clip(c)) widths.emplace_back(c.part, ClipTextConfig::from(c.config).width);
  TextualInversions inversions(options.textual_inversions, widths);
  for (const std::filesystem::path& lora : loras) inversions.add_bundle(lora, widths);
  return inversions;
}

// Finds what is wrong with the words of LoRAs, those of each set once.
class WordCheck {
 public:
  explicit WordCheck(std::function<void(const std::set<std::filesystem::path>&)> check) : check_(std::move(check)) {}
  void operator()(std::span<const LoraInfo> loras) {
    std::set<std::filesystem::path> files;
    for (const LoraInfo& lora : loras)
      if (lora.words) files.insert(lora.path);
    const std::lock_guard guard(lock_);
    if (files.empty() || good_.contains(files)) return;
    check_(files);
    good_.insert(std::move(files));
  }

 private:
  std::mutex lock_;
  std::function<void(const std::set<std::filesystem::path>&)> check_;
  std::set<std::set<std::filesystem::path>> good_;
};

std::set<std::filesystem::path> paths_of(std::span<const Lora> loras) {
  std::set<std::filesystem::path> paths;
  for (const Lora& lora : loras) paths.insert(lora.path);
  return paths;
}

}  // namespace

Defaults Defaults::over(const Defaults& others) const {
  Defaults all = *this;
  const auto complete = [](auto& own, const auto& other) {
    if (!own) own = other;
  };
  complete(all.steps, others.steps);
  complete(all.width, others.width);
  complete(all.height, others.height);
  complete(all.guidance_scale, others.guidance_scale);
  complete(all.strength, others.strength);
  complete(all.negative_prompt, others.negative_prompt);
  complete(all.scheduler, others.scheduler);
  complete(all.max_sequence_length, others.max_sequence_length);
  return all;
}

namespace {

// The fields of sdgen.json.
Defaults defaults_of(const Config& json) {
  Defaults d;
  const auto positive = [&json](const char* key, int most = kMostSide) {
    const std::int64_t n = json.integer(key, 0);
    if (n < 1 || n > most) json.unsupported(key, concat("expected 1 to ", most));
    return static_cast<int>(n);
  };
  for (const auto& [key, value] : json.json().items()) {
    if (value.is_null()) continue;
    if (key == "steps")
      d.steps = positive("steps", kMostSteps);
    else if (key == "width")
      d.width = positive("width");
    else if (key == "height")
      d.height = positive("height");
    else if (key == "guidance_scale")
      d.guidance_scale = json.number("guidance_scale", 0);
    else if (key == "negative_prompt")
      d.negative_prompt = json.string("negative_prompt", "");
    else if (key == "scheduler")
      d.scheduler = json.string("scheduler", "");
    else if (key != "known_words")
      json.unsupported(key, "known: steps, guidance_scale, negative_prompt, scheduler, width, height, known_words");
  }
  return d;
}

// The list that the model's authors give of what it knows; null where they give none, and for a model that they do not
// know: with another backbone, or with more words. (With LoRAs, too: see UnknownWords.)
std::shared_ptr<const KnownWords> known_words(const ModelFiles& model, const AssembleOptions& options) {
  const auto authors = std::ranges::find_if(model.said, [](const Config& one) { return one.has("known_words"); });
  if (authors == model.said.end()) return nullptr;
  const std::filesystem::path name = authors->string("known_words", "");
  if (name.empty() || name != name.filename() || name == "." || name == "..")
    authors->unsupported("known_words", "expected the name of a file in the same folder");
  auto list = std::make_shared<const KnownWords>(std::filesystem::path(authors->who()).parent_path() / name);
  const bool as_it_was = model.backbone.empty() && options.textual_inversions.empty() && options.text_encoders.empty();
  return as_it_was ? list : nullptr;
}

}  // namespace

Defaults read_defaults(const ModelFiles& model) {
  Defaults all;
  for (const Config& one : model.said) all = all.over(defaults_of(one));
  return all;
}

void set_defaults(Parts& parts, const Family& family, const Defaults& authors, Size native) {
  parts.defaults = authors.over(family.defaults).over({.width = native.width, .height = native.height});
  parts.of_picture = authors.over(family.of_picture).over(parts.defaults);
  parts.repaint = authors.over(family.repaint).over(parts.of_picture);
}

Component choose_autoencoder(const ModelFiles& model, const AssembleOptions& options, LatentScaling scaling) {
  if (!options.vae) return model.at("vae");
  const Component* own = model.find("vae");
  if (own && own->type->architecture == Architecture::autoencoder_kl) {
    const VaeConfig config = VaeConfig::from(own->config);
    scaling = {config.scaling_factor, config.shift_factor};
  }
  return open_vae(*options.vae, scaling);
}

AutoencoderInfo autoencoder_info(const Component& autoencoder) {
  return with_autoencoder(autoencoder, [](auto*, const auto& config) { return config.info(); });
}

PicturePart picture_part(const Component& autoencoder, at::ScalarType dtype, const AssembleOptions& options) {
  const auto make = [autoencoder, options](at::ScalarType type) {
    // A tiny one has room everywhere, and draws previews while the backbone works.
    const bool tiny = autoencoder.type->architecture == Architecture::tiny_autoencoder;
    const Where where = tiny ? Where{options.device, type} : place_on(options, type);
    return with_autoencoder(autoencoder,
                            [&]<class Network>(Network*, const auto& config) -> std::unique_ptr<Autoencoder> {
                              return std::make_unique<Network>(weights_of(autoencoder, where), config);
                            });
  };
  const bool upcast = autoencoder_info(autoencoder).force_upcast && dtype == at::kHalf;
  const at::ScalarType type = upcast ? at::kFloat : dtype;
  return {make, type, bytes_of(autoencoder, options.device, type)};
}

std::shared_ptr<LoraFits> lora_fits(const std::vector<const Component*>& networks, const std::string& family,
                                    const AssembleOptions& options) {
  std::vector<Component> all;
  for (const Component* c : networks) all.push_back(*c);
  const auto names = [all = std::move(all)] {
    LoraNames names;
    for (const Component& c : all) names.add(*c.part, c.type->architecture, parameters_of(c));
    return names;
  };
  return std::make_shared<LoraFits>(names, family, options.strict);
}

LoraInfos refuse_loras(const std::string& why) {
  return [why](std::span<const Lora> loras) {
    if (!loras.empty()) throw Error(Fault::usage, concat(FieldName{"loras"}, ": ", why));
    return std::vector<LoraInfo>();
  };
}

namespace {

std::unique_ptr<PromptEncoder> clip_encoder(const Component& c, const Weights& weights,
                                            const TextualInversions& inversions, const TextInputs& inputs,
                                            at::Device device) {
  std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(c);
  inversions.teach(*tokenizer);
  auto network = std::make_unique<ClipText>(weights, ClipTextConfig::from(c.config), inversions.vectors(*c.part));
  return std::make_unique<ClipEncoder>(std::move(tokenizer), std::move(network), inputs.states, device);
}

std::unique_ptr<PromptEncoder> t5_encoder(const Component& c, const Weights& weights, const TextInputs& inputs,
                                          at::Device device) {
  std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(c);
  if (inputs.lower_case) tokenizer->set_lower_case();
  auto network = std::make_unique<T5>(weights, T5Config::from(c.config));
  return std::make_unique<T5Encoder>(std::move(tokenizer), std::move(network), inputs.t5_padding, device);
}

std::unique_ptr<PromptEncoder> decoder_encoder(const Component& c, const Weights& weights, const TextInputs& inputs,
                                               at::Device device) {
  const DecoderTextConfig config = DecoderTextConfig::from(c.config).giving(inputs.decoder.states, c.config.who());
  return std::make_unique<DecoderEncoder>(tokenizer_of(c), std::make_unique<DecoderText>(weights, config),
                                          inputs.decoder, device);
}

}  // namespace

void add_text(Parts& parts, const ModelFiles& model, const TextInputs& inputs, const std::shared_ptr<LoraFits>& fits,
              const AssembleOptions& options) {
  TextPart text;
  std::vector<Component> encoders;
  std::int64_t most_skipped =
      std::ranges::any_of(inputs.encoders, [](const Component* c) { return is_clip(*c); }) ? 1000 : 0;
  for (const Component* c : inputs.encoders) {
    encoders.push_back(*c);
    tokenizer_folder(*c);  // which must be there before anything is drawn
    if (is_clip(*c))
      most_skipped = std::min(most_skipped, ClipTextConfig::from(c->config).layers - inputs.states.left_out);
  }
  text.most_skipped = static_cast<int>(most_skipped);
  text.encoders = encoders.size();
  text.max_sequence_length = inputs.max_sequence_length;
  text.most_sequence_length = inputs.most_sequence_length;
  if (std::ranges::any_of(encoders, is_decoder)) {
    text.weights = false;
    text.any_length = inputs.decoder.padding == DecoderPrompt::Padding::none;
    text.negatives_read_apart = inputs.decoder.negative_frame.has_value();
  }
  text.known = known_words(model, options);
  const auto check_words = [encoders, options](const std::set<std::filesystem::path>& loras) {
    const TextualInversions inversions = read_inversions(encoders, options, loras);
    if (!inversions.empty())
      for (const Component& c : encoders)
        if (is_clip(c)) inversions.teach(*tokenizer_of(c));
    return inversions.infos();
  };
  parts.textual_inversions = check_words({});
  if (fits)
    parts.lora_infos = [fits, check = std::make_shared<WordCheck>(check_words)](std::span<const Lora> loras) {
      std::vector<LoraInfo> infos = fits->infos(loras);
      (*check)(infos);
      return infos;
    };
  // In float16 T5 and language models overflow.
  const at::ScalarType wide_dtype = parts.dtype != at::kHalf   ? parts.dtype
                                    : options.device.is_cuda() ? at::kBFloat16
                                                               : at::kFloat;
  for (const Component& c : encoders) text.bytes += bytes_of(c, options.device, is_clip(c) ? parts.dtype : wide_dtype);
  text.make = [encoders, inputs, fits, options, dtype = parts.dtype, wide_dtype](std::span<const Lora> loras) {
    const LoraSet changes = fits ? fits->set(loras) : LoraSet();
    const TextualInversions inversions = read_inversions(encoders, options, paths_of(loras));
    std::vector<std::unique_ptr<PromptEncoder>> list;
    for (const Component& c : encoders) {
      const auto weights = [&](at::ScalarType type) {
        return changes.patch(weights_of(c, place_on(options, type)), *c.part);
      };
      if (is_clip(c))
        list.push_back(clip_encoder(c, weights(dtype), inversions, inputs, options.device));
      else if (is_decoder(c))
        list.push_back(decoder_encoder(c, weights(wide_dtype), inputs, options.device));
      else
        list.push_back(t5_encoder(c, weights(wide_dtype), inputs, options.device));
    }
    return std::make_unique<PromptConditioner>(std::move(list), inputs.join);
  };
  parts.text = std::move(text);
}

std::uint64_t bytes_of(const Component& network, at::Device device, at::ScalarType dtype) {
  // What is planned on paper runs on a CPU, as a rule.
  const at::Device place = device.is_meta() ? at::kCPU : device;
  const Weights weights = weights_of(network, {place, dtype});
  const auto bytes_kept = [&](const TensorTable::Entry& entry) {
    const auto& shape = entry.where->shape;
    if (shape.size() == 2 && stays_coded(entry, place)) return stored_bytes(entry);
    // Not 1x1, which a layer may have as a matrix; those of stride 2 are few.
    if (weights.rounds_tokens() && shape.size() == 4 && shape[2] == 3 &&
        ops::int8::convolves(shape, /*stride=*/1, /*padding=*/1))
      return entry.where->elements();
    return ops::panels::numbers_kept(shape, place, dtype, weights.draws_large()) * c10::elementSize(dtype);
  };
  std::uint64_t bytes = 0;
  for (const auto& [name, entry] : network.tensors->tensors())
    if (name.starts_with(network.prefix) && !network.unused.contains(name)) bytes += bytes_kept(entry);
  return bytes;
}

void add_step(Parts& parts, const Component& network, const Where& where,
              std::function<StepPart(std::span<const Lora>)> make) {
  parts.step_bytes = bytes_of(network, where.device, where.dtype);
  parts.make_step = [where, make = std::move(make)](std::span<const Lora> loras) {
    if (where.residency) where.residency->forget_unused();
    return make(loras);
  };
  // A recording knows its weights by where they lie.
  if (where.device.is_cuda() && !where.residency) parts.recorder = ops::cuda::recorder(where.device);
}

Where place_on(const AssembleOptions& options, at::ScalarType dtype) {
  return {options.device, dtype, options.shared ? std::make_shared<Residency>(options.shared) : nullptr};
}

}  // namespace sdgen
