// ControlNets and T2I-Adapters as they are published: diffusers folders, and single files in diffusers' or in the
// original names, whose structure is read off names and shapes. No torch here.
//
// Names of modules: cldm.py of github.com/lllyasviel/ControlNet, adapter.py of github.com/TencentARC/T2I-Adapter.
#pragma once

#include <filesystem>
#include <memory>

#include "formats/model_files.h"

namespace sdgen {

// `expected`: the class of the ControlNets of the model's network. `backbone`: the config of that network, whose copy
// it is: a single file does not say how many heads its attention has, nor what the sizes are embedded in. Throws
// Error(input) that says what the path is when it is no such ControlNet.
Component open_controlnet(const std::filesystem::path& path, const ComponentClass& expected, const Config* backbone);
Component open_t2i_adapter(const std::filesystem::path& path);

// The same of a single file whose header has been read; of ControlNets of any class. `backbone` null (to look at it,
// not to run it): heads are 64 wide.
Component controlnet_of(std::shared_ptr<const TensorTable> table, const Config* backbone);
Component t2i_adapter_of(std::shared_ptr<const TensorTable> table);

}  // namespace sdgen
