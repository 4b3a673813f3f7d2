#include "io/lack_of_memory.h"

namespace sdgen {

std::atomic<void (*)()> give_back_memory = nullptr;

}  // namespace sdgen
