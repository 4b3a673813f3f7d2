#include "formats/text_encoder_files.h"

#include <algorithm>
#include <exception>
#include <map>
#include <numeric>

#include "formats/decoder_layout.h"
#include "formats/file_kind.h"
#include "formats/text_layout.h"
#include "formats/tokenizers.h"
#include "io/file.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOptionField = "text_encoders";

enum class TextNames { clip, open_clip, t5, decoder };

std::optional<TextNames> text_names(const TensorTable& table) {
  if (t5_in(table, "")) return TextNames::t5;
  if (decoder_in(table)) return TextNames::decoder;
  if (open_clip_in(table, "")) return TextNames::open_clip;
  if (clip_in(table, "")) return TextNames::clip;
  return std::nullopt;
}

ForeignComponent text_in(const TensorTable& table, TextNames names, bool projected) {
  if (names == TextNames::t5) return t5_text(table, "");
  if (names == TextNames::decoder) return decoder_text(table);
  if (names == TextNames::open_clip) return open_clip_text(table, "", Use::all);
  return clip_text(table, "", projected ? ClipUse::projected : ClipUse::plain);
}

bool projects(const ModelPart& part) { return component_class(part.usual_class).projects; }

// Of the states of a CLIP, and of its summary.
std::int64_t width_of(const Component& c) { return c.config.integer("hidden_size", 0); }
std::int64_t summary_of(const Component& c) { return c.config.integer("projection_dim", width_of(c)); }

// An encoder that was named, and what it is in each of a model's places.
class Offer {
 public:
  explicit Offer(const fs::path& path) : path_(path) {
    if (!present(path)) throw Error(Fault::input, concat(path.string(), ": no such text encoder"));
    std::error_code error;
    if (fs::is_directory(path, error)) {
      open_folder_of_encoder();
    } else {
      file_ = open_single_file(path);
      const std::optional<TextNames> names = text_names(*file_);
      if (!names)
        throw Error(Fault::input, concat(path.string(), ": holds no text encoder: this is ", describe_file(*file_)));
      names_ = *names;
    }
  }

  const fs::path& path() const { return path_; }
  Architecture architecture() const {
    if (folder_) return folder_->type->architecture;
    return names_ == TextNames::t5        ? Architecture::t5
           : names_ == TextNames::decoder ? Architecture::decoder_text
                                          : Architecture::clip_text;
  }
  std::int64_t width() const {
    return width_of(folder_ ? *folder_ : in_place(*part_with(Role::text_encoder), nullptr));
  }

  // `own`: the model's; null where it has none.
  Component in_place(const ModelPart& part, const Component* own) const {
    Component c = folder_ ? *folder_ : component_in(file_, part, text_in(*file_, names_, projects(part)));
    c.part = &part;
    if (!own || own->type->architecture != c.type->architecture) return c;
    if (c.tokenizer.empty()) c.tokenizer = own->tokenizer;
    // What no shape shows is as the model's own has it, in a network of the same kind.
    const char* key = architecture() == Architecture::t5 ? "d_model" : "hidden_size";
    if (!folder_ && own->config.integer(key, 0) == c.config.integer(key, -1)) {
      Json config = own->config.json();
      config.erase("architectures");
      if (!c.type->projects) config["projection_dim"] = width_of(c);
      c.config = Config(std::move(config), c.config.who());
    }
    return c;
  }

 private:
  void open_folder_of_encoder() {
    if (present(path_ / "model_index.json"))
      throw Error(Fault::usage, concat(FieldName{kOptionField}, ": ", path_.string(),
                                       " is a whole model: name the folder of its text encoder"));
    const Config config = Config::read(path_ / "config.json");
    const std::vector<std::string> said = config.strings("architectures");
    const std::string name = said.empty() ? config.string("_class_name", "") : said.front();
    const ComponentClass* type = find_component_class(name);
    if (!type || type->role != Role::text_encoder)
      throw Error(Fault::input, concat(path_.string(), ": holds the network '", printable(name), "', expected ",
                                       classes_with(Role::text_encoder)));
    folder_ = open_component(path_, *type);
    const fs::path plain = (path_ / "").lexically_normal().parent_path();
    const std::string own = plain.filename().string(), encoder = "text_encoder";
    const fs::path beside =
        plain.parent_path() / (own.starts_with(encoder) ? concat("tokenizer", own.substr(encoder.size())) : "");
    if (has_tokenizer(path_))
      folder_->tokenizer = path_;
    else if (own.starts_with(encoder) && has_tokenizer(beside))
      folder_->tokenizer = beside;
  }

  fs::path path_;
  std::optional<Component> folder_;
  std::shared_ptr<const TensorTable> file_;
  TextNames names_ = TextNames::clip;
};

// A model's places for encoders of one architecture.
std::vector<const ModelPart*> places_for(const ModelFiles& model, Architecture architecture) {
  std::vector<const ModelPart*> places;
  const Component* network = model.find("transformer");
  if (const Companions* others = network ? companions_of(network->type->architecture) : nullptr) {
    for (const Companions::Text& text : others->text)
      if (text.architecture == architecture) places.push_back(&model_part(text.part));
    return places;
  }
  for (const Component* own : model.with(Role::text_encoder))
    if (own->type->architecture == architecture) places.push_back(own->part);
  return places;
}

// Do a model's CLIPs, two of them if it is a transformer's, make what its network takes, as far as they are known?
bool make_what_is_taken(const ModelFiles& model, const std::vector<const Component*>& clips) {
  for (const Component* c : clips)
    if (const Component* own = c ? model.find(c->part->name) : nullptr; own && width_of(*own) != width_of(*c))
      return false;
  const Component* network = model.find("transformer");
  if (!network || clips.size() != 2) return true;
  const std::int64_t context = network->config.integer("joint_attention_dim", 0),
                     summary = network->config.integer("pooled_projection_dim", 0);
  if (clips[0] && clips[1])
    return width_of(*clips[0]) + width_of(*clips[1]) <= context &&
           summary_of(*clips[0]) + summary_of(*clips[1]) == summary;
  // The first one is the smaller one, in all that were released.
  return clips[0] ? 2 * summary_of(*clips[0]) <= summary : 2 * summary_of(*clips[1]) >= summary;
}

std::vector<Component> arranged(const ModelFiles& model, const std::vector<const ModelPart*>& places,
                                const std::vector<Offer>& offers, const std::vector<std::size_t>& order) {
  std::vector<Component> result;
  for (std::size_t i = 0; i < offers.size(); ++i)
    result.push_back(offers[i].in_place(*places[order[i]], model.find(places[order[i]]->name)));
  return result;
}

bool fit_together(const ModelFiles& model, const std::vector<const ModelPart*>& places,
                  const std::vector<Component>& offered) {
  std::vector<const Component*> clips;
  for (const ModelPart* place : places) {
    const auto given = std::ranges::find(offered, place, &Component::part);
    clips.push_back(given == offered.end() ? model.find(place->name) : &*given);
  }
  return make_what_is_taken(model, clips);
}

void put(ModelFiles& model, Component component) {
  const auto before = std::ranges::find(model.components, component.part, &Component::part);
  if (before != model.components.end())
    *before = std::move(component);
  else
    model.components.push_back(std::move(component));
  // In the order of model_parts().
  std::ranges::stable_sort(model.components, {}, &Component::part);
}

// What a model takes that is of no such kind.
std::string instead_of(const ModelFiles& model) {
  const Component* network = model.find("transformer");
  const Companions* others = network ? companions_of(network->type->architecture) : nullptr;
  if (!others) return "";
  std::vector<std::string> names;
  for (const Companions::Text& text : others->text) names.push_back(Companions::named(text));
  return concat("; it takes ", joined(names, " and "), ", from ", others->text_source);
}

void take(ModelFiles& model, Architecture architecture, std::vector<Offer> offers) {
  const char* called = architecture == Architecture::t5             ? "T5"
                       : architecture == Architecture::decoder_text ? "language models"
                                                                    : "CLIP";
  const std::vector<const ModelPart*> places = places_for(model, architecture);
  if (offers.size() > places.size()) {
    std::vector<std::string> names;
    for (const Offer& offer : offers) names.push_back(offer.path().string());
    throw Error(Fault::usage,
                concat(FieldName{kOptionField}, ": ", joined(names, " and "), names.size() == 1 ? " is" : " are",
                       " of the kind of ", called, ", of which ", model.path.string(), " takes ",
                       places.empty() ? concat("none", instead_of(model)) : std::to_string(places.size())));
  }
  if (offers.empty()) return;
  if (architecture == Architecture::clip_text && offers.size() > 1) std::ranges::stable_sort(offers, {}, &Offer::width);
  std::vector<std::size_t> order(places.size());
  std::iota(order.begin(), order.end(), 0);
  // Where none fits, whoever looks at the whole says why the first does not.
  std::vector<Component> chosen;
  std::exception_ptr first;
  do {
    try {
      std::vector<Component> trial = arranged(model, places, offers, order);
      const bool good = architecture != Architecture::clip_text || fit_together(model, places, trial);
      if (good || chosen.empty()) chosen = std::move(trial);
      if (good) break;
    } catch (const Error&) {
      if (!first) first = std::current_exception();
    }
  } while (std::ranges::next_permutation(order).found);
  if (chosen.empty()) std::rethrow_exception(first);
  for (Component& c : chosen) put(model, std::move(c));
}

}  // namespace

void take_text_encoders(ModelFiles& model, const std::vector<fs::path>& paths) {
  std::map<Architecture, std::vector<Offer>> offers;
  for (const fs::path& path : paths) {
    Offer offer(path);
    const Architecture architecture = offer.architecture();
    offers[architecture].push_back(std::move(offer));
  }
  for (auto& [architecture, list] : offers) take(model, architecture, std::move(list));
}

std::optional<Component> text_encoder_of(const std::shared_ptr<const TensorTable>& table) {
  const std::optional<TextNames> names = text_names(*table);
  if (!names) return std::nullopt;
  const bool projected = *names == TextNames::clip && table->find(kProjection);
  const ModelPart& part = model_part(projected || *names == TextNames::open_clip ? "text_encoder_2" : "text_encoder");
  return component_in(table, part, text_in(*table, *names, projected));
}

}  // namespace sdgen
