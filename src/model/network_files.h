// What a network reads of the files that it is in, found by building it on the meta device: no tensor is read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "formats/model_files.h"
#include "formats/original_layout.h"
#include "formats/survey.h"
#include "io/utf8.h"
#include "nn/module.h"
#include "nn/unet_config.h"
#include "sdgen/error.h"
#include "weights/weights.h"

namespace sdgen {

// Where a network works, in which type, and its turn, if it has to wait for one.
struct Where {
  at::Device device;
  at::ScalarType dtype;
  std::shared_ptr<Residency> residency = {};
};

// Of a text encoder whose class projects nothing: ComfyUI's merges have CLIP's own projection.
inline bool has_no_projection(const Component& c) {
  return c.type->architecture == Architecture::clip_text && !c.type->projects;
}

// Of a U-Net that was trained on pictures which are some 32 pixels high and wide even at its coarsest level.
inline bool draws_large(const Component& c) {
  if (c.type->architecture != Architecture::unet) return false;
  const UNetConfig config = UNetConfig::from(c.config);
  return std::min(config.sample_height, config.sample_width) >> (config.levels.size() - 1) >= 24;
}

inline Weights weights_of(const Component& c, const Where& where) {
  Weights w = Weights(c.tensors, where.device, where.dtype).in(where.residency);
  if (c.locate) w = w.map(c.locate);
  if (c.rounds_tokens) w = w.rounding_tokens();
  if (draws_large(c)) w = w.drawing_large();
  if (has_no_projection(c))
    w = w.map([](const std::string& name) { return Place(name == kProjection ? "(no projection)" : name); });
  return w;
}

template <class Network, class NetworkConfig>
Survey survey_as(const Component& c, const NetworkConfig& config) {
  const Weights w = weights_of(c, {at::kMeta, at::kFloat});
  const Network network(w, config);
  Survey result;
  for (const Tensor& parameter : network.parameters()) result.parameters += parameter.numel();
  const std::vector<std::string> unread = w.unread();  // sorted
  const auto coded = w.coded();
  for (const auto& [name, entry] : c.tensors->tensors()) {
    if (!std::binary_search(unread.begin(), unread.end(), name)) {
      const char* dtype = info_of(entry.where->encoding).name;
      const std::uint64_t bytes = stored_bytes(entry);
      result.bytes += bytes;
      ++result.dtypes[dtype];
      result.bytes_of_dtype[dtype] += bytes;
      (coded.contains(name) ? result.coded : result.widened) += coded.contains(name) ? bytes : entry.where->elements();
    } else if (name.starts_with(c.prefix) && !is_leftover(name) && !c.unused.contains(name) &&
               !(has_no_projection(c) && name == c.prefix + kProjection)) {
      result.unread.push_back(name);
    }
  }
  return result;
}

// Surveys a network and tells `warn` about tensors that it would not read.
template <class Network, class NetworkConfig>
void check(const Component& c, const NetworkConfig& config, const Warn& warn) {
  const std::vector<std::string> names = survey_as<Network>(c, config).unread;
  if (!names.empty())
    warn(concat(c.tensors->source(), ": ", names.size(), " tensors are not used by this model, e.g. '",
                printable(names.front()), "'"));
}

}  // namespace sdgen
