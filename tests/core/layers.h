// What the tests of single networks share: values of diffusers and transformers, layer by layer.
#pragma once

#include <algorithm>

#include "core/fixture.h"
#include "formats/original_layout.h"
#include "nn/backbone.h"

namespace sdgen::test {

constexpr double kLayerTolerance = 1e-5;  // relative

inline std::string test_name(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// Folders from before diffusers 0.17 have other names in the pixels' attention.
inline Weights with_old_names(const Fixture& f, const Weights& w) {
  for (const auto& [name, entry] : f.file().tensors())
    if (name.ends_with(".proj_attn.weight")) return w.map(old_attention_name);
  return w;
}

// All that the network of a fixture was told.
inline Conditioning conditioning_of(const Fixture& f, at::ScalarType dtype) {
  const auto told = [&f](const char* name, at::ScalarType type) {
    return f.has(name) ? f.tensor(name).to(type) : at::Tensor();
  };
  Conditioning c{.context = told("in.context", dtype),
                 .context_mask = told("in.mask", at::kBool),
                 .pooled = told(f.has("in.text_embeds") ? "in.text_embeds" : "in.pooled", dtype),
                 .size_ids = told("in.time_ids", at::kFloat),
                 .classes = told("in.classes", at::kLong),
                 .guidance = told("in.guidance", at::kDouble)};
  for (const char* name : {"in.reference", "in.reference_2"})
    if (f.has(name)) c.references.push_back(told(name, dtype));
  return c;
}

// Of a fixture's weights, which lie below "w".
inline void expect_all_read(const Weights& w) {
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

}  // namespace sdgen::test
