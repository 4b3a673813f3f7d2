#include "formats/transformer_layout.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "formats/components.h"
#include "formats/text_layout.h"
#include "formats/training.h"
#include "formats/unet_walk.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// --- Names

// A module of diffusers', or a tensor that is in none, and where the file has it.
struct NameRow {
  const char *own, *file;
  int part = 0, parts = 1;
  bool swapped = false;
};

struct NameTable {
  std::span<const NameRow> outside;  // of the blocks
  const char* block;                 // blocks are called so in the file, with a number
  std::span<const NameRow> inside;
  const char* swapped_in_last = "";  // a module of the last block alone whose halves are swapped
};

constexpr const char* kBlock = "transformer_blocks.";  // diffusers' name

constexpr NameRow kSd3Outside[] = {{"pos_embed.proj", "x_embedder.proj"},
                                   {"pos_embed.pos_embed", "pos_embed"},
                                   {"time_text_embed.timestep_embedder.linear_1", "t_embedder.mlp.0"},
                                   {"time_text_embed.timestep_embedder.linear_2", "t_embedder.mlp.2"},
                                   {"time_text_embed.text_embedder.linear_1", "y_embedder.mlp.0"},
                                   {"time_text_embed.text_embedder.linear_2", "y_embedder.mlp.2"},
                                   {"norm_out.linear", "final_layer.adaLN_modulation.1", 0, 1, /*swapped=*/true},
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
constexpr NameTable kSd3Names{kSd3Outside, "joint_blocks.", kSd3Block, "norm1_context.linear"};

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
constexpr NameTable kPixArtNames{kPixArtOutside, "blocks.", kPixArtBlock};

// The place of a tensor of one of these modules; nothing for others.
std::optional<Place> placed(std::span<const NameRow> rows, const std::string& before, std::string_view name) {
  for (const NameRow& row : rows) {
    if (!name.starts_with(row.own)) continue;
    const std::string_view leaf = name.substr(std::string_view(row.own).size());
    if (!leaf.empty() && (leaf[0] != '.' || leaf.find('.', 1) != leaf.npos)) continue;
    Place place(concat(before, row.file, leaf), row.part, row.parts);
    place.swapped = row.swapped;
    return place;
  }
  return std::nullopt;
}

Locate locate_in(const NameTable& names, const std::string& prefix, std::int64_t blocks) {
  return [&names, prefix, last = std::to_string(blocks - 1)](const std::string& name) -> Place {
    constexpr std::size_t begin = std::string_view(kBlock).size();
    if (!name.starts_with(kBlock)) return placed(names.outside, prefix, name).value_or(Place(prefix + name));
    const std::size_t dot = name.find('.', begin);
    if (dot == name.npos) return prefix + name;
    const std::string number = name.substr(begin, dot - begin);
    const std::string_view rest = std::string_view(name).substr(dot + 1);
    std::optional<Place> place = placed(names.inside, concat(prefix, names.block, number, '.'), rest);
    if (!place) return prefix + name;
    const std::string_view module = rest.substr(0, rest.rfind('.'));
    if (number == last && module == names.swapped_in_last) place->swapped = true;
    return *place;
  };
}

// --- Structure

// A transformer of a file, by diffusers' names.
struct Found {
  Keys keys;  // of the file's own
  Locate locate;
  std::int64_t blocks;

  std::string at(const std::string& name) const { return locate(name).name.substr(keys.prefix().size()); }
  bool has(const std::string& name) const { return keys.has(at(name)); }
  std::int64_t dim(const std::string& name, std::size_t index) const { return keys.dim(at(name), index); }

  // The side of a square of so many.
  std::int64_t side(std::int64_t count, const std::string& name) const {
    const auto side = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(count))));
    if (side * side != count)
      keys.fail(concat("tensor '", at(name), "' has ", count, " positions, which are no square"));
    return side;
  }
  // What the convolution of its patches, and its last layer, say.
  Json patches() const {
    const std::string proj = "pos_embed.proj.weight";
    const std::int64_t patch = dim(proj, 2), out = dim("proj_out.weight", 0);
    if (patch < 1 || patch > 64 || out % (patch * patch) != 0)
      keys.fail(concat("tensor '", at("proj_out.weight"), "' has ", out, " rows, which are no patches of ", patch, "x",
                       patch, " channels"));
    return {{"patch_size", patch}, {"in_channels", dim(proj, 1)}, {"out_channels", out / (patch * patch)}};
  }
  // What is left for heads of `wide` channels.
  std::int64_t heads(std::int64_t width, std::int64_t wide) const {
    if (wide < 1 || width % wide != 0)
      keys.fail(concat("the transformer is ", width, " channels wide, which are no heads of ", wide));
    return width / wide;
  }
};

// One of the kinds of transformers that are known.
struct TransformerKind {
  const char* network;  // diffusers' class
  NameTable names;
  const char* original;                  // names begin so in its makers' layout
  std::array<const char*, 2> diffusers;  // and so, all of them, in diffusers'
  // Its model but for the parts, whose config it gets.
  OriginalCheckpoint (*model)(const Found& found, Json& config);
  std::vector<const char*> unused = {};  // what training alone has a use for
};

OriginalCheckpoint sd3_model(const Found& found, Json& config) {
  const std::int64_t width = found.dim("pos_embed.proj.weight", 0);
  const bool normed = found.has("transformer_blocks.0.attn.norm_q.weight");
  const std::int64_t wide = normed ? found.dim("transformer_blocks.0.attn.norm_q.weight", 0) : kHeadWidth;
  Json dual = Json::array();
  for (std::int64_t i = 0; i < found.blocks; ++i)
    if (found.has(concat(kBlock, i, ".attn2.to_q.weight"))) dual.push_back(i);
  const std::string table = "pos_embed.pos_embed";
  config.update({{"sample_size", 128},
                 {"num_layers", found.blocks},
                 {"attention_head_dim", wide},
                 {"num_attention_heads", found.heads(width, wide)},
                 {"joint_attention_dim", found.dim("context_embedder.weight", 1)},
                 {"caption_projection_dim", width},
                 {"pooled_projection_dim", found.dim("time_text_embed.text_embedder.linear_1.weight", 1)},
                 {"pos_embed_max_size", found.side(found.dim(table, 1), table)},
                 {"dual_attention_layers", dual},
                 {"qk_norm", normed ? Json("rms_norm") : Json(nullptr)}});
  OriginalCheckpoint c{
      .pipeline_class = "StableDiffusion3Pipeline",
      .index = Json::object(),
      .scheduler = {{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"num_train_timesteps", 1000}, {"shift", 3.0}},
      .components = {}};
  c.scaling = kSd3Scaling;
  c.notes = {"1024x1024, and a schedule with shift 3, are taken for its own, as of all that were released"};
  if (!normed) c.notes.push_back(concat("its attention has ", width / wide, " heads, of 64 channels"));
  if (normed && dual.empty())
    c.notes.emplace_back(
        "Stable Diffusion 3.5 large and its turbo have the same tensors: as the first one (turbo wants 4 steps without "
        "guidance)");
  return c;
}

// What T5 would have said of no prompt, for as many tokens as it is told, and where the patches of a picture are.
constexpr const char *kUnprompted = "y_embedder.y_embedding", *kPositions = "pos_embed";

OriginalCheckpoint pixart_model(const Found& found, Json& config) {
  constexpr std::int64_t kHeads = 16;
  const std::int64_t width = found.dim("pos_embed.proj.weight", 0);
  if (width % kHeads != 0)
    found.keys.fail(concat("the transformer is ", width, " channels wide, which ", kHeads, " heads do not divide"));
  const bool told_sizes = found.has("adaln_single.emb.resolution_embedder.linear_1.weight");
  const std::int64_t tokens = found.keys.has(kUnprompted) ? found.keys.dim(kUnprompted, 0) : 0;
  const bool alpha = tokens > 0 ? tokens <= 120 : told_sizes;
  const bool placed = found.keys.has(kPositions) && found.keys.rank(kPositions) == 3;
  const std::int64_t side =
      placed ? found.side(found.keys.dim(kPositions, 1), kPositions) * config.at("patch_size").get<std::int64_t>()
             : 128;
  const double scale = static_cast<double>(side) / 64;  // to the pictures of 512x512 that it began with
  config.update({{"sample_size", side},
                 {"num_layers", found.blocks},
                 {"num_attention_heads", kHeads},
                 {"attention_head_dim", width / kHeads},
                 {"cross_attention_dim", width},
                 {"caption_channels", found.dim("caption_projection.linear_1.weight", 1)},
                 {"interpolation_scale", alpha ? std::max(scale, 1.0) : scale},
                 {"use_additional_conditions", told_sizes},
                 {"norm_type", "ada_norm_single"},
                 {"norm_elementwise_affine", false}});
  OriginalCheckpoint c{.pipeline_class = alpha ? "PixArtAlphaPipeline" : "PixArtSigmaPipeline",
                       .index = Json::object(),
                       .scheduler = {{"_class_name", "DPMSolverMultistepScheduler"},
                                     {"algorithm_type", "dpmsolver++"},
                                     {"beta_start", 0.0001},
                                     {"beta_end", 0.02},
                                     {"beta_schedule", "linear"},
                                     {"num_train_timesteps", 1000},
                                     {"solver_order", 2}},
                       .components = {}};
  c.scaling = alpha ? kSdScaling : kSdxlScaling;
  if (tokens == 0)
    c.notes.push_back(concat("it is taken for PixArt-", alpha ? "alpha" : "Sigma", ", because it is ",
                             told_sizes ? "" : "not ", "told sizes"));
  if (!placed) c.notes.push_back("pictures of 1024x1024 are assumed");
  c.notes.push_back(concat("its attention has ", kHeads, " heads"));
  return c;
}

const TransformerKind kTransformers[] = {
    {"SD3Transformer2DModel",
     kSd3Names,
     "joint_blocks.",
     {"transformer_blocks.0.attn.add_q_proj.", "pos_embed.pos_embed"},
     sd3_model},
    {"PixArtTransformer2DModel",
     kPixArtNames,
     "t_block.",
     {"adaln_single.linear.", "pos_embed.proj."},
     pixart_model,
     {kUnprompted, kPositions}},
};

struct FoundKind {
  const TransformerKind* kind;
  Found found;
};

std::optional<FoundKind> find_transformer(const TensorTable& table) {
  for (const char* prefix : {"model.diffusion_model.", "diffusion_model.", "transformer.", ""}) {
    const Keys keys(table, prefix);
    for (const TransformerKind& kind : kTransformers) {
      if (keys.any(kind.original)) {
        const std::int64_t blocks = keys.numbered(kind.names.block);
        return FoundKind{&kind, {keys, locate_in(kind.names, prefix, blocks), blocks}};
      }
      if (std::ranges::all_of(kind.diffusers, [&keys](const char* front) { return keys.any(front); })) {
        const Locate locate = [prefix = std::string(prefix)](const std::string& name) { return Place(prefix + name); };
        return FoundKind{&kind, {keys, locate, keys.numbered(kBlock)}};
      }
    }
  }
  return std::nullopt;
}

// --- What else is in the file

// Text encoders, where ComfyUI saves them.
void add_text_encoders_inside(OriginalCheckpoint& c, const Companions& companions, const TensorTable& table) {
  for (const Companions::Text& text : companions.text) {
    const bool t5 = text.architecture == Architecture::t5;
    const std::string prefix = concat("text_encoders.", text.file, ".transformer.");
    if (t5 ? !t5_in(table, prefix) : !clip_in(table, prefix)) continue;
    const ClipUse use =
        component_class(model_part(text.part).usual_class).projects ? ClipUse::projected : ClipUse::plain;
    c.components.emplace(text.part, t5 ? t5_text(table, prefix) : clip_text(table, prefix, use));
  }
}

}  // namespace

std::optional<OriginalCheckpoint> transformer_checkpoint(const TensorTable& table) {
  const std::optional<FoundKind> transformer = find_transformer(table);
  if (!transformer) return std::nullopt;
  const auto& [kind, found] = *transformer;
  Json config = found.patches();
  OriginalCheckpoint c = kind->model(found, config);
  config["_class_name"] = kind->network;
  const Architecture architecture = component_class(kind->network).architecture;
  ForeignComponent network{Config(std::move(config), table.source() + ": transformer"), found.locate,
                           found.keys.prefix()};
  for (const char* name : kind->unused) network.unused.insert(network.prefix + name);
  c.components.emplace("transformer", std::move(network));
  add_text_encoders_inside(c, *companions_of(architecture), table);
  if (auto vae = autoencoder(table, c.scaling)) c.components.emplace("vae", std::move(*vae));
  c.defaults.update(said_size(table));
  return c;
}

}  // namespace sdgen
