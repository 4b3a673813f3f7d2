#include "io/bitsandbytes.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "io/decode.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::string_view kState = ".quant_state.bitsandbytes__";  // and the type's name
constexpr std::array kBlockSizes{32, 64, 128, 256, 512, 1024, 2048, 4096};

struct FourBits {
  const char* name;
  Encoding encoding;
};
constexpr std::array kTypes{FourBits{"nf4", Encoding::NF4}, FourBits{"fp4", Encoding::FP4}};

struct FloatType {
  const char* name;
  Encoding encoding;
};
constexpr std::array kFloats{FloatType{"float32", Encoding::F32}, FloatType{"float16", Encoding::F16},
                             FloatType{"bfloat16", Encoding::BF16}};

// What the description of a tensor of four bits says.
class State {
 public:
  State(Json said, std::string who) : said_(std::move(said)), who_(std::move(who)) {
    if (!said_.is_object()) fail("is not an object");
  }

  template <class... Words>
  [[noreturn]] void fail(const Words&... words) const {
    throw Error(Fault::input, concat(who_, ' ', words...));
  }
  const std::string& who() const { return who_; }

  std::string text(const char* key) const {
    const auto found = said_.find(key);
    if (found == said_.end() || !found->is_string()) fail("has no ", key, ", expected a name");
    return found->get<std::string>();
  }
  std::uint64_t integer(const char* key) const {
    const auto found = said_.find(key);
    if (found == said_.end() || !found->is_number_unsigned()) fail("has no ", key, ", expected a number");
    return found->get<std::uint64_t>();
  }
  float number(const char* key) const {
    const auto found = said_.find(key);
    const double value = found != said_.end() && found->is_number() ? found->get<double>() : NAN;
    if (!std::isfinite(static_cast<float>(value))) fail("has no ", key, ", expected a finite number");
    return static_cast<float>(value);
  }
  std::vector<std::int64_t> shape() const {
    constexpr std::size_t kMostRank = 8;
    const auto found = said_.find("shape");
    std::vector<std::int64_t> sizes;
    if (found == said_.end() || !found->is_array() || found->empty() || found->size() > kMostRank)
      fail("has no shape of up to ", kMostRank, " sizes");
    for (const Json& size : *found) {
      if (!size.is_number_unsigned() || size.get<std::uint64_t>() == 0 || size.get<std::uint64_t>() > INT64_MAX)
        fail("has a shape with ", printable(line_of_json(size)), ", expected numbers above 0");
      sizes.push_back(size.get<std::int64_t>());
    }
    if (!checked_elements(sizes)) fail("has a shape that overflows 64 bits");
    return sizes;
  }
  // Numbers that share a scale: of codes, or of the scales that are codes.
  std::uint64_t block(const char* key) const {
    const std::uint64_t size = integer(key);
    if (std::ranges::find(kBlockSizes, size) == kBlockSizes.end())
      fail("has ", key, ' ', size, ", expected a power of two from ", kBlockSizes.front(), " to ", kBlockSizes.back());
    return size;
  }
  Encoding type(const char* key) const {
    const std::string name = text(key);
    const auto found = std::ranges::find(kFloats, name, &FloatType::name);
    if (found == kFloats.end()) fail("has ", key, " '", printable(name), "', expected float32, float16 or bfloat16");
    return found->encoding;
  }

 private:
  Json said_;
  std::string who_;
};

bool is_float(Encoding encoding) {
  return encoding == Encoding::F32 || encoding == Encoding::F16 || encoding == Encoding::BF16;
}

// A tensor beside the codes, of so many numbers; it leaves the table.
TensorTable::Entry& beside(TensorEntries& tensors, TensorTable::Described& described, const State& state,
                           const std::string& name, std::uint64_t count, bool codes = false) {
  TensorTable::Entry* entry = take(tensors, described, name);
  if (!entry) state.fail("describes codes without '", printable(name), "'");
  const Encoding encoding = entry->where->encoding;
  if (codes ? encoding != Encoding::U8 : !is_float(encoding))
    state.fail("describes codes whose '", printable(name), "' is stored as ", info_of(encoding).name, ", expected ",
               codes ? "U8" : "F32");
  if (entry->where->elements() != count)
    state.fail("describes codes whose '", printable(name), "' has ", entry->where->elements(), " numbers, expected ",
               count);
  return *entry;
}

std::uint64_t blocks_of(std::uint64_t count, std::uint64_t size) { return count / size + (count % size != 0 ? 1 : 0); }

// bitsandbytes itself multiplies by the type's own list, whatever a file says.
void require_own_list(const State& state, const TensorTable::Entry& map, Encoding encoding) {
  constexpr float kNear = 1e-4F;  // some versions rounded it
  for (std::uint32_t code = 0; code < 16; ++code) {
    const std::byte pair{static_cast<std::uint8_t>(code << 4)};
    std::array<float, 2> own{};
    float said = 0;
    decode(encoding, {&pair, 1}, own.data());
    read_floats(map, code, 1, &said);
    if (!(std::fabs(said - own[0]) <= kNear))
      state.fail("describes codes whose quant_map says ", said, " for ", code, ", ", info_of(encoding).name, " has ",
                 own[0]);
  }
}

void describe_four_bits(TensorEntries& tensors, TensorTable::Described& described, const std::string& name,
                        const State& state, std::string_view type) {
  const std::string said = state.text("quant_type");
  const auto known = std::ranges::find(kTypes, type, [](const FourBits& t) { return std::string_view(t.name); });
  if (known == kTypes.end() || said != type)
    state.fail("has quant_type '", printable(said), "', expected nf4 or fp4, as its name says");
  const auto codes = tensors.find(name);
  if (codes == tensors.end()) state.fail("describes '", printable(name), "', which is not there");
  TensorTable::Entry& entry = codes->second;

  StoredTensor numbers{known->encoding, state.shape(), entry.where->begin, entry.where->end};
  const std::uint64_t count = numbers.elements(), bytes = blocks_of(count, info_of(known->encoding).elements);
  if (entry.where->bytes() != bytes)
    state.fail("says that '", printable(name), "' is ", print_shape(numbers.shape), ", whose codes take ", bytes,
               " bytes; it has ", entry.where->bytes());
  entry.scaling.span = state.block("blocksize");
  entry.scaling.rounded = state.type("dtype");
  require_own_list(state, beside(tensors, described, state, name + ".quant_map", 16), known->encoding);

  const std::uint64_t scales = blocks_of(count, entry.scaling.span);
  const bool nested = tensors.contains(name + ".nested_absmax");
  TensorTable::Entry& scale = beside(tensors, described, state, name + ".absmax", scales, nested);
  if (nested) {
    scale.scaling.span = state.block("nested_blocksize");
    scale.scaling.offset = state.number("nested_offset");
    if (state.type("nested_dtype") != Encoding::F32) state.fail("has a nested_dtype that is not float32");
    const TensorTable::Entry& map = beside(tensors, described, state, name + ".nested_quant_map", 256);
    scale.scaling.table.resize(256);
    read_floats(map, 0, 256, scale.scaling.table.data());
    scale.scale = &beside(tensors, described, state, name + ".nested_absmax", blocks_of(scales, scale.scaling.span));
  }
  entry.scale = &scale;
  entry.where = &described.tensors.emplace(name, std::move(numbers)).first->second;
}

// Of a layer X: X.weight and X.SCB.
void describe_eight_bits(const std::string& source, TensorEntries& tensors, TensorTable::Described& described,
                         const std::string& layer) {
  const std::string name = layer + ".SCB";
  const auto fail = [&](const auto&... what) {
    throw Error(Fault::input, concat(source, ": '", printable(name), "' ", what...));
  };
  const auto codes = tensors.find(layer + ".weight");
  if (codes == tensors.end()) fail("has the scales of a layer that is not there");
  TensorTable::Entry& entry = codes->second;
  const StoredTensor& where = *entry.where;
  if (where.encoding != Encoding::I8 || where.shape.size() != 2 || where.elements() == 0)
    fail("has the scales of an int8 matrix, but the weight is ", print_shape(where.shape), " of ",
         info_of(where.encoding).name);
  TensorTable::Entry& scale = *take(tensors, described, name);
  const auto rows = static_cast<std::uint64_t>(where.shape[0]);
  if (!is_float(scale.where->encoding)) fail("is stored as ", info_of(scale.where->encoding).name, ", expected F32");
  if (scale.where->elements() != rows)
    fail("has ", scale.where->elements(), " numbers, expected one for each of the ", rows, " rows");
  if (const auto* format = take(tensors, described, layer + ".weight_format")) {
    std::array<std::byte, 1> number{};
    if (format->where->bytes() != 1)
      fail("is beside a weight_format of ", format->where->bytes(), " bytes, expected 1");
    format->file->read(*format->where, 0, number);
    if (number[0] != std::byte{0})
      fail("is beside a weight in the format ", std::to_integer<int>(number[0]),
           ", expected 0: rows (save it with a bitsandbytes of 2025 or newer)");
  }
  entry.scaling.span = where.elements() / rows;
  entry.scaling.factor = 1.0F / 127;
  entry.scale = &scale;
}

}  // namespace

void describe_bitsandbytes(const std::string& source, TensorEntries& tensors, TensorTable::Described& described) {
  std::vector<std::string> states, layers;
  for (const auto& [name, entry] : tensors) {
    if (name.find(kState) != name.npos) states.push_back(name);
    if (name.ends_with(".SCB")) layers.push_back(name.substr(0, name.size() - 4));
  }
  for (const std::string& name : states) {
    const std::string who = concat(source, ": '", printable(name), "'");
    const State state(json_in(*take(tensors, described, name), who), who);
    const std::size_t at = name.find(kState);
    describe_four_bits(tensors, described, name.substr(0, at), state,
                       std::string_view(name).substr(at + kState.size()));
  }
  for (const std::string& layer : layers) describe_eight_bits(source, tensors, described, layer);
}

}  // namespace sdgen
