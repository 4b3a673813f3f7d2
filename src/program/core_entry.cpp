// What the program looks for in libsdgen_core.so.
#include "program/core.h"

extern "C" const sdgen::Core* sdgen_core() { return &sdgen::linked_core(); }
