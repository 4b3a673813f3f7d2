// The LoRA files below a folder, by the names that tags in prompts have for them.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sdgen::cli {

// AUTOMATIC1111's hashes of LoRAs by the names that a picture's tags have for them: "Lora hashes" of its text.
using LoraHashes = std::map<std::string, std::string>;
LoraHashes read_lora_hashes(const std::string& text);

class LoraFolder {
 public:
  using Warn = std::function<void(const std::string&)>;
  // Throws Error(input) when it is not a folder. It is looked through when a name is first asked for. `warn` is told of
  // files that are not those that a picture's hashes mean.
  LoraFolder(std::filesystem::path folder, LoraHashes hashes, Warn warn);

  // The file that a name means, with or without ".safetensors": the only one of this name in the folder or below it (a
  // name with '/' is a path from there, "./ink" that of a file in the folder itself); else the one that calls itself so
  // (ss_output_name in its metadata); else the one with the name's hash. Throws Error(input) where there is none (with
  // names that are near), or it is a pickle; Error(usage) where there are several, with their paths.
  std::filesystem::path find(const std::string& name);
  // The file with this hash, whatever its name; nothing: there is none. Throws Error(input) when it is not a folder.
  std::optional<std::filesystem::path> find_by_hash(const std::string& hash);

 private:
  using Paths = std::vector<std::filesystem::path>;
  struct Header {
    std::string alias, hash;  // "": it does not say
  };
  std::filesystem::path look_for(const std::string& name);
  Paths called(const std::string& name) const;
  void look_around();
  void read_headers();
  std::optional<std::filesystem::path> with_hash(const std::string& hash);
  std::filesystem::path only(const std::string& name, const Paths& files) const;
  [[noreturn]] void not_found(const std::string& name) const;

  std::filesystem::path folder_;
  LoraHashes hashes_;
  Warn warn_;
  bool seen_ = false;
  Paths files_, pickles_;
  std::map<std::filesystem::path, Header> headers_;     // read when no file is called as one is looked for
  std::map<std::string, std::filesystem::path> known_;  // what was found
};

}  // namespace sdgen::cli
