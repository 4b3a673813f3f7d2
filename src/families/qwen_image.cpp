// Qwen-Image (Wu et al., 2025): a flow whose transformer sees what Qwen2.5-VL makes of the prompt within a fixed
// instruction. It is guided by a second pass with a negative prompt, and only with one.
#include "families/transformer.h"
#include "nn/flux_blocks.h"
#include "nn/qwen_transformer.h"

namespace sdgen {
namespace {

Conditioning join_qwen_image(std::span<const Encoded> prompt, const TextSettings&) {
  Conditioning c;
  c.context = prompt[0].states;
  return c;
}

QwenImageConfig config_of_qwen_image(const ModelFiles& model) {
  return QwenImageConfig::from(model.at("transformer").config);
}

// The instruction that the pipeline puts around prompts; of its first 34 tokens no states are used.
DecoderPrompt prompt_of_qwen_image() {
  return {.frame = {"<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, "
                    "text, spatial relationships of the objects and background:<|im_end|>\n<|im_start|>user\n",
                    "<|im_end|>\n<|im_start|>assistant\n"},
          .states = {-1},
          .padding = DecoderPrompt::Padding::none,
          .left_out = 34};
}

void require_fit_of_qwen_image(const ModelFiles& model) {
  const QwenImageConfig config = config_of_qwen_image(model);
  const std::int64_t in_token = kFluxPatch * kFluxPatch * autoencoder_info(model.at("vae")).latent_channels,
                     text = DecoderTextConfig::from(model.at("text_encoder").config).width;
  const auto fail = [&model](const auto&... what) {
    throw Error(Fault::input,
                concat(model.who(), ": the transformer's ", what..., ": they belong to different models"));
  };
  if (config.in_channels != in_token)
    fail("in_channels is ", config.in_channels, ", four of the autoencoder's latents make ", in_token);
  if (config.out_channels != in_token)
    fail("out_channels make ", config.out_channels, " numbers a token, four of the autoencoder's latents ", in_token);
  if (config.context_width != text)
    throw Error(Fault::input, concat(model.who(), ": the transformer's joint_attention_dim is ", config.context_width,
                                     ", the text encoder's hidden_size ", text, ": they belong to different models",
                                     wanted_language_model(model, config.context_width)));
}

std::string name_of_qwen_image(const ModelFiles&) { return "Qwen-Image"; }

Size native_size_of_qwen_image(const ModelFiles& model) {
  const auto side = static_cast<int>(128 * autoencoder_info(model.at("vae")).factor);  // 128 latents
  return {side, side};
}

Parts assemble_qwen_image(const ModelFiles& model, const Family& family, const AssembleOptions& options,
                          const Warn& warn) {
  require_fit_of_qwen_image(model);
  const TextInputs text{.encoders = {&model.at("text_encoder")},
                        .join = join_qwen_image,
                        .max_sequence_length = 512,
                        .most_sequence_length = 1024,
                        .decoder = prompt_of_qwen_image()};
  const TransformerInputs inputs{.text = text, .patch = kFluxPatch};
  Parts parts =
      assemble_transformer<QwenImageTransformer>(model, config_of_qwen_image(model), family, inputs, options, warn);
  parts.guidance_distilled = true;  // it is asked once, unless true_cfg_scale is said
  parts.takes_guidance_scale = false;
  parts.true_guidance = true;
  parts.usual_true_cfg_scale = 4.0;
  parts.kept_norms = KeptNorms::of_tokens;
  return parts;
}

Family qwen_image_family(const char* pipeline) {
  return {.pipeline = pipeline,
          .defaults = {.steps = 50, .strength = 0.6},
          .rules = {.quirks = PipelineQuirks::none,
                    .repaint_quirks = PipelineQuirks::none,
                    .strength_rounds_up = true,
                    .even_sigmas = true},
          .name = name_of_qwen_image,
          .native_size = native_size_of_qwen_image,
          .require_fit = require_fit_of_qwen_image,
          .assemble = assemble_qwen_image};
}

}  // namespace

std::vector<Family> qwen_image_families() {
  return {qwen_image_family("QwenImagePipeline"), qwen_image_family("QwenImageImg2ImgPipeline"),
          qwen_image_family("QwenImageInpaintPipeline")};
}

}  // namespace sdgen
