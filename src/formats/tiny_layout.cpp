#include "formats/tiny_layout.h"

#include <array>

#include "sdgen/error.h"

namespace sdgen {
namespace {

// Where the layers of one half are: prefix + (number + first) + rest.
struct Half {
  const TensorTable& table;
  std::string prefix;
  int first;  // what the file numbers diffusers' layer 0

  bool has(std::int64_t layer, const char* rest) const {
    return table.find(concat(prefix, layer + first, rest)) != nullptr;
  }
  std::int64_t dim(std::int64_t layer, std::size_t index) const {
    const StoredTensor* entry = table.find(concat(prefix, layer + first, ".weight"));
    if (!entry || entry->shape.size() != 4)
      throw Error(Fault::input, concat(table.source(), ": no convolution '", prefix, layer + first,
                                       ".weight'; the tiny autoencoder is incomplete"));
    return entry->shape[index];
  }
};

// How many blocks each level has: they follow the encoder's convolutions and stand before the decoder's.
std::vector<std::int64_t> encoder_blocks(const Half& half) {
  std::vector<std::int64_t> blocks;
  for (std::int64_t layer = 0; layer == 0 || !half.has(layer, ".bias");) {
    half.dim(layer++, 0);
    for (blocks.push_back(0); half.has(layer, ".conv.0.weight"); ++layer) ++blocks.back();
  }
  return blocks;
}

std::vector<std::int64_t> decoder_blocks(const Half& half) {
  std::vector<std::int64_t> blocks;
  for (std::int64_t layer = 2;; ++layer) {
    for (blocks.push_back(0); half.has(layer, ".conv.0.weight"); ++layer) ++blocks.back();
    if (half.has(layer, ".weight")) return blocks;  // the last level is not doubled
    half.dim(++layer, 0);
  }
}

}  // namespace

std::optional<ForeignComponent> tiny_autoencoder(const TensorTable& table) {
  struct Names {
    const char *encoder, *decoder;
    int first;
  };
  constexpr std::array names = {Names{"encoder.layers.", "decoder.layers.", 0}, Names{"encoder.", "decoder.", 1},
                                Names{"taesd_encoder.", "taesd_decoder.", 1}, Names{nullptr, "", 1}};
  for (const auto& [encoder, decoder, first] : names) {
    const Half out{table, decoder, first};
    if (!out.has(0, ".weight") || !out.has(2, ".conv.0.weight")) continue;
    const std::vector<std::int64_t> blocks = decoder_blocks(out);
    Json json = {{"_class_name", "AutoencoderTiny"},
                 {"latent_channels", out.dim(0, 1)},
                 {"num_decoder_blocks", blocks},
                 {"num_encoder_blocks", std::vector<std::int64_t>(blocks.rbegin(), blocks.rend())}};
    const Half in{table, encoder ? encoder : "", 0};
    if (encoder && in.has(0, ".weight")) json["num_encoder_blocks"] = encoder_blocks(in);
    for (const char* key : {"encoder_block_out_channels", "decoder_block_out_channels"})
      json[key] = std::vector<std::int64_t>(blocks.size(), out.dim(0, 0));
    const auto locate = [encoder = encoder, decoder = decoder, first = first](const std::string& name) -> Place {
      constexpr std::string_view in = "encoder.layers.", out = "decoder.layers.";
      if (encoder && name.starts_with(in)) return encoder + name.substr(in.size());
      if (!name.starts_with(out)) return name;
      const std::size_t dot = name.find('.', out.size());
      return concat(decoder, std::stoi(name.substr(out.size())) + first, name.substr(dot));
    };
    return ForeignComponent{Config(std::move(json), table.source()), locate, ""};
  }
  return {};
}

}  // namespace sdgen
