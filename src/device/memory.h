// Memory for tensors on the CPU.
#pragma once

namespace sdgen {

// From now on libtorch keeps large blocks that tensors give back for the next ones, whole or in parts, and takes them
// from the system in huge pages. Its own way, malloc and free, returns every activation to the system, which clears
// each page again when it is next needed: a quarter of a U-Net's time was seen to go there. Can be called again.
void keep_large_blocks();

// Gives back to the system what is kept.
void release_kept_blocks();

}  // namespace sdgen
