// Memory for tensors on the CPU.
#pragma once

namespace sdgen {

// From now on libtorch keeps large blocks that tensors give back for the next ones, and takes them from the system in
// huge pages. Its own way, malloc and free, returns every activation to the system, which clears each page anew when it
// is next wanted: a quarter of a U-Net's time was seen to go there. Can be called again.
void keep_large_blocks();

// Gives back to the system what is kept: between stages that work on tensors of other sizes.
void release_kept_blocks();

}  // namespace sdgen
