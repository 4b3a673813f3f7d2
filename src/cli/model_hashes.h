// Which files the networks of a run come from: their SHA-256, found while the pictures are made.
#pragma once

#include <filesystem>
#include <future>
#include <optional>
#include <stop_token>
#include <string>

#include "cli/record.h"

namespace sdgen::cli {

// $XDG_CACHE_HOME/sdgen, else ~/.cache/sdgen; empty where there is neither variable.
std::filesystem::path cache_folder();

// SHA-256 of a file. That of one of `least` bytes or more, which takes a while, is kept in `cache` under the file's
// path, size and time, and taken from there the next time. What goes wrong with the cache is not worth a word. Throws
// as sha256_of_file().
std::string remembered_sha256(const std::filesystem::path& file, const std::filesystem::path& cache,
                              std::uint64_t least, const std::stop_token& stop);

// SHA-256 of the weights that `path` is known by (formats/model_files.h). Of several files (shards) it is the SHA-256
// of their digits, one after the other. "" where something goes wrong: loading the model reports it.
std::string weights_sha256(const std::filesystem::path& path, const std::stop_token& stop);

// Hashes files of gigabytes beside the work.
class ModelHashing {
 public:
  // Begins in a thread of its own where the answer is `wanted`; else get() would find it.
  ModelHashing(const std::filesystem::path& model, const LoadOptions& load, bool wanted);
  ModelHashing(const ModelHashing&) = delete;
  ~ModelHashing() { stop_.request_stop(); }  // then the future waits for the thread

  const ModelHashes& get() const { return hashes_.get(); }  // waits

 private:
  std::stop_source stop_;
  std::shared_future<ModelHashes> hashes_;
};

}  // namespace sdgen::cli
