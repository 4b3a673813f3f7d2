#include "formats/original_layout.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "formats/text_layout.h"
#include "formats/training.h"
#include "formats/transformer_layout.h"
#include "formats/unet_walk.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// A kind of model: its checkpoint, for now without the U-Net and the autoencoder, and what these need to know.
struct Kind {
  OriginalCheckpoint checkpoint;
  std::int64_t pooled_width = 0, size_ids = 0;  // of what is added to the time embedding
  std::int64_t native_size = 64;                // latents
  bool eight_heads = false;                     // at every level; else heads of one width
  double scaling_factor = kSdScaling;

  void add_text(const char* component, ForeignComponent text) {
    pooled_width = text.config.integer("projection_dim", 0);
    checkpoint.components.emplace(component, std::move(text));
  }
};

// --- U-Net

ForeignComponent unet(const Keys& keys, const Kind& kind) {
  Json base = {{"sample_size", kind.native_size}, {"norm_num_groups", 32}, {"attention_head_dim", 8}};
  if (!kind.eight_heads) base.update({{"block_out_channels", {kHeadWidth * 2}}, {"attention_head_dim", {2}}});
  UNetWalk walk = UNetWalk::original(keys);
  Json json = unet_config(keys, walk, Config(std::move(base), keys.source()));
  if (const Json& found = json.at("projection_class_embeddings_input_dim"); !found.is_null()) {
    const std::int64_t added = found, sizes = added - kind.pooled_width;
    if (kind.size_ids == 0 || sizes <= 0 || sizes % kind.size_ids != 0)
      keys.fail(concat("the U-Net's label embedding takes ", added, " numbers, which are not the text encoder's ",
                       kind.pooled_width, " and ", kind.size_ids, " sizes: they belong to different models"));
    json["addition_time_embed_dim"] = sizes / kind.size_ids;
  }
  return unet_component(keys, std::move(walk), std::move(json));
}

// --- Autoencoder

// diffusers' name of an autoencoder tensor -> the original, for a decoder of `levels` levels.
std::string vae_name(std::string name, std::int64_t levels) {
  if (replace_one(name, {{".mid_block.resnets.0.", ".mid.block_1."},
                         {".mid_block.resnets.1.", ".mid.block_2."},
                         {".mid_block.attentions.0.", ".mid.attn_1."}})) {
    replace_one(name, {{".group_norm.", ".norm."},
                       {".to_q.", ".q."},
                       {".to_k.", ".k."},
                       {".to_v.", ".v."},
                       {".to_out.0.", ".proj_out."}});
  } else if (constexpr std::string_view up = "decoder.up_blocks."; name.starts_with(up)) {
    const std::size_t dot = name.find('.', up.size());
    const std::int64_t level = std::atoi(name.substr(up.size(), dot - up.size()).c_str());
    name = concat("decoder.up.", levels - 1 - level, name.substr(dot));
  }
  replace_one(name, {{".down_blocks.", ".down."}});
  replace_one(name, {{".resnets.", ".block."}, {".downsamplers.0.", ".downsample."}, {".upsamplers.0.", ".upsample."}});
  replace_one(name, {{".conv_shortcut.", ".nin_shortcut."}, {".conv_norm_out.", ".norm_out."}});
  return name;
}

// What FLUX.2's has besides, of as many levels; the encoder may be another's than the decoder's.
void add_squares(Json& json, std::int64_t levels, const std::function<std::string(const std::string&)>& at,
                 const Keys& all) {
  json["decoder_block_out_channels"] = json.at("block_out_channels");
  json.update({{"_class_name", "AutoencoderKLFlux2"}, {"patch_size", {2, 2}}, {"batch_norm_eps", 1e-4}});
  const auto encoder = [&](std::int64_t i) { return at(concat("encoder.down_blocks.", i, ".resnets.0.conv1.weight")); };
  if (!all.has(encoder(0))) return;
  json["block_out_channels"] = Json::array();
  for (std::int64_t i = 0; i < levels; ++i) json["block_out_channels"].push_back(all.dim(encoder(i), 0));
}

constexpr std::array kVaePrefixes = {"first_stage_model.", "vae.", ""};

// --- The whole

const Json kScaledLinear = {{"beta_start", 0.00085},       {"beta_end", 0.012},     {"beta_schedule", "scaled_linear"},
                            {"num_train_timesteps", 1000}, {"steps_offset", 1},     {"clip_sample", false},
                            {"set_alpha_to_one", false},   {"skip_prk_steps", true}};

Json with(Json json, const Json& more) {
  json.update(more);
  return json;
}

const Json kEuler = with(kScaledLinear, {{"_class_name", "EulerDiscreteScheduler"}, {"timestep_spacing", "leading"}});

// Stable Diffusion 2's two kinds differ in nothing but their training. CompVis' trainer left its step count in the
// files of either; else the bias of the last transformer's first norm tells: it grew under v-prediction (ComfyUI's
// rule, model_detection.py).
bool sd2_predicts_v(const TensorTable& table, const Keys& keys, const Probe& probe) {
  if (table.find("global_step")) {
    const std::vector<double> step = probe("global_step");
    if (step == std::vector<double>{875000} || step == std::vector<double>{220000}) return false;
    if (step == std::vector<double>{110000}) return true;
  }
  const UNetWalk walk = UNetWalk::original(keys);
  const auto& up = walk.levels[0].up;
  const auto last = walk.names.find(concat("up_blocks.", walk.levels.size() - 1, ".attentions.", up.size() - 1));
  if (last == walk.names.end()) return true;
  const std::string bias = last->second + ".transformer_blocks.0.norm1.bias";
  if (!keys.has(bias)) return true;
  const std::vector<double> values = probe(keys.prefix() + bias);
  double sum = 0, squares = 0;
  for (const double value : values) sum += value, squares += value * value;
  const double count = static_cast<double>(values.size());
  return count < 2 || std::sqrt(std::max(squares - sum * sum / count, 0.0) / (count - 1)) > 0.09;
}

// A file with a U-Net in the original layout.
struct Original {
  Original(const TensorTable& table, const Probe& probe)
      : table(table), probe(probe), unet(table, "model.diffusion_model."), all(table, "") {}

  const TensorTable& table;
  const Probe& probe;
  Keys unet, all;

  bool labels() const { return unet.has("label_emb.0.0.weight"); }
};

const std::string kFirst = "conditioner.embedders.0.", kSecond = "conditioner.embedders.1.";

// One function a kind of model: what it is, where the file is one of these.

Kind sdxl_kind(std::int64_t size_ids, const char* pipeline_class, Json index) {
  return {.checkpoint = {pipeline_class, std::move(index), kEuler, {}},
          .size_ids = size_ids,
          .native_size = 128,
          .scaling_factor = kSdxlScaling};
}

std::optional<Kind> sdxl(const Original& file) {
  if (!open_clip_in(file.table, kSecond + "model.")) return std::nullopt;
  file.unet.dim("label_emb.0.0.weight", 1);  // throws
  if (!clip_in(file.table, kFirst + "transformer."))
    file.all.fail("has SDXL's second text encoder but not its first: incomplete");
  Kind kind = sdxl_kind(6, "StableDiffusionXLPipeline", {{"force_zeros_for_empty_prompt", true}});
  kind.add_text("text_encoder", clip_text(file.table, kFirst + "transformer."));
  kind.add_text("text_encoder_2", open_clip_text(file.table, kSecond + "model.", Use::all));
  return kind;
}

std::optional<Kind> sdxl_refiner(const Original& file) {
  if (!file.labels() || !open_clip_in(file.table, kFirst + "model.")) return std::nullopt;
  Kind kind = sdxl_kind(5, "StableDiffusionXLImg2ImgPipeline",
                        {{"force_zeros_for_empty_prompt", false}, {"requires_aesthetics_score", true}});
  kind.add_text("text_encoder_2", open_clip_text(file.table, kFirst + "model.", Use::all));
  return kind;
}

std::optional<Kind> sd2(const Original& file) {
  for (const std::string& prefix : {std::string("cond_stage_model.model."), kFirst + "model."}) {
    if (!open_clip_in(file.table, prefix)) continue;
    const std::optional<bool> said = says_v(file.table);
    const bool v =
        said ? *said
             : file.unet.dim("input_blocks.0.0.weight", 1) == 4 && sd2_predicts_v(file.table, file.unet, file.probe);
    Kind kind{
        {"StableDiffusionPipeline",
         Json::object(),
         with(kScaledLinear, {{"_class_name", "DDIMScheduler"}, {"prediction_type", v ? "v_prediction" : "epsilon"}}),
         {}}};
    kind.add_text("text_encoder", open_clip_text(file.table, prefix, Use::all_but_the_last_layer));
    if (v) kind.native_size = 96;
    return kind;
  }
  return std::nullopt;
}

std::optional<Kind> sd1(const Original& file) {
  for (const std::string& prefix : {std::string("cond_stage_model.transformer."), kFirst + "transformer."}) {
    if (!clip_in(file.table, prefix)) continue;
    Kind kind{{"StableDiffusionPipeline", Json::object(), with(kScaledLinear, {{"_class_name", "PNDMScheduler"}}), {}}};
    kind.add_text("text_encoder", clip_text(file.table, prefix));
    kind.eight_heads = true;
    return kind;
  }
  return std::nullopt;
}

}  // namespace

ForeignComponent unet_component(const Keys& keys, UNetWalk walk, Json config) {
  const std::string prefix = keys.prefix();
  return {Config(std::move(config), keys.source() + ": U-Net"),
          [prefix, walk = std::move(walk)](const std::string& name) { return Place(prefix + walk.tensor(name)); },
          prefix};
}

Place old_attention_name(const std::string& name) {
  std::string old = name;
  replace_one(old, {{".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}});
  return old;
}

bool is_leftover(const std::string& name) {
  for (const char* prefix : {"model_ema.", "ema.", "optimizer", "loss.", "first_stage_model.loss.", "callbacks",
                             "conditioner.embedders.0.logit_scale", "alphas_cumprod", "depth_model.", "sqrt_",
                             "log_one_minus", "posterior_", "denoiser."})
    if (name.starts_with(prefix)) return true;
  // The last one: T5 files have their embeddings twice.
  for (const char* ending :
       {"position_ids", "logit_scale", "attn_mask", "encoder.embed_tokens.weight", "bn.num_batches_tracked"})
    if (name.ends_with(ending)) return true;
  for (const char* whole :
       {"betas", "global_step", "epoch", "v_pred", "ztsnr", "logvar", "scale_factor", "lvlb_weights"})
    if (name == whole || name == concat("model.", whole)) return true;
  return false;
}

std::optional<ForeignComponent> autoencoder(const TensorTable& table, LatentScaling scaling) {
  for (const char* prefix : kVaePrefixes) {
    const Keys keys(table, prefix);
    const std::int64_t original = keys.count("decoder.up.", ".block.0.conv1.weight");
    const std::int64_t diffusers = keys.count("decoder.up_blocks.", ".resnets.0.conv1.weight");
    const std::int64_t levels = std::max(original, diffusers);
    if (levels == 0 || !keys.has("decoder.conv_in.weight")) continue;
    const bool old = keys.has("decoder.mid_block.attentions.0.query.weight"), squares = keys.has("bn.running_mean");
    const bool inside = keys.has("decoder.post_quant_conv.weight");  // as in Black Forest Labs' files of FLUX.2
    const Locate locate = [prefix = std::string(prefix), original, old, inside](const std::string& name) {
      const char* outer = !inside                                ? ""
                          : name.starts_with("post_quant_conv.") ? "decoder."
                          : name.starts_with("quant_conv.")      ? "encoder."
                                                                 : "";
      return Place(prefix + outer + (original ? vae_name(name, original) : old ? old_attention_name(name).name : name));
    };
    const Keys all(table, "");
    const auto at = [&locate](const std::string& name) { return locate(name).name; };
    Json json = {{"latent_channels", all.dim(at("decoder.conv_in.weight"), 1)},
                 {"norm_num_groups", 32},
                 {"scaling_factor", scaling.factor},
                 {"shift_factor", scaling.shift},
                 {"use_quant_conv", all.has(at("quant_conv.weight"))},
                 {"use_post_quant_conv", all.has(at("post_quant_conv.weight"))},
                 {"mid_block_add_attention", all.has(at("decoder.mid_block.attentions.0.to_q.weight"))},
                 {"force_upcast", true}};
    std::int64_t resnets = 0;
    while (all.has(at(concat("decoder.up_blocks.0.resnets.", resnets, ".conv1.weight")))) ++resnets;
    json["layers_per_block"] = resnets - 1;
    for (std::int64_t i = levels; i-- > 0;)
      json["block_out_channels"].push_back(all.dim(at(concat("decoder.up_blocks.", i, ".resnets.0.conv1.weight")), 0));
    if (squares) add_squares(json, levels, at, all);
    return ForeignComponent{Config(std::move(json), table.source() + ": autoencoder"), locate, prefix};
  }
  return std::nullopt;
}

namespace {

// Those that stable-diffusion.cpp gives to text encoders when it is asked to convert names.
void refuse_converted_names(const TensorTable& table) {
  for (const auto& [name, entry] : table.tensors())
    if (name.find(".text_model.") != name.npos &&
        (name.find(".self_attn.in_proj.") != name.npos || name.ends_with(".text_model.text_projection")))
      throw Error(Fault::input,
                  concat(table.source(), ": the name of tensor '", printable(name),
                         "' is stable-diffusion.cpp's own, which is not supported; convert the model without "
                         "its option convert-name"));
}

}  // namespace

std::optional<OriginalCheckpoint> original_checkpoint(const TensorTable& table, const Probe& probe) {
  const Original file(table, probe);
  refuse_converted_names(table);
  if (!file.unet.any("input_blocks.")) return transformer_checkpoint(table);
  std::optional<Kind> found;
  for (const auto& recognise : {sdxl, sdxl_refiner, sd2, sd1})
    if (!found) found = recognise(file);
  if (!found)
    file.all.fail(
        "has a U-Net in the original layout but no text encoder that is known (cond_stage_model.* or "
        "conditioner.embedders.*): a part of a checkpoint, or a model that is not Stable Diffusion");

  OriginalCheckpoint& c = found->checkpoint;
  ForeignComponent network = unet(file.unet, *found);
  hear_training(table, c.scheduler, c.defaults);
  suit_unet(network.config, {c.pipeline_class, c.scheduler, c.defaults});
  c.components.emplace("unet", std::move(network));
  c.scaling = found->scaling_factor;
  std::optional<ForeignComponent> vae = autoencoder(table, c.scaling);
  if (vae) c.components.emplace("vae", std::move(*vae));
  return std::move(found->checkpoint);
}

}  // namespace sdgen
