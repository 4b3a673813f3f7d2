// What the transformer of Stable Diffusion 3 is made of, and the ControlNets for it.
#pragma once

#include "nn/dit.h"

namespace sdgen {

// A picture's patches and where they are: of a table of so many places a side those in the middle. Keys proj and
// pos_embed.
struct PlacedPatches : Patches {
  struct Params {
    std::int64_t channels, patch, width, table_size;  // table_size 0: they are nowhere
  };
  PlacedPatches(const Weights& w, const Params& params);
  // [B, channels, H, W] -> [B, H/patch * W/patch, width]. Throws Error(usage) for a picture larger than the table.
  Tensor forward(const Tensor& picture) const;

 private:
  Params params_;
  Tensor table_;  // [1, table_size^2, width], rows from the top
};

// A layer: attention, then a feed-forward network, of the picture's tokens and of the prompt's, each moved by the
// embedding (diffusers' JointTransformerBlock; without a prompt SD3SingleTransformerBlock).
struct Sd3Block : Module {
  enum class Prompt { none, seen, goes_on };  // seen: nothing comes behind its tokens
  struct Params {
    std::int64_t width, heads;
    bool qk_norm;
    bool dual;  // the picture's tokens attend among themselves, too
    Prompt prompt;
  };
  Sd3Block(const Weights& w, const Params& params);
  void forward(Tensor& x, Tensor& context, const Tensor& embedding) const;

 private:
  std::shared_ptr<JointAttention> attention_, attention2_;
  std::shared_ptr<ModulatedStream> image_, text_;
  std::shared_ptr<Modulation> last_norm_;
};

}  // namespace sdgen
