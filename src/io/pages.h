// Memory from the system, without malloc.
#pragma once

#include <cstddef>

namespace sdgen {

// Fresh pages, huge ones where the system has them, which make first touches cheap; null where there is no memory. They
// go back with munmap(), whole or in parts.
std::byte* map_pages(std::size_t bytes);

}  // namespace sdgen
