#include "formats/transformer_layout.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <filesystem>

#include "formats/components.h"
#include "formats/lora_summary.h"
#include "formats/qwen_layout.h"
#include "formats/text_layout.h"
#include "formats/training.h"
#include "formats/transformer_names.h"
#include "formats/unet_walk.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// A transformer of a file, by diffusers' names.
struct Found {
  Keys keys;  // of the file's own
  Locate locate;
  const NameTable* names;  // null: they are diffusers'

  std::string at(const std::string& name) const { return locate(name).name.substr(keys.prefix().size()); }
  bool has(const std::string& name) const { return keys.has(at(name)); }
  std::int64_t dim(const std::string& name, std::size_t index) const { return keys.dim(at(name), index); }

  // Of those that diffusers calls so.
  std::int64_t blocks(std::string_view own) const {
    if (names)
      for (const NumberedBlocks& blocks : names->blocks)
        if (own == blocks.own) return keys.numbered(blocks.file);
    return keys.numbered(std::string(own));
  }
  // The side of the square of positions in a table [1, positions, width], whose first size GGUF leaves out.
  std::int64_t side(const std::string& name) const {
    const std::int64_t count = dim(name, keys.rank(at(name)) - 2);
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
  const NameTable* names;
  std::vector<const char*> original;     // names begin so, all of them, in its makers' layout
  std::array<const char*, 2> diffusers;  // and so in diffusers'
  // Its model but for the parts, whose config it gets.
  OriginalCheckpoint (*model)(const Found& found, Json& config);
  std::vector<const char*> unused = {};  // what training alone has a use for
};

OriginalCheckpoint sd3_model(const Found& found, Json& config) {
  config.update(found.patches());
  const std::int64_t width = found.dim("pos_embed.proj.weight", 0);
  const bool normed = found.has("transformer_blocks.0.attn.norm_q.weight");
  const std::int64_t wide = normed ? found.dim("transformer_blocks.0.attn.norm_q.weight", 0) : kHeadWidth;
  Json dual = Json::array();
  const std::int64_t blocks = found.blocks(kBlock);
  for (std::int64_t i = 0; i < blocks; ++i)
    if (found.has(concat(kBlock, i, ".attn2.to_q.weight"))) dual.push_back(i);
  const std::string table = "pos_embed.pos_embed";
  config.update({{"sample_size", 128},
                 {"num_layers", blocks},
                 {"attention_head_dim", wide},
                 {"num_attention_heads", found.heads(width, wide)},
                 {"joint_attention_dim", found.dim("context_embedder.weight", 1)},
                 {"caption_projection_dim", width},
                 {"pooled_projection_dim", found.dim("time_text_embed.text_embedder.linear_1.weight", 1)},
                 {"pos_embed_max_size", found.side(table)},
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
  config.update(found.patches());
  constexpr std::int64_t kHeads = 16;
  const std::int64_t width = found.dim("pos_embed.proj.weight", 0);
  if (width % kHeads != 0)
    found.keys.fail(concat("the transformer is ", width, " channels wide, which ", kHeads, " heads do not divide"));
  const bool told_sizes = found.has("adaln_single.emb.resolution_embedder.linear_1.weight");
  const std::int64_t tokens = found.keys.has(kUnprompted) ? found.keys.dim(kUnprompted, 0) : 0;
  const bool alpha = tokens > 0 ? tokens <= 120 : told_sizes;
  const bool placed = found.keys.has(kPositions) && found.keys.rank(kPositions) >= 2;
  const std::int64_t side = placed ? found.side(kPositions) * config.at("patch_size").get<std::int64_t>() : 128;
  const double scale = static_cast<double>(side) / 64;  // to the pictures of 512x512 that it began with
  config.update({{"sample_size", side},
                 {"num_layers", found.blocks(kBlock)},
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

// The name of a file in small letters, for what only that tells.
std::string called_in_small(const Found& found) {
  std::string name = std::filesystem::path(found.keys.source()).filename().string();
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

// dev and schnell, and what was made of them: Krea, Kontext, Fill, Depth, Canny.
OriginalCheckpoint flux_model(const Found& found, Json& config) {
  const std::int64_t width = found.dim("x_embedder.weight", 0), in = found.dim("x_embedder.weight", 1),
                     out = found.dim("proj_out.weight", 0),
                     head = found.dim("transformer_blocks.0.attn.norm_q.weight", 0);
  const bool guided = found.has("time_text_embed.guidance_embedder.linear_1.weight");
  const std::int64_t picture = head / 8, side = (head - picture) / 2;  // 16, 56, 56 of 128
  config.update({{"patch_size", 1},
                 {"in_channels", in},
                 {"out_channels", out},
                 {"num_layers", found.blocks(kBlock)},
                 {"num_single_layers", found.blocks(kSingleBlock)},
                 {"attention_head_dim", head},
                 {"num_attention_heads", found.heads(width, head)},
                 {"joint_attention_dim", found.dim("context_embedder.weight", 1)},
                 {"pooled_projection_dim", found.dim("time_text_embed.text_embedder.linear_1.weight", 1)},
                 {"guidance_embeds", guided},
                 {"axes_dims_rope", {picture, side, side}}});
  const bool kontext = in == out && called_in_small(found).find("kontext") != std::string::npos;
  OriginalCheckpoint c{.pipeline_class = kontext         ? "FluxKontextPipeline"
                                         : in == out     ? "FluxPipeline"
                                         : in == 2 * out ? "FluxControlPipeline"
                                                         : "FluxFillPipeline",
                       .index = Json::object(),
                       .scheduler = {{"_class_name", "FlowMatchEulerDiscreteScheduler"},
                                     {"num_train_timesteps", 1000},
                                     {"shift", guided ? 3.0 : 1.0},
                                     {"use_dynamic_shifting", guided},
                                     {"base_shift", 0.5},
                                     {"max_shift", 1.15},
                                     {"base_image_seq_len", 256},
                                     {"max_image_seq_len", 4096}},
                       .components = {}};
  c.scaling = kFluxScaling;
  c.notes.push_back(guided ? "its schedule's shift grows with the picture, as dev's"
                           : "it is told no guidance scale: taken for schnell, whose schedule has no shift");
  if (in == out)
    c.notes.emplace_back(kontext ? "Kontext's tensors are dev's: the file's name says that it is Kontext"
                                 : "Kontext and Krea have dev's tensors: a file whose name says kontext is Kontext");
  return c;
}

Json flow_scheduler(double shift) {
  return {{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"num_train_timesteps", 1000}, {"shift", shift}};
}

// Z-Image and Z-Image-Turbo, which have the same tensors.
OriginalCheckpoint z_image_model(const Found& found, Json& config) {
  if (found.keys.any("siglip_embedder."))
    found.keys.fail("the transformer is Z-Image-Omni's, which is shown pictures: it is not supported");
  const std::string patches = "all_x_embedder.2-1.weight";
  const std::int64_t width = found.dim(patches, 0), head = found.dim("layers.0.attention.norm_q.weight", 0);
  const std::int64_t place = head / 4, side = (head - place) / 2;  // 32, 48, 48 of 128
  config.update({{"in_channels", found.dim(patches, 1) / 4},
                 {"dim", width},
                 {"n_layers", found.blocks(kLayer)},
                 {"n_refiner_layers", found.blocks(kPictureRefiner)},
                 {"n_heads", found.heads(width, head)},
                 {"cap_feat_dim", found.dim("cap_embedder.1.weight", 1)},
                 {"axes_dims", {place, side, side}}});
  OriginalCheckpoint c{
      .pipeline_class = "ZImagePipeline", .index = Json::object(), .scheduler = flow_scheduler(3.0), .components = {}};
  c.scaling = kFluxScaling;
  c.notes = {
      "Z-Image and Z-Image-Turbo have the same tensors: its schedule has shift 3, as Turbo's (which wants 9 steps and "
      "a guidance scale of 0)"};
  return c;
}

OriginalCheckpoint lumina2_model(const Found& found, Json& config) {
  const std::int64_t patch = 2, width = found.dim("x_embedder.weight", 0),
                     head = found.dim("layers.0.attn.norm_q.weight", 0), heads = found.heads(width, head),
                     inner = found.dim("layers.0.feed_forward.linear_1.weight", 0),
                     keys = found.dim("layers.0.attn.to_k.weight", 0) / head,  // or of queries, keys and values
      kv_heads = found.names ? (keys - heads) / 2 : keys;
  if (found.names && 3 * kv_heads != heads)
    found.keys.fail(concat("the ", heads, " heads of its queries have ", kv_heads,
                           " of keys and values, expected a third of them, as in Lumina-Image 2.0"));
  config.update({{"sample_size", 128},
                 {"patch_size", patch},
                 {"in_channels", found.dim("x_embedder.weight", 1) / (patch * patch)},
                 {"hidden_size", width},
                 {"num_layers", found.blocks(kLayer)},
                 {"num_refiner_layers", found.blocks(kPictureRefiner)},
                 {"num_attention_heads", heads},
                 {"num_kv_heads", kv_heads},
                 // which say nothing but how wide the feed-forward networks are
                 {"multiple_of", inner},
                 {"ffn_dim_multiplier", double(inner) / double(4 * width)},
                 {"axes_dim_rope", {head / 3, head / 3, head / 3}},
                 {"cap_feat_dim", found.dim("time_caption_embed.caption_embedder.1.weight", 1)}});
  OriginalCheckpoint c{
      .pipeline_class = "Lumina2Pipeline", .index = Json::object(), .scheduler = flow_scheduler(6.0), .components = {}};
  c.scaling = kFluxScaling;
  c.notes = {"1024x1024, and a schedule with shift 6, are taken for its own"};
  return c;
}

// Qwen-Image, whose makers' names are diffusers'.
OriginalCheckpoint qwen_image_model(const Found& found, Json& config) {
  const std::int64_t width = found.dim("img_in.weight", 0), out = found.dim("proj_out.weight", 0),
                     head = found.dim("transformer_blocks.0.attn.norm_q.weight", 0);
  if (found.keys.has("__index_timestep_zero__"))
    found.keys.fail("the transformer is Qwen-Image-Edit's of 2511, which is shown pictures: it is not supported");
  const std::int64_t picture = head / 8, side = (head - picture) / 2;  // 16, 56, 56 of 128
  config.update({{"patch_size", 2},
                 {"in_channels", found.dim("img_in.weight", 1)},
                 {"out_channels", out / 4},
                 {"num_layers", found.blocks(kBlock)},
                 {"attention_head_dim", head},
                 {"num_attention_heads", found.heads(width, head)},
                 {"joint_attention_dim", found.dim("txt_in.weight", 1)},
                 {"axes_dims_rope", {picture, side, side}}});
  Json scheduler = flow_scheduler(1.0);
  scheduler.update({{"use_dynamic_shifting", true},
                    {"base_shift", 0.5},
                    {"max_shift", 0.9},
                    {"base_image_seq_len", 256},
                    {"max_image_seq_len", 8192},
                    {"shift_terminal", 0.02},
                    {"time_shift_type", "exponential"}});
  OriginalCheckpoint c{.pipeline_class = "QwenImagePipeline",
                       .index = Json::object(),
                       .scheduler = std::move(scheduler),
                       .components = {}};
  c.notes = {"Qwen-Image-Edit has the same tensors: it is taken for Qwen-Image, which is shown no pictures to edit"};
  return c;
}

// klein, base or distilled, and dev.
OriginalCheckpoint flux2_model(const Found& found, Json& config) {
  const std::int64_t width = found.dim("x_embedder.weight", 0),
                     head = found.dim("transformer_blocks.0.attn.norm_q.weight", 0);
  const bool guided = found.has("time_guidance_embed.guidance_embedder.linear_1.weight");
  config.update({{"patch_size", 1},
                 {"in_channels", found.dim("x_embedder.weight", 1)},
                 {"out_channels", found.dim("proj_out.weight", 0)},
                 {"num_layers", found.blocks(kBlock)},
                 {"num_single_layers", found.blocks(kSingleBlock)},
                 {"attention_head_dim", head},
                 {"num_attention_heads", found.heads(width, head)},
                 {"joint_attention_dim", found.dim("context_embedder.weight", 1)},
                 {"mlp_ratio", double(found.dim("transformer_blocks.0.ff.linear_out.weight", 1)) / double(width)},
                 {"guidance_embeds", guided},
                 {"axes_dims_rope", {head / 4, head / 4, head / 4, head / 4}}});
  Json scheduler = flow_scheduler(3.0);
  scheduler["use_dynamic_shifting"] = true;
  const bool base = called_in_small(found).find("base") != std::string::npos;
  OriginalCheckpoint c{.pipeline_class = guided ? "Flux2Pipeline" : "Flux2KleinPipeline",
                       .index = {{"is_distilled", !guided && !base}},
                       .scheduler = std::move(scheduler),
                       .components = {}};
  c.scaling = kUnscaled;
  if (!guided)
    c.notes.emplace_back(base ? "klein base's tensors are the distilled klein's: the file's name says that it is base"
                              : "it is taken for the distilled klein (which wants 4 steps): klein base has the same "
                                "tensors, and a file whose name says base is that");
  return c;
}

OriginalCheckpoint chroma_model(const Found& found, Json& config) {
  const std::int64_t width = found.dim("x_embedder.weight", 0),
                     head = found.dim("transformer_blocks.0.attn.norm_q.weight", 0);
  const std::int64_t picture = head / 8, side = (head - picture) / 2;  // as Flux.1's
  const std::string moves = "distilled_guidance_layer.";
  config.update({{"patch_size", 1},
                 {"in_channels", found.dim("x_embedder.weight", 1)},
                 {"out_channels", found.dim("proj_out.weight", 0)},
                 {"num_layers", found.blocks(kBlock)},
                 {"num_single_layers", found.blocks(kSingleBlock)},
                 {"attention_head_dim", head},
                 {"num_attention_heads", found.heads(width, head)},
                 {"joint_attention_dim", found.dim("context_embedder.weight", 1)},
                 {"axes_dims_rope", {picture, side, side}},
                 {"approximator_num_channels", found.dim(moves + "in_proj.weight", 1)},
                 {"approximator_hidden_dim", found.dim(moves + "in_proj.weight", 0)},
                 {"approximator_layers", found.blocks(moves + "layers.")}});
  OriginalCheckpoint c{
      .pipeline_class = "ChromaPipeline", .index = Json::object(), .scheduler = flow_scheduler(1.0), .components = {}};
  c.scaling = kFluxScaling;
  c.notes = {"a schedule without shift is taken for its own, as Chroma1-HD's"};
  return c;
}

// The first that fits: those that have another's names, too, come before it.
const TransformerKind kTransformers[] = {
    {"QwenImageTransformer2DModel",
     &kQwenImageNames,
     {"transformer_blocks.0.img_mod.", "txt_norm."},
     {"transformer_blocks.0.img_mod.", "txt_norm."},
     qwen_image_model},
    {"Flux2Transformer2DModel",
     &kFlux2Names,
     {"double_blocks.", "double_stream_modulation_img."},
     {"double_stream_modulation_img.", "x_embedder."},
     flux2_model},
    {"ChromaTransformer2DModel",
     &kChromaNames,
     {"double_blocks.", "distilled_guidance_layer."},
     {"distilled_guidance_layer.", "x_embedder."},
     chroma_model},
    {"FluxTransformer2DModel",
     &kFluxNames,
     {"double_blocks."},
     {"single_transformer_blocks.", "x_embedder."},
     flux_model},
    {"SD3Transformer2DModel",
     &kSd3Names,
     {"joint_blocks."},
     {"transformer_blocks.0.attn.add_q_proj.", "pos_embed.pos_embed"},
     sd3_model},
    {"PixArtTransformer2DModel",
     &kPixArtNames,
     {"t_block."},
     {"adaln_single.linear.", "pos_embed.proj."},
     pixart_model,
     {kUnprompted, kPositions}},
    {"ZImageTransformer2DModel",
     &kZImageNames,
     {"cap_pad_token", "x_embedder."},
     {"all_x_embedder.", "cap_pad_token"},
     z_image_model,
     {"norm_final.weight"}},
    {"Lumina2Transformer2DModel",
     &kLumina2Names,
     {"cap_embedder.0.", "context_refiner.0.attention.qkv."},
     {"time_caption_embed.caption_embedder.", "x_embedder."},
     lumina2_model,
     {"norm_final.weight"}},
};

struct FoundKind {
  const TransformerKind* kind;
  Found found;
};

std::optional<FoundKind> find_transformer(const TensorTable& table) {
  for (const char* prefix : {"model.diffusion_model.", "diffusion_model.", "transformer.", ""}) {
    const Keys keys(table, prefix);
    for (const TransformerKind& kind : kTransformers) {
      const auto there = [&keys](const char* front) { return keys.any(front); };
      if (std::ranges::all_of(kind.original, there))
        return FoundKind{&kind, {keys, original_names(*kind.names, keys), kind.names}};
      if (std::ranges::all_of(kind.diffusers, there)) {
        const Locate locate = [prefix = std::string(prefix)](const std::string& name) { return Place(prefix + name); };
        return FoundKind{&kind, {keys, locate, nullptr}};
      }
    }
  }
  return std::nullopt;
}

// Text encoders, where ComfyUI saves them.
void add_text_encoders_inside(OriginalCheckpoint& c, const Companions& companions, const TensorTable& table) {
  for (const Companions::Text& text : companions.text) {
    const bool t5 = text.architecture == Architecture::t5;
    if (!t5 && text.architecture != Architecture::clip_text) continue;
    const std::string prefix = concat("text_encoders.", text.file, ".transformer.");
    if (t5 ? !t5_in(table, prefix) : !clip_in(table, prefix)) continue;
    const ClipUse use =
        component_class(model_part(text.part).usual_class).projects ? ClipUse::projected : ClipUse::plain;
    c.components.emplace(text.part, t5 ? t5_text(table, prefix) : clip_text(table, prefix, use));
  }
}

}  // namespace

std::optional<OriginalCheckpoint> transformer_checkpoint(const TensorTable& table) {
  if (is_lora(table)) return std::nullopt;  // whose names are those that it changes
  const std::optional<FoundKind> transformer = find_transformer(table);
  if (!transformer) return std::nullopt;
  const auto& [kind, found] = *transformer;
  Json config = Json::object();
  OriginalCheckpoint c = kind->model(found, config);
  config["_class_name"] = kind->network;
  const Architecture architecture = component_class(kind->network).architecture;
  ForeignComponent network{Config(std::move(config), table.source() + ": transformer"), found.locate,
                           found.keys.prefix()};
  for (const char* name : kind->unused) network.unused.insert(network.prefix + name);
  c.components.emplace("transformer", std::move(network));
  add_text_encoders_inside(c, *companions_of(architecture), table);
  auto vae = qwen_autoencoder(table);
  if (!vae) vae = autoencoder(table, c.scaling);
  if (vae) c.components.emplace("vae", std::move(*vae));
  c.defaults.update(said_size(table));
  return c;
}

}  // namespace sdgen
