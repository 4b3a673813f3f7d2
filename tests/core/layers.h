// What the tests of single networks share: values of diffusers and transformers, layer by layer.
#pragma once

#include <algorithm>

#include "core/fixture.h"
#include "formats/original_layout.h"

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

// Of a fixture's weights, which lie below "w".
inline void expect_all_read(const Weights& w) {
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

}  // namespace sdgen::test
