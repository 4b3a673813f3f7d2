// Checkpoints in the original layouts (CompVis' latent diffusion, Stability's OpenCLIP text encoders, sgm's SDXL), seen
// as the components of a diffusers folder: what their config.json files would say, read off names and shapes, and where
// the tensors that diffusers' names ask for lie. Nothing is recognised by a list of exact widths, so that cut and tiny
// networks load like the well-known ones. No torch here: `inspect` uses it too.
//
// Names of modules: openaimodel.py of CompVis' latent-diffusion and of Stability-AI's generative-models, model.py of
// open_clip.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "formats/unet_walk.h"
#include "io/json.h"
#include "io/tensor_table.h"

namespace sdgen {

// How latents are scaled, in families whose single files do not say it.
struct LatentScaling {
  // NOLINTNEXTLINE(google-explicit-constructor): most are a factor alone
  constexpr LatentScaling(double factor, double shift = 0) : factor(factor), shift(shift) {}
  double factor, shift;  // latents of the loop = (the autoencoder's - shift) * factor
};
constexpr double kSdScaling = 0.18215, kSdxlScaling = 0.13025;
constexpr LatentScaling kSd3Scaling{1.5305, 0.0609}, kFluxScaling{0.3611, 0.1159}, kUnscaled{1};

// One network of a checkpoint.
struct ForeignComponent {
  Config config;                      // as diffusers' or transformers' config.json
  Locate locate;                      // diffusers' names -> the file's
  std::string prefix;                 // names of its tensors in the file begin so
  std::set<std::string> unused = {};  // tensors that belong to it, and that it has no use for
};

struct OriginalCheckpoint {
  std::string pipeline_class;                          // the diffusers pipeline that runs it
  Json index;                                          // the keys of model_index.json that are not components
  Json scheduler;                                      // scheduler_config.json
  std::map<std::string, ForeignComponent> components;  // by the names of model_parts()
  Json defaults = {};                                  // what the file says of its use, in the words of sdgen.json
  LatentScaling scaling = kSdScaling;                  // of its autoencoder, where that is in another file
  std::vector<std::string> notes = {};                 // what the file does not tell, and was decided
};

// The checkpoint, if the table holds a whole one: U-Net, autoencoder, text encoders; or a transformer (see
// transformer_layout.h), whose other parts may be elsewhere. `probe` reads a small tensor's
// values; it is asked only where names and shapes leave the prediction type open (Stable Diffusion 2). Throws
// Error(input) for a checkpoint of a kind that is not supported, and for one that lacks parts.
using Probe = std::function<std::vector<double>(const std::string& name)>;
std::optional<OriginalCheckpoint> original_checkpoint(const TensorTable& table, const Probe& probe);

// An autoencoder alone, or that of a checkpoint, in the original or in diffusers' names, with or without a prefix;
// empty if there is none. Its latents are scaled as `scaling` says: the file does not tell.
std::optional<ForeignComponent> autoencoder(const TensorTable& table, LatentScaling scaling);

// A U-Net that lies as `walk` says.
ForeignComponent unet_component(const Keys& keys, UNetWalk walk, Json config);

// diffusers' today's attention names (to_q, to_k, to_v, to_out.0) -> those that it wrote before 0.14 (query, key,
// value, proj_attn).
Place old_attention_name(const std::string& name);

// Tensors of checkpoints that no network reads or needs: EMA copies, noise schedules, position ids,
// training state.
bool is_leftover(const std::string& name);

}  // namespace sdgen
