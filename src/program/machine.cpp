#include "program/machine.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <elf.h>
#include <link.h>
#include <torch/version.h>

#include <cstdlib>
#include <string>
#include <string_view>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "sdgen/error.h"

namespace sdgen {
namespace {

// Of bfloat16 alone; the rest of the instruction set is libtorch's word.
std::string bfloat16_kind() {
  std::string kind;
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & bit_AMX_BF16)) kind += " AMX-BF16";
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVX512BF16)) kind += " AVX512-BF16";
#endif
  if (const char* most = std::getenv("ONEDNN_MAX_CPU_ISA")) kind += concat(" at most ", most);
  return kind;
}

// The note NT_GNU_BUILD_ID within the notes of a library; "": there is none.
std::string id_in(const char* at, const char* end) {
  constexpr std::string_view digits = "0123456789abcdef";
  const auto padded = [](std::size_t size) { return (size + 3) & ~std::size_t{3}; };
  while (at + sizeof(ElfW(Nhdr)) <= end) {
    const auto& note = *reinterpret_cast<const ElfW(Nhdr)*>(at);
    const char* name = at + sizeof note;
    const char* bytes = name + padded(note.n_namesz);
    if (note.n_type == NT_GNU_BUILD_ID && std::string_view(name, note.n_namesz) == std::string_view("GNU", 4)) {
      std::string id;
      for (const char* byte = bytes; byte < bytes + note.n_descsz; ++byte) {
        const auto value = static_cast<unsigned char>(*byte);
        id += digits[value >> 4], id += digits[value & 15];
      }
      return id;
    }
    at = bytes + padded(note.n_descsz);
  }
  return "";
}

// The number that the linker gave to the library of the networks: another for every other source, compiler and option.
// "": it was told to give none, or the networks are in a program of their own.
std::string build_id() {
  std::string id;
  const auto look = [](dl_phdr_info* library, std::size_t, void* found) {
    if (std::string_view(library->dlpi_name).find("/libsdgen.so") == std::string_view::npos) return 0;
    for (int i = 0; i < library->dlpi_phnum; ++i) {
      const auto& part = library->dlpi_phdr[i];
      const char* begin = reinterpret_cast<const char*>(library->dlpi_addr + part.p_vaddr);
      if (part.p_type == PT_NOTE && static_cast<std::string*>(found)->empty())
        *static_cast<std::string*>(found) = id_in(begin, begin + part.p_memsz);
    }
    return 1;
  };
  dl_iterate_phdr(look, &id);
  return id;
}

}  // namespace

cli::Machine machine() {
  return {.cpu = at::get_cpu_capability() + bfloat16_kind(),
          .build = concat("torch ", TORCH_VERSION, " ", build_id()),
          .threads = at::get_num_threads()};
}

}  // namespace sdgen
