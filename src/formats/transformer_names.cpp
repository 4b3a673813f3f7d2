#include "formats/transformer_names.h"

#include <algorithm>
#include <optional>

#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr NameRow kSd3Outside[] = {{"pos_embed.proj", "x_embedder.proj"},
                                   {"pos_embed.pos_embed", "pos_embed"},
                                   {"time_text_embed.timestep_embedder.linear_1", "t_embedder.mlp.0"},
                                   {"time_text_embed.timestep_embedder.linear_2", "t_embedder.mlp.2"},
                                   {"time_text_embed.text_embedder.linear_1", "y_embedder.mlp.0"},
                                   {"time_text_embed.text_embedder.linear_2", "y_embedder.mlp.2"},
                                   {"norm_out.linear", "final_layer.adaLN_modulation.1", 0, 1, 1, /*swapped=*/true},
                                   {"proj_out", "final_layer.linear"}};
constexpr NameRow kSd3Block[] = {{"attn.to_q", "x_block.attn.qkv", 0, 3},
                                 {"attn.to_k", "x_block.attn.qkv", 1, 3},
                                 {"attn.to_v", "x_block.attn.qkv", 2, 3},
                                 {"attn.norm_q", "x_block.attn.ln_q"},
                                 {"attn.norm_k", "x_block.attn.ln_k"},
                                 {"attn.to_out.0", "x_block.attn.proj"},
                                 {"attn.add_q_proj", "context_block.attn.qkv", 0, 3},
                                 {"attn.add_k_proj", "context_block.attn.qkv", 1, 3},
                                 {"attn.add_v_proj", "context_block.attn.qkv", 2, 3},
                                 {"attn.norm_added_q", "context_block.attn.ln_q"},
                                 {"attn.norm_added_k", "context_block.attn.ln_k"},
                                 {"attn.to_add_out", "context_block.attn.proj"},
                                 {"attn2.to_q", "x_block.attn2.qkv", 0, 3},
                                 {"attn2.to_k", "x_block.attn2.qkv", 1, 3},
                                 {"attn2.to_v", "x_block.attn2.qkv", 2, 3},
                                 {"attn2.norm_q", "x_block.attn2.ln_q"},
                                 {"attn2.norm_k", "x_block.attn2.ln_k"},
                                 {"attn2.to_out.0", "x_block.attn2.proj"},
                                 {"norm1.linear", "x_block.adaLN_modulation.1"},
                                 {"norm1_context.linear", "context_block.adaLN_modulation.1"},
                                 {"ff.net.0.proj", "x_block.mlp.fc1"},
                                 {"ff.net.2", "x_block.mlp.fc2"},
                                 {"ff_context.net.0.proj", "context_block.mlp.fc1"},
                                 {"ff_context.net.2", "context_block.mlp.fc2"}};
constexpr NumberedBlocks kSd3Blocks[] = {{kBlock, "joint_blocks.", kSd3Block, "norm1_context.linear"}};

constexpr NameRow kPixArtOutside[] = {{"pos_embed.proj", "x_embedder.proj"},
                                      {"caption_projection.linear_1", "y_embedder.y_proj.fc1"},
                                      {"caption_projection.linear_2", "y_embedder.y_proj.fc2"},
                                      {"adaln_single.emb.timestep_embedder.linear_1", "t_embedder.mlp.0"},
                                      {"adaln_single.emb.timestep_embedder.linear_2", "t_embedder.mlp.2"},
                                      {"adaln_single.emb.resolution_embedder.linear_1", "csize_embedder.mlp.0"},
                                      {"adaln_single.emb.resolution_embedder.linear_2", "csize_embedder.mlp.2"},
                                      {"adaln_single.emb.aspect_ratio_embedder.linear_1", "ar_embedder.mlp.0"},
                                      {"adaln_single.emb.aspect_ratio_embedder.linear_2", "ar_embedder.mlp.2"},
                                      {"adaln_single.linear", "t_block.1"},
                                      {"scale_shift_table", "final_layer.scale_shift_table"},
                                      {"proj_out", "final_layer.linear"}};
constexpr NameRow kPixArtBlock[] = {{"scale_shift_table", "scale_shift_table"},
                                    {"attn1.to_q", "attn.qkv", 0, 3},
                                    {"attn1.to_k", "attn.qkv", 1, 3},
                                    {"attn1.to_v", "attn.qkv", 2, 3},
                                    {"attn1.to_out.0", "attn.proj"},
                                    {"attn2.to_q", "cross_attn.q_linear"},
                                    {"attn2.to_k", "cross_attn.kv_linear", 0, 2},
                                    {"attn2.to_v", "cross_attn.kv_linear", 1, 2},
                                    {"attn2.to_out.0", "cross_attn.proj"},
                                    {"ff.net.0.proj", "mlp.fc1"},
                                    {"ff.net.2", "mlp.fc2"}};
constexpr NumberedBlocks kPixArtBlocks[] = {{kBlock, "blocks.", kPixArtBlock}};

constexpr NameRow kFluxOutside[] = {{"x_embedder", "img_in"},
                                    {"context_embedder", "txt_in"},
                                    {"time_text_embed.timestep_embedder.linear_1", "time_in.in_layer"},
                                    {"time_text_embed.timestep_embedder.linear_2", "time_in.out_layer"},
                                    {"time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer"},
                                    {"time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer"},
                                    {"time_text_embed.text_embedder.linear_1", "vector_in.in_layer"},
                                    {"time_text_embed.text_embedder.linear_2", "vector_in.out_layer"},
                                    {"norm_out.linear", "final_layer.adaLN_modulation.1", 0, 1, 1, /*swapped=*/true},
                                    {"proj_out", "final_layer.linear"}};
constexpr NameRow kFluxDouble[] = {{"norm1.linear", "img_mod.lin"},
                                   {"norm1_context.linear", "txt_mod.lin"},
                                   {"attn.to_q", "img_attn.qkv", 0, 3},
                                   {"attn.to_k", "img_attn.qkv", 1, 3},
                                   {"attn.to_v", "img_attn.qkv", 2, 3},
                                   {"attn.norm_q.weight", "img_attn.norm.query_norm.scale"},
                                   {"attn.norm_k.weight", "img_attn.norm.key_norm.scale"},
                                   {"attn.to_out.0", "img_attn.proj"},
                                   {"attn.add_q_proj", "txt_attn.qkv", 0, 3},
                                   {"attn.add_k_proj", "txt_attn.qkv", 1, 3},
                                   {"attn.add_v_proj", "txt_attn.qkv", 2, 3},
                                   {"attn.norm_added_q.weight", "txt_attn.norm.query_norm.scale"},
                                   {"attn.norm_added_k.weight", "txt_attn.norm.key_norm.scale"},
                                   {"attn.to_add_out", "txt_attn.proj"},
                                   {"ff.net.0.proj", "img_mlp.0"},
                                   {"ff.net.2", "img_mlp.2"},
                                   {"ff_context.net.0.proj", "txt_mlp.0"},
                                   {"ff_context.net.2", "txt_mlp.2"},
                                   {"ff.linear_in", "img_mlp.0"},  // of FLUX.2
                                   {"ff.linear_out", "img_mlp.2"},
                                   {"ff_context.linear_in", "txt_mlp.0"},
                                   {"ff_context.linear_out", "txt_mlp.2"}};
// Queries, keys, values, and four times as much for the feed-forward network, one on the other.
constexpr NameRow kFluxSingle[] = {{"norm.linear", "modulation.lin"},
                                   {"attn.to_q", "linear1", 0, 7},
                                   {"attn.to_k", "linear1", 1, 7},
                                   {"attn.to_v", "linear1", 2, 7},
                                   {"proj_mlp", "linear1", 3, 7, /*count=*/4},
                                   {"attn.norm_q.weight", "norm.query_norm.scale"},
                                   {"attn.norm_k.weight", "norm.key_norm.scale"},
                                   {"proj_out", "linear2"}};
constexpr NumberedBlocks kFluxBlocks[] = {{kBlock, "double_blocks.", kFluxDouble},
                                          {kSingleBlock, "single_blocks.", kFluxSingle}};

constexpr NameRow kZImageOutside[] = {{"all_x_embedder.2-1", "x_embedder"},
                                      {"all_final_layer.2-1.linear", "final_layer.linear"},
                                      {"all_final_layer.2-1.adaLN_modulation.1", "final_layer.adaLN_modulation.1"}};
constexpr NameRow kZImageLayer[] = {
    {"attention.to_q", "attention.qkv", 0, 3}, {"attention.to_k", "attention.qkv", 1, 3},
    {"attention.to_v", "attention.qkv", 2, 3}, {"attention.to_out.0", "attention.out"},
    {"attention.norm_q", "attention.q_norm"},  {"attention.norm_k", "attention.k_norm"}};
constexpr NumberedBlocks kZImageBlocks[] = {{kLayer, kLayer, kZImageLayer},
                                            {kPictureRefiner, kPictureRefiner, kZImageLayer},
                                            {kPromptRefiner, kPromptRefiner, kZImageLayer}};

constexpr NameRow kLumina2Outside[] = {{"time_caption_embed.caption_embedder.0", "cap_embedder.0"},
                                       {"time_caption_embed.caption_embedder.1", "cap_embedder.1"},
                                       {"time_caption_embed.timestep_embedder.linear_1", "t_embedder.mlp.0"},
                                       {"time_caption_embed.timestep_embedder.linear_2", "t_embedder.mlp.2"},
                                       {"norm_out.linear_1", "final_layer.adaLN_modulation.1"},
                                       {"norm_out.linear_2", "final_layer.linear"}};
// Three heads of queries share one of keys and values.
constexpr NameRow kLumina2Layer[] = {{"attn.to_q", "attention.qkv", 0, 5, /*count=*/3},
                                     {"attn.to_k", "attention.qkv", 3, 5},
                                     {"attn.to_v", "attention.qkv", 4, 5},
                                     {"attn.to_out.0", "attention.out"},
                                     {"attn.norm_q", "attention.q_norm"},
                                     {"attn.norm_k", "attention.k_norm"},
                                     {"norm1.linear", "adaLN_modulation.1"},
                                     {"norm1.norm", "attention_norm1"},
                                     {"norm1", "attention_norm1"},  // of layers that nothing moves
                                     {"norm2", "attention_norm2"},
                                     {"ffn_norm1", "ffn_norm1"},
                                     {"ffn_norm2", "ffn_norm2"},
                                     {"feed_forward.linear_1", "feed_forward.w1"},
                                     {"feed_forward.linear_2", "feed_forward.w2"},
                                     {"feed_forward.linear_3", "feed_forward.w3"}};
constexpr NumberedBlocks kLumina2Blocks[] = {{kLayer, kLayer, kLumina2Layer},
                                             {kPictureRefiner, kPictureRefiner, kLumina2Layer},
                                             {kPromptRefiner, kPromptRefiner, kLumina2Layer}};

constexpr NameRow kFlux2Outside[] = {{"x_embedder", "img_in"},
                                     {"context_embedder", "txt_in"},
                                     {"time_guidance_embed.timestep_embedder.linear_1", "time_in.in_layer"},
                                     {"time_guidance_embed.timestep_embedder.linear_2", "time_in.out_layer"},
                                     {"time_guidance_embed.guidance_embedder.linear_1", "guidance_in.in_layer"},
                                     {"time_guidance_embed.guidance_embedder.linear_2", "guidance_in.out_layer"},
                                     {"double_stream_modulation_img.linear", "double_stream_modulation_img.lin"},
                                     {"double_stream_modulation_txt.linear", "double_stream_modulation_txt.lin"},
                                     {"single_stream_modulation.linear", "single_stream_modulation.lin"},
                                     {"norm_out.linear", "final_layer.adaLN_modulation.1", 0, 1, 1, /*swapped=*/true},
                                     {"proj_out", "final_layer.linear"}};
constexpr NameRow kFlux2Single[] = {{"attn.to_qkv_mlp_proj", "linear1"},
                                    {"attn.to_out", "linear2"},
                                    {"attn.norm_q.weight", "norm.query_norm.scale"},
                                    {"attn.norm_k.weight", "norm.key_norm.scale"}};
constexpr NumberedBlocks kFlux2Blocks[] = {{kBlock, "double_blocks.", kFluxDouble},
                                           {kSingleBlock, "single_blocks.", kFlux2Single}};

constexpr NameRow kChromaLayer[] = {{"linear_1", "in_layer"}, {"linear_2", "out_layer"}};
constexpr NameRow kChromaNorm[] = {{"weight", "scale"}};
constexpr NumberedBlocks kChromaBlocks[] = {
    {kBlock, "double_blocks.", kFluxDouble},
    {kSingleBlock, "single_blocks.", kFluxSingle},
    {"distilled_guidance_layer.layers.", "distilled_guidance_layer.layers.", kChromaLayer},
    {"distilled_guidance_layer.norms.", "distilled_guidance_layer.norms.", kChromaNorm}};

constexpr NameRow kT5Outside[] = {{"shared", "token_embd"}, {"encoder.final_layer_norm", "enc.output_norm"}};
constexpr NameRow kT5Block[] = {{"layer.0.SelfAttention.q", "attn_q"},
                                {"layer.0.SelfAttention.k", "attn_k"},
                                {"layer.0.SelfAttention.v", "attn_v"},
                                {"layer.0.SelfAttention.o", "attn_o"},
                                {"layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"},
                                {"layer.0.layer_norm", "attn_norm"},
                                {"layer.1.DenseReluDense.wi_0", "ffn_gate"},
                                {"layer.1.DenseReluDense.wi_1", "ffn_up"},
                                {"layer.1.DenseReluDense.wo", "ffn_down"},
                                {"layer.1.layer_norm", "ffn_norm"}};
constexpr NameRow kDecoderOutside[] = {{"embed_tokens", "token_embd"}, {"norm", "output_norm"}};
constexpr NameRow kDecoderLayer[] = {{"self_attn.q_proj", "attn_q"},          {"self_attn.k_proj", "attn_k"},
                                     {"self_attn.v_proj", "attn_v"},          {"self_attn.o_proj", "attn_output"},
                                     {"self_attn.q_norm", "attn_q_norm"},     {"self_attn.k_norm", "attn_k_norm"},
                                     {"mlp.gate_proj", "ffn_gate"},           {"mlp.up_proj", "ffn_up"},
                                     {"mlp.down_proj", "ffn_down"},           {"input_layernorm", "attn_norm"},
                                     {"post_attention_layernorm", "ffn_norm"}};
constexpr NumberedBlocks kDecoderLayers[] = {{"layers.", "blk.", kDecoderLayer}};
constexpr NumberedBlocks kT5Blocks[] = {{"encoder.block.", "enc.blk.", kT5Block}};

constexpr NameRow kXlabsDouble[] = {
    {"attn.to_q", "processor.qkv_lora1", 0, 3},       {"attn.to_k", "processor.qkv_lora1", 1, 3},
    {"attn.to_v", "processor.qkv_lora1", 2, 3},       {"attn.to_out.0", "processor.proj_lora1"},
    {"attn.add_q_proj", "processor.qkv_lora2", 0, 3}, {"attn.add_k_proj", "processor.qkv_lora2", 1, 3},
    {"attn.add_v_proj", "processor.qkv_lora2", 2, 3}, {"attn.to_add_out", "processor.proj_lora2"}};
constexpr NameRow kXlabsSingle[] = {{"attn.to_q", "processor.qkv", 0, 3},
                                    {"attn.to_k", "processor.qkv", 1, 3},
                                    {"attn.to_v", "processor.qkv", 2, 3},
                                    {"proj_out", "processor.proj"}};
// Beside the copies of Flux's layers: a picture's pixels are folded first.
constexpr NameRow kXlabsControl[] = {
    {"controlnet_x_embedder", "pos_embed_input"},         {"input_hint_block.conv_in", "input_hint_block.0"},
    {"input_hint_block.blocks.0", "input_hint_block.2"},  {"input_hint_block.blocks.1", "input_hint_block.4"},
    {"input_hint_block.blocks.2", "input_hint_block.6"},  {"input_hint_block.blocks.3", "input_hint_block.8"},
    {"input_hint_block.blocks.4", "input_hint_block.10"}, {"input_hint_block.blocks.5", "input_hint_block.12"},
    {"input_hint_block.conv_out", "input_hint_block.14"}};
constexpr NumberedBlocks kXlabsBlocks[] = {{kBlock, "double_blocks.", kXlabsDouble},
                                           {kSingleBlock, "single_blocks.", kXlabsSingle}};

// The place of a tensor of one of these modules; nothing for others.
std::optional<Place> placed(std::span<const NameRow> rows, const std::string& before, std::string_view name) {
  for (const NameRow& row : rows) {
    if (!name.starts_with(row.own)) continue;
    const std::string_view leaf = name.substr(std::string_view(row.own).size());
    if (!leaf.empty() && (leaf[0] != '.' || leaf.find('.', 1) != leaf.npos)) continue;
    Place place(concat(before, row.file, leaf), row.part, row.parts);
    place.count = row.count;
    place.swapped = row.swapped;
    return place;
  }
  return std::nullopt;
}

// What of a transformer decides where its tensors lie.
struct Look {
  std::string prefix;
  std::map<std::string, std::string> last = {};  // the number of the last of these blocks, as a file has them
  bool weights = false;                          // as newer files of Flux call the scales of norms
  bool weighed_moves = false;                    // likewise, of those in the network that moves Chroma's blocks
};

Locate located(const NameTable& names, Look look) {
  return [&names, look = std::move(look)](const std::string& name) -> Place {
    for (const NumberedBlocks& blocks : names.blocks) {
      if (!name.starts_with(blocks.own)) continue;
      const std::size_t begin = std::string_view(blocks.own).size(), dot = name.find('.', begin);
      if (dot == name.npos) break;
      const std::string number = name.substr(begin, dot - begin);
      const std::string_view rest = std::string_view(name).substr(dot + 1);
      std::optional<Place> place = placed(blocks.rows, concat(look.prefix, blocks.file, number, '.'), rest);
      if (!place) break;
      const std::string_view module = rest.substr(0, rest.rfind('.'));
      if (number == look.last.at(blocks.file) && module == blocks.swapped_in_last) place->swapped = true;
      constexpr std::string_view scale = ".scale";
      const bool of_moves = place->name.ends_with("norms." + number + ".scale");  // of the network that moves Chroma's
      if (place->name.ends_with(scale) && (of_moves ? look.weighed_moves : look.weights))
        place->name.replace(place->name.size() - scale.size(), scale.size(), ".weight");
      return *std::move(place);
    }
    return placed(names.outside, look.prefix, name).value_or(Place(look.prefix + name));
  };
}

}  // namespace

const NameTable kSd3Names{kSd3Outside, kSd3Blocks};
const NameTable kPixArtNames{kPixArtOutside, kPixArtBlocks};
const NameTable kFluxNames{kFluxOutside, kFluxBlocks};
const NameTable kFlux2Names{kFlux2Outside, kFlux2Blocks};
const NameTable kChromaNames{kFluxOutside, kChromaBlocks};
const NameTable kZImageNames{kZImageOutside, kZImageBlocks};
const NameTable kLumina2Names{kLumina2Outside, kLumina2Blocks};
const NameTable kXlabsNames{{}, kXlabsBlocks};
const NameTable kXlabsControlNames{kXlabsControl, {}};
const NameTable kGgufT5Names{kT5Outside, kT5Blocks};
const NameTable kGgufDecoderNames{kDecoderOutside, kDecoderLayers};
const NameTable kQwenImageNames{{}, {}};

Locate original_names(const NameTable& names, const Keys& keys) {
  Look look{.prefix = keys.prefix(),
            .weights = keys.has("double_blocks.0.img_attn.norm.query_norm.weight"),
            .weighed_moves = keys.has("distilled_guidance_layer.norms.0.weight")};
  for (const NumberedBlocks& blocks : names.blocks)
    look.last[blocks.file] = std::to_string(keys.numbered(blocks.file) - 1);
  return located(names, std::move(look));
}

Locate original_names(const NameTable& names, const std::map<std::string, std::vector<std::int64_t>>& parameters) {
  Look look;
  for (const NumberedBlocks& blocks : names.blocks) {
    std::size_t count = 0;
    const auto has = [&](std::size_t number) {
      const std::string front = concat(blocks.own, number, '.');
      const auto next = parameters.lower_bound(front);
      return next != parameters.end() && next->first.starts_with(front);
    };
    while (has(count)) ++count;
    look.last[blocks.file] = std::to_string(count - std::min<std::size_t>(count, 1));
  }
  return located(names, std::move(look));
}

}  // namespace sdgen
