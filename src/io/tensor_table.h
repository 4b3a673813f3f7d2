// The tensors of one or more files together, and where a network finds its own among them. No torch here.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/scaling.h"
#include "io/tensor_file.h"

namespace sdgen {

// Immutable after construction; the files stay open, so that what was checked is what is read.
//
// Codes whose numbers are multiplied by scales (ComfyUI's float8 and int8, bitsandbytes) are one tensor with them, of
// the shape and encoding of its numbers: neither scales nor what else describes the codes has a name here.
class TensorTable {
 public:
  struct Entry {
    const TensorFile* file;
    const StoredTensor* where;
    Scaling scaling = {};
    const Entry* scale = nullptr;  // the scales, which may be codes, too; null: none
  };
  // What describes codes, kept with the table: by the names that it has in the files.
  struct Described {
    std::map<std::string, Entry, std::less<>> scales;
    std::map<std::string, StoredTensor, std::less<>> tensors;  // codes by the shape and encoding of their numbers
  };

  // Reads headers, and what describes codes. Throws Error(input) for a malformed file, a name that two shards hold, and
  // codes that are not supported.
  explicit TensorTable(const std::vector<std::filesystem::path>& files);
  // The same but for tensors that are elsewhere as well: there they are read.
  TensorTable(std::shared_ptr<const TensorTable> table, std::unique_ptr<const TensorFile> instead);

  // For error messages: the file, or the folder of the shards.
  const std::string& source() const { return source_; }
  const std::map<std::string, Entry, std::less<>>& tensors() const { return tensors_; }
  // On the disk.
  const std::vector<std::unique_ptr<const TensorFile>>& files() const { return table_ ? table_->files() : files_; }
  // Null when absent.
  const StoredTensor* find(std::string_view name) const;

 private:
  std::string source_;
  std::shared_ptr<const TensorTable> table_;  // whose other tensors these are; null: none
  std::vector<std::unique_ptr<const TensorFile>> files_;
  std::map<std::string, Entry, std::less<>> tensors_;
  Described described_;
};

// Are its numbers known, with read_floats()? Not integers, which mean nothing by themselves.
bool has_numbers(const TensorTable::Entry& entry);

// What it takes in its file, scales included.
std::uint64_t stored_bytes(const TensorTable::Entry& entry);

// `count` numbers from the one with this index on, in float32. Thread-safe. Throws Error(input) where the file cannot
// be read. Requires has_numbers().
void read_floats(const TensorTable::Entry& entry, std::uint64_t first, std::uint64_t count, float* to);

// "[320,4,3,3]"
std::string print_shape(Shape shape);
// The same but for ones at the end: a 1x1 kernel and a matrix hold the same numbers and stand for each other.
bool same_but_for_ones(Shape a, Shape b);
// Is it what is expected, in this sense? GGUF leaves out ones at the beginning: a file may lack them.
bool is_shape(Shape stored, Shape expected);

// Where the numbers of a tensor lie: under another name, as rows of a stack, with halves that changed places, or
// transposed.
struct Place {
  Place(std::string name, int part = 0, int parts = 1, bool transposed = false)
      : name(std::move(name)), part(part), parts(parts), transposed(transposed) {}
  std::string name;
  int part, parts;  // the tensor's rows begin with this part of the stack's, of so many of one height
  bool transposed;
  int count = 1;         // of the parts that are the tensor's
  bool swapped = false;  // the second half of its rows lies before the first

  // The tensor as it is: all that lies there.
  bool whole() const { return parts == 1 && !transposed && !swapped; }
};
// From the full name that a network asks for to where the files have it.
using Locate = std::function<Place(const std::string& name)>;

}  // namespace sdgen
