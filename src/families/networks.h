// From a component to the network that computes it: the one place where an Architecture becomes a class.
#pragma once

#include "formats/model_files.h"
#include "model/network_files.h"
#include "nn/chroma_transformer.h"
#include "nn/clip_text.h"
#include "nn/controlnet.h"
#include "nn/decoder_text.h"
#include "nn/dit_transformer.h"
#include "nn/flux2_transformer.h"
#include "nn/flux_controlnet.h"
#include "nn/flux_transformer.h"
#include "nn/lumina2_transformer.h"
#include "nn/pixart_transformer.h"
#include "nn/qwen_transformer.h"
#include "nn/qwen_vae.h"
#include "nn/sd3_controlnet.h"
#include "nn/sd3_transformer.h"
#include "nn/t2i_adapter.h"
#include "nn/t5.h"
#include "nn/tiny_autoencoder.h"
#include "nn/unet.h"
#include "nn/vae.h"
#include "nn/z_image_transformer.h"

namespace sdgen {

// Calls `work` with the class of an autoencoder (a null pointer to it) and its config.
template <class Work>
auto with_autoencoder(const Component& c, const Work& work) {
  if (c.type->architecture == Architecture::tiny_autoencoder)
    return work(static_cast<TinyAutoencoder*>(nullptr), TinyAutoencoderConfig::from(c.config));
  if (c.type->architecture == Architecture::flux2_autoencoder)
    return work(static_cast<Vae*>(nullptr), VaeConfig::flux2(c.config));
  if (c.type->architecture == Architecture::qwen_vae)
    return work(static_cast<QwenVae*>(nullptr), QwenVaeConfig::from(c.config));
  return work(static_cast<Vae*>(nullptr), VaeConfig::from(c.config));
}

// The same of any network.
template <class Work>
auto with_network(const Component& c, const Work& work) {
  switch (c.type->architecture) {
    case Architecture::unet:
      return work(static_cast<UNet*>(nullptr), UNetConfig::from(c.config));
    case Architecture::pixel_unet:
      return work(static_cast<UNet*>(nullptr), UNetConfig::unconditional(c.config));
    case Architecture::sd3_transformer:
      return work(static_cast<Sd3Transformer*>(nullptr), Sd3Config::from(c.config));
    case Architecture::flux_transformer:
      return work(static_cast<FluxTransformer*>(nullptr), FluxConfig::from(c.config));
    case Architecture::flux2_transformer:
      return work(static_cast<Flux2Transformer*>(nullptr), Flux2Config::from(c.config));
    case Architecture::chroma_transformer:
      return work(static_cast<ChromaTransformer*>(nullptr), ChromaConfig::from(c.config));
    case Architecture::pixart_transformer:
      return work(static_cast<PixArtTransformer*>(nullptr), PixArtConfig::from(c.config));
    case Architecture::dit_transformer:
      return work(static_cast<DiTTransformer*>(nullptr), DiTConfig::from(c.config));
    case Architecture::z_image_transformer:
      return work(static_cast<ZImageTransformer*>(nullptr), ZImageConfig::from(c.config));
    case Architecture::lumina2_transformer:
      return work(static_cast<Lumina2Transformer*>(nullptr), Lumina2Config::from(c.config));
    case Architecture::t5:
      return work(static_cast<T5*>(nullptr), T5Config::from(c.config));
    case Architecture::decoder_text:
      return work(static_cast<DecoderText*>(nullptr), DecoderTextConfig::from(c.config));
    case Architecture::clip_text:
      return work(static_cast<ClipText*>(nullptr), ClipTextConfig::from(c.config));
    case Architecture::controlnet:
      return work(static_cast<ControlNet*>(nullptr), ControlNetConfig::from(c.config));
    case Architecture::sd3_controlnet:
      return work(static_cast<Sd3ControlNet*>(nullptr), Sd3ControlNetConfig::from(c.config));
    case Architecture::flux_controlnet:
      return work(static_cast<FluxControlNet*>(nullptr), FluxControlNetConfig::from(c.config));
    case Architecture::t2i_adapter:
      return work(static_cast<T2IAdapter*>(nullptr), T2IAdapterConfig::from(c.config));
    case Architecture::qwen_transformer:
      return work(static_cast<QwenImageTransformer*>(nullptr), QwenImageConfig::from(c.config));
    case Architecture::qwen_vae:
    case Architecture::autoencoder_kl:
    case Architecture::flux2_autoencoder:
    case Architecture::tiny_autoencoder:
      break;
  }
  return with_autoencoder(c, work);
}

// Tells `warn` of tensors that a network would not read.
inline void check_network(const Component& c, const Warn& warn) {
  with_network(c, [&]<class Network>(Network*, const auto& config) { check<Network>(c, config, warn); });
}

}  // namespace sdgen
