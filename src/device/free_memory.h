// How much memory a device still has.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>

namespace sdgen {

// Bytes that can still be had on the device: of a CUDA device its own; of the CPU what the system has available, or
// what the limit of a control group (a container, a Slurm job) leaves. Nothing where nobody says. `root`: where /proc
// and /sys are, for tests.
std::optional<std::uint64_t> free_memory(at::Device device, const std::filesystem::path& root = "/");

}  // namespace sdgen
