// A model's components wherever they lie: sub-folders of a diffusers folder, or parts of one file. What builds networks
// sees no difference.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "formats/components.h"
#include "formats/original_layout.h"
#include "io/json.h"
#include "io/tensor_table.h"

namespace sdgen {

using Warn = std::function<void(const std::string&)>;

// One network: its config.json, or what the tensors of a single file say, and where its weights are.
struct Component {
  const ModelPart* part;  // of a model; null for what steers one
  const ComponentClass* type;
  Config config;
  std::shared_ptr<const TensorTable> tensors;
  Locate locate;                         // from diffusers' and transformers' names; null: the files use these
  std::string prefix;                    // the names of its tensors in the files begin so
  std::filesystem::path tokenizer = {};  // of a text encoder: see tokenizers.h
  std::set<std::string> unused = {};     // tensors that belong to it, and that it has no use for
  bool rounds_tokens = false;            // its products and convolutions in int8 may round what they are told, too
};

struct ModelFiles {
  std::filesystem::path path;
  Config index;      // model_index.json, or what it would say: "_class_name" and the keys that are not components
  Config scheduler;  // scheduler_config.json, likewise
  std::vector<Component> components;  // in the order of model_parts()
  bool folder;
  std::vector<std::string> foreign = {};  // of a single file: tensors that belong to none of the components
  // What authors say of its use, in the words of sdgen.json: that file, and a single file itself. The first that says
  // something counts.
  std::vector<Config> said = {};
  std::filesystem::path backbone = {};  // where its backbone was found, if that is another's (see backbone_file.h)
  LatentScaling scaling = kSdScaling;   // of an autoencoder that it lacks
  std::vector<std::string> notes = {};  // what a single file does not tell, and was decided

  std::string who() const;  // where the model lies, and its backbone, for errors about both
  const Component* find(std::string_view name) const;
  // Throws Error(input) when the model lacks it.
  const Component& at(std::string_view name) const;
  // What it takes and does not have, in people's words: of a transformer's single file. "CLIP-L (clip_l.safetensors)"
  std::vector<std::string> lacking() const;
  // All that the model has.
  std::vector<const Component*> with(Role role) const;
};

// Opens a diffusers folder or a single .safetensors checkpoint; reads headers and configs only. `warn` gets the
// parts that are not used. Throws Error(input) that says what the path is when it is not such a model.
ModelFiles open_model(const std::filesystem::path& path, const Warn& warn);

// The same for a single file whose header has been read.
ModelFiles open_checkpoint(std::shared_ptr<const TensorTable> table, const Warn& warn);

// A single file of tensors. Throws Error(input) where it is none.
std::shared_ptr<const TensorTable> open_single_file(const std::filesystem::path& path);

// The network of a single file that stands for `part`. Throws Error(input).
Component component_in(const std::shared_ptr<const TensorTable>& table, const ModelPart& part, ForeignComponent found);

// One network of such a class: `folder` holds its config.json and weights. Throws Error(input).
Component open_component(const std::filesystem::path& folder, const ComponentClass& type);

// The network of such a role in a folder with config.json, or in that of a model. Throws Error(input).
Component open_network(const std::filesystem::path& folder, Role role);

// What people call such a network by its path: the file's name, or the folder's; that of the model where the folder is
// its part.
std::string network_name(const std::filesystem::path& path);

// sdgen.json in a folder; nothing where there is none.
std::optional<Config> authors_file(const std::filesystem::path& folder);

// An autoencoder to use instead of a model's own: a folder, or a single file in the original or in diffusers' names. A
// single file does not say how its latents are scaled: as `scaling` says.
Component open_vae(const std::filesystem::path& path, LatentScaling scaling);

// The same of a single file whose header has been read; empty if there is none in it.
std::optional<Component> autoencoder_of(std::shared_ptr<const TensorTable> table, LatentScaling scaling);

// The files that a model, or a network, is known by: of a folder those of the model's backbone, else of the network
// that lies in it; a file itself. Throws Error(input).
std::vector<std::filesystem::path> known_by(const std::filesystem::path& path);

// A few numbers of a tensor (float16, bfloat16, float32, float64, int64). Throws Error(input) for other types and for
// more than a million.
std::vector<double> read_values(const TensorTable& table, const std::string& name);

}  // namespace sdgen
