#include "io/pickle.h"

#include <array>
#include <span>

#include "io/file.h"

namespace sdgen {

bool is_pickle_name(const std::filesystem::path& name) {
  const std::string extension = name.extension().string();
  for (const char* pickle : {".ckpt", ".pt", ".pth", ".bin"})
    if (extension == pickle) return true;
  return false;
}

bool begins_like_pickle(std::string_view head) {
  return head.starts_with("PK\x03\x04") || (head.size() > 1 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5);
}

bool is_pickle(const std::filesystem::path& path) {
  const InputFile file(path);
  if (is_pickle_name(path)) return true;
  std::array<char, 9> head{};
  const std::string_view bytes(head.data(), file.read_some(0, std::as_writable_bytes(std::span(head))));
  // The bytes 80 02 may also be the length of a small safetensors header, which then follows as JSON.
  if (bytes.size() == head.size() && std::string_view("{ \t\r\n").find(bytes[8]) != std::string_view::npos)
    return false;
  return begins_like_pickle(bytes);
}

std::string pickle_refusal() {
  return "is a pickle, which can run code when loaded and is therefore not read. Convert it where you trust it: "
         "python -c 'import torch, safetensors.torch as s; d = torch.load(\"OLD.ckpt\", map_location=\"cpu\"); d = "
         "d.get(\"state_dict\", d.get(\"string_to_param\", d)); s.save_file({k: v.detach().contiguous().clone() for k, "
         "v "
         "in d.items() if torch.is_tensor(v)}, \"NEW.safetensors\")'";
}

}  // namespace sdgen
