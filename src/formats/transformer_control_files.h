// ControlNets of transformers in single files: in diffusers' names, and Stability AI's for Stable Diffusion 3.5 large.
// No torch here.
//
// Names of modules: mmditx.py of Stability AI's sd3.5.
#pragma once

#include <memory>
#include <optional>

#include "formats/model_files.h"

namespace sdgen {

// Empty if the table holds none. `transformer`: the config of the one that it is to steer, whose copy it is: where
// shapes do not say how many heads its attention has and how positions turn them, it says so. Null (to look at it, not
// to run it): as in the models that are published. Throws Error(input) for one that is incomplete, and for relatives
// that are not supported.
std::optional<Component> transformer_controlnet_of(const std::shared_ptr<const TensorTable>& table,
                                                   const Config* transformer);

}  // namespace sdgen
