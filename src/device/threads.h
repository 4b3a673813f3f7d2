// The threads that networks compute in.
#pragma once

namespace sdgen {

// Starts them while there is room: OpenMP's run time ends the program where it finds none in the middle of the work.
// Throws Error(device).
void start_threads();

}  // namespace sdgen
