// U-Nets and their first halves as names and shapes show them, in the original layouts (CompVis' openaimodel.py and
// sgm's) or in diffusers': which modules are which of diffusers', found by walking through the file's blocks. No torch
// here.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "io/tensor_table.h"
#include "sdgen/error.h"

namespace sdgen {

constexpr std::int64_t kHeadWidth = 64;  // of Stable Diffusion 2, SDXL and all CLIP text encoders

// The tensors below a prefix.
class Keys {
 public:
  Keys(const TensorTable& table, std::string prefix) : table_(&table), prefix_(std::move(prefix)) {}

  bool has(const std::string& name) const { return table_->find(prefix_ + name) != nullptr; }
  bool any(const std::string& front) const {
    const auto next = table_->tensors().lower_bound(prefix_ + front);
    return next != table_->tensors().end() && next->first.starts_with(prefix_ + front);
  }
  // Size of a dimension. Throws Error(input) when there is no such tensor or dimension.
  std::int64_t dim(const std::string& name, std::size_t index) const {
    const StoredTensor* entry = table_->find(prefix_ + name);
    if (!entry) fail(concat("no tensor '", prefix_, name, "'; the checkpoint is incomplete or of an unknown kind"));
    if (entry->shape.size() <= index)
      fail(concat("tensor '", prefix_, name, "' has ", entry->shape.size(), " dimensions, expected more than ", index));
    return entry->shape[index];
  }
  std::size_t rank(const std::string& name) const {
    dim(name, 0);
    return table_->find(prefix_ + name)->shape.size();
  }
  // How many of before + "0" + after, before + "1" + after, ... there are.
  std::int64_t count(const std::string& before, const std::string& after) const {
    std::int64_t n = 0;
    while (has(concat(before, n, after))) ++n;
    return n;
  }
  // One more than the largest N of up to four digits of which front + N + "." begins a name.
  std::int64_t numbered(const std::string& front) const;
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Fault::input, concat(table_->source(), ": ", what));
  }
  const std::string& prefix() const { return prefix_; }
  const std::string& source() const { return table_->source(); }

 private:
  const TensorTable* table_;
  std::string prefix_;
};

// Replaces the first of the `from`s that occurs in `name`.
using Replacements = std::initializer_list<std::pair<const char*, const char*>>;
bool replace_one(std::string& name, Replacements names);

// A level of a U-Net as the names see it.
struct UNetLevel {
  std::int64_t channels = 0;
  std::vector<std::int64_t> down, up;  // transformer layers after each resnet; 0: no transformer
};
// The modules of a U-Net, levels from the finest: diffusers' names -> the original layout's. Some of them it may lack.
std::map<std::string, std::string> original_unet_blocks(const std::vector<UNetLevel>& levels);

// What diffusers' tensor `name` is called in the original layout, by the blocks' names; empty for one in none of them.
std::optional<std::string> original_unet_tensor(const std::map<std::string, std::string>& blocks,
                                                const std::string& name);

// Which modules of the file are which of diffusers', and what the walk says about the network's structure.
struct UNetWalk {
  std::vector<UNetLevel> levels;             // from the finest
  std::map<std::string, std::string> names;  // module of diffusers -> module of the file; empty: they are the same

  // Of the original layout: the way down, the middle block and what all of them take in.
  explicit UNetWalk(const Keys& keys);
  // A whole U-Net, in the original layout or in diffusers' names. Throws Error(input) where the way up does not fit the
  // way down.
  static UNetWalk original(const Keys& keys);
  static UNetWalk diffusers(const Keys& keys);

  // The file's name, without prefix, of a tensor that diffusers calls `name`.
  std::string tensor(const std::string& name) const;

 private:
  UNetWalk() = default;
  void require_levels(const Keys& keys) const;
};

// What its config.json would say of a whole U-Net, as far as names and shapes show it. What they do not show is taken
// from `base`, a config.json of the same family: how attention is divided into heads, the number of groups of norms,
// the size of pictures. Throws Error(input).
Json unet_config(const Keys& keys, const UNetWalk& walk, const Config& base);

}  // namespace sdgen
