#include "image/avif.h"

#ifdef SDGEN_AVIF_LIBRARY
#include <avif/avif.h>

#include <memory>
#include <new>
#include <type_traits>

#include "image/exif.h"
#include "image/xmp.h"
#include "io/shared_library.h"
#include "io/utf8.h"
#include "io/without_stderr.h"
#endif

namespace sdgen {

#ifdef SDGEN_AVIF_LIBRARY
namespace {

// What is used of libavif.
struct Avif {
  SharedLibrary library{SDGEN_AVIF_LIBRARY};
#define SDGEN_FUNCTION(name) decltype(::name)* name = library.function<decltype(::name)>(#name)
  SDGEN_FUNCTION(avifVersion);
  SDGEN_FUNCTION(avifResultToString);
  SDGEN_FUNCTION(avifImageCreate);
  SDGEN_FUNCTION(avifImageDestroy);
  SDGEN_FUNCTION(avifImageSetMetadataExif);
  SDGEN_FUNCTION(avifImageSetMetadataXMP);
  SDGEN_FUNCTION(avifRGBImageSetDefaults);
  SDGEN_FUNCTION(avifImageRGBToYUV);
  SDGEN_FUNCTION(avifImageYUVToRGB);
  SDGEN_FUNCTION(avifRWDataFree);
  SDGEN_FUNCTION(avifEncoderCreate);
  SDGEN_FUNCTION(avifEncoderWrite);
  SDGEN_FUNCTION(avifEncoderDestroy);
  SDGEN_FUNCTION(avifDecoderCreate);
  SDGEN_FUNCTION(avifDecoderSetIOMemory);
  SDGEN_FUNCTION(avifDecoderParse);
  SDGEN_FUNCTION(avifDecoderNextImage);
  SDGEN_FUNCTION(avifDecoderDestroy);
#undef SDGEN_FUNCTION
};

const Avif& avif() {
  static const Avif opened;
  return opened;
}

template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

template <class T>
Owned<T> owned(T* made, void (*destroy)(T*)) {
  if (!made) throw std::bad_alloc();
  return {made, destroy};
}

constexpr int kSpeed = 8;  // of 10: 6 takes twice as long for a hundredth
// Of AV1, 0 to 63, which libavif 1.0 makes of a quality (its version 0.11 takes no other).
int quantizer(int quality) { return ((100 - quality) * 63 + 50) / 100; }

std::vector<std::byte> encode_as_avif(const Image& image, const PictureTexts& texts, const EncodeOptions& options) {
  require_encodable(kAvif, image);
  const Avif& lib = avif();
  const auto check = [&](avifResult result) {
    if (result == AVIF_RESULT_OUT_OF_MEMORY) throw std::bad_alloc();
    if (result != AVIF_RESULT_OK)
      throw Error(Fault::internal, concat("libavif cannot write the picture: ", lib.avifResultToString(result)));
  };
  const int quality = options.quality.value_or(kAvif.quality);
  const auto out = owned(lib.avifImageCreate(static_cast<std::uint32_t>(image.width),
                                             static_cast<std::uint32_t>(image.height), 8, AVIF_PIXEL_FORMAT_YUV444),
                         lib.avifImageDestroy);
  out->yuvRange = AVIF_RANGE_FULL;
  out->colorPrimaries = AVIF_COLOR_PRIMARIES_BT709;
  out->transferCharacteristics = AVIF_TRANSFER_CHARACTERISTICS_SRGB;
  // Every other matrix rounds.
  out->matrixCoefficients = quality == 100 ? AVIF_MATRIX_COEFFICIENTS_IDENTITY : AVIF_MATRIX_COEFFICIENTS_BT601;
  avifRGBImage rgb;
  lib.avifRGBImageSetDefaults(&rgb, out.get());
  rgb.format = AVIF_RGB_FORMAT_RGB;
  rgb.pixels = const_cast<std::uint8_t*>(image.rgb.data());  // it is read alone
  rgb.rowBytes = 3 * rgb.width;
  check(lib.avifImageRGBToYUV(out.get(), &rgb));
  const auto octets = [](const std::string& text) { return reinterpret_cast<const std::uint8_t*>(text.data()); };
  if (!texts.parameters.empty()) {
    const std::string exif = exif_of_comment(texts.parameters);
    lib.avifImageSetMetadataExif(out.get(), octets(exif), exif.size());
  }
  if (const std::string xmp = xmp_packet({texts.source_type, texts.record}); !xmp.empty())
    lib.avifImageSetMetadataXMP(out.get(), octets(xmp), xmp.size());

  const auto encoder = owned(lib.avifEncoderCreate(), lib.avifEncoderDestroy);
  encoder->codecChoice = AVIF_CODEC_CHOICE_AOM;
  encoder->maxThreads = 1;
  encoder->speed = kSpeed;
  encoder->minQuantizer = encoder->maxQuantizer = quantizer(quality);
  avifRWData file = AVIF_DATA_EMPTY;
  const std::unique_ptr<avifRWData, void (*)(avifRWData*)> freed(&file,
                                                                 [](avifRWData* data) { avif().avifRWDataFree(data); });
  check(lib.avifEncoderWrite(encoder.get(), out.get(), &file));
  const auto bytes = std::as_bytes(std::span(file.data, file.size));
  return {bytes.begin(), bytes.end()};
}

// A file's boxes, read; its pixels not yet. The bytes outlive it.
class AvifFile {
 public:
  AvifFile(std::string_view bytes, const std::string& who, bool texts = false) : who_(who) {
    decoder_->maxThreads = 1;
    decoder_->ignoreExif = decoder_->ignoreXMP = texts ? AVIF_FALSE : AVIF_TRUE;
    // The size is our own caller's to refuse, by name; what is larger than this is refused by the decoder.
    decoder_->imageSizeLimit = std::uint32_t{kMostSide} * kMostSide;
    check(avif().avifDecoderSetIOMemory(decoder_.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                        bytes.size()));
    check(avif().avifDecoderParse(decoder_.get()));
  }
  void decode() {
    if (decoder_->imageCount > 1) throw animation(who_);
    check(avif().avifDecoderNextImage(decoder_.get()));
  }
  const avifImage& image() const { return *decoder_->image; }
  bool opacity() const { return decoder_->alphaPresent != AVIF_FALSE; }

  void check(avifResult result) const {
    if (result == AVIF_RESULT_OK) return;
    if (result == AVIF_RESULT_OUT_OF_MEMORY) throw std::bad_alloc();
    if (result == AVIF_RESULT_NO_CODEC_AVAILABLE)
      throw Error(Fault::input, concat(who_, ": libavif has no decoder for it"));
    const std::string why = decoder_->diag.error;
    throw Error(Fault::input, concat(who_, ": is damaged, cut or of an unknown kind (",
                                     avif().avifResultToString(result), why.empty() ? "" : ": ", printable(why), ")"));
  }

 private:
  const std::string& who_;
  Owned<avifDecoder> decoder_ = owned(avif().avifDecoderCreate(), avif().avifDecoderDestroy);
};

// The orientation that EXIF would call it: it is turned to the left `angle` times, then mirrored. (EXIF's own means
// nothing in an AVIF file.)
int orientation_of(const avifImage& image) {
#if AVIF_VERSION_MAJOR >= 1
  const int axis = image.imir.axis;
#else
  const int axis = image.imir.mode;
#endif
  const int angle = image.transformFlags & AVIF_TRANSFORM_IROT ? image.irot.angle % 4 : 0;
  static constexpr int turned[] = {1, 8, 3, 6}, top_to_bottom[] = {4, 5, 2, 7}, left_to_right[] = {2, 7, 4, 5};
  if (!(image.transformFlags & AVIF_TRANSFORM_IMIR)) return turned[angle];
  return (axis == 0 ? top_to_bottom : left_to_right)[angle];
}

PictureInfo info_of_avif(std::string_view bytes, const std::string& who) {
  const AvifFile file(bytes, who);
  return {{static_cast<int>(file.image().width), static_cast<int>(file.image().height)},
          orientation_of(file.image()),
          file.opacity()};
}

PictureTexts texts_of_avif(std::string_view bytes, const std::string& who) {
  const AvifFile file(bytes, who, /*texts=*/true);
  const auto text = [](const avifRWData& data) {
    return std::string_view(reinterpret_cast<const char*>(data.data), data.size);
  };
  return texts_of_blocks(without_exif_begin(text(file.image().exif)), text(file.image().xmp));
}

std::vector<std::uint8_t> samples_of_avif(std::string_view bytes, const std::string& who, const PictureInfo& info,
                                          int channels) {
  AvifFile file(bytes, who);
  file.decode();
  const avifImage& image = file.image();
  if (image.width != std::uint32_t(info.size.width) || image.height != std::uint32_t(info.size.height))
    throw Error(Fault::input, concat(who, ": says two sizes, ", info.size.width, "x", info.size.height, " and ",
                                     image.width, "x", image.height));
  avifRGBImage rgb;
  avif().avifRGBImageSetDefaults(&rgb, &image);
  // Colours that are multiplied by their opacity are divided by it only where that is wanted, too.
  const int read = info.opacity ? 4 : channels;
  std::vector<std::uint8_t> samples(std::size_t(read) * info.size.width * info.size.height);
  rgb.depth = 8;
  rgb.format = read == 4 ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
  rgb.pixels = samples.data();
  rgb.rowBytes = static_cast<std::uint32_t>(read) * rgb.width;
  file.check(avif().avifImageYUVToRGB(&image, &rgb));
  if (read > channels) drop_opacity(samples);
  return samples;
}

}  // namespace
#endif

constinit const ImageFormat kAvif{
    .name = "AVIF",
    .word = "avif",
    .alias = "avif",
    .ending = ".avif",
    .most_side = 65536,
    .quality = 90,
    .takes_quality = true,
    .library = "libavif",
#ifdef SDGEN_AVIF_LIBRARY
    .version = [] { return std::string(avif().avifVersion()); },
    .open = [] { avif(); },
    .encode = encode_as_avif,
    .info = [](std::string_view bytes,
               const std::string& who) { return without_stderr([&] { return info_of_avif(bytes, who); }); },
    .texts = [](std::string_view bytes,
                const std::string& who) { return without_stderr([&] { return texts_of_avif(bytes, who); }); },
    .samples = [](std::string_view bytes, const std::string& who, const PictureInfo& info,
                  int channels) { return without_stderr([&] { return samples_of_avif(bytes, who, info, channels); }); }
#endif
};

}  // namespace sdgen
