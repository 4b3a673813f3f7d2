#include "image/webp.h"

#if SDGEN_HAS_WEBP
#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>
#include <webp/mux.h>

#include <memory>
#include <new>

#include "image/exif.h"
#include "image/xmp.h"
#include "io/utf8.h"
#endif

namespace sdgen {

#if SDGEN_HAS_WEBP
namespace {

const std::uint8_t* octets(std::string_view bytes) { return reinterpret_cast<const std::uint8_t*>(bytes.data()); }

std::string_view chars_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Both of a file's bytes, which outlive it.
class WebpChunks {
 public:
  WebpChunks(std::string_view bytes, const std::string& who) {
    const WebPData data{octets(bytes), bytes.size()};
    demuxer_.reset(WebPDemux(&data));
    if (!demuxer_) throw Error(Fault::input, concat(who, ": is damaged or cut (incomplete download?)"));
  }
  // The first chunk of this name; "": none.
  std::string_view chunk(const char* name) const {
    WebPChunkIterator at;
    if (!WebPDemuxGetChunk(demuxer_.get(), name, 1, &at)) return "";
    const std::string_view found = chars_of(at.chunk.bytes, at.chunk.size);
    WebPDemuxReleaseChunkIterator(&at);
    return found;
  }
  std::string_view exif() const { return without_exif_begin(chunk("EXIF")); }

 private:
  std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)> demuxer_{nullptr, &WebPDemuxDelete};
};

// 0x010203 -> "1.2.3"
std::string version_of_webp(int number) {
  return concat(number >> 16 & 255, '.', number >> 8 & 255, '.', number & 255);
}

[[noreturn]] void fail_webp(const std::string& who, VP8StatusCode code) {
  if (code == VP8_STATUS_OUT_OF_MEMORY) throw std::bad_alloc();
  const bool cut = code == VP8_STATUS_NOT_ENOUGH_DATA || code == VP8_STATUS_SUSPENDED;
  throw Error(Fault::input, concat(who, cut ? ": ends within its pixels (incomplete download?)"
                                            : ": its pixels are damaged or of an unknown kind"));
}

// A file of the picture alone.
std::string webp_of_pixels(const Image& image, std::optional<int> quality) {
  WebPConfig config;
  WebPPicture picture;
  if (!WebPConfigInit(&config) || !WebPPictureInit(&picture))
    throw Error(Fault::internal, "libwebp is of another version than sdgen was built with");
  const std::unique_ptr<WebPPicture, decltype(&WebPPictureFree)> freed(&picture, &WebPPictureFree);
  config.lossless = picture.use_argb = quality ? 0 : 1;
  config.quality = static_cast<float>(quality.value_or(75));  // without loss: the effort, of which this is the usual
  config.thread_level = 0;
  picture.width = image.width;
  picture.height = image.height;
  WebPMemoryWriter out;
  WebPMemoryWriterInit(&out);
  const std::unique_ptr<WebPMemoryWriter, decltype(&WebPMemoryWriterClear)> cleared(&out, &WebPMemoryWriterClear);
  picture.writer = WebPMemoryWrite;
  picture.custom_ptr = &out;
  if (!WebPPictureImportRGB(&picture, image.rgb.data(), 3 * image.width)) throw std::bad_alloc();
  if (!WebPEncode(&config, &picture)) {
    if (picture.error_code == VP8_ENC_ERROR_OUT_OF_MEMORY ||
        picture.error_code == VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY)
      throw std::bad_alloc();
    throw Error(Fault::internal, concat("libwebp cannot write the picture: its error ", int(picture.error_code)));
  }
  return std::string(chars_of(out.mem, out.size));
}

// The file with chunks; empty ones are left out.
std::vector<std::byte> with_chunks(const std::string& file,
                                   std::initializer_list<std::pair<const char*, std::string_view>> chunks) {
  const std::unique_ptr<WebPMux, decltype(&WebPMuxDelete)> mux(WebPMuxNew(), &WebPMuxDelete);
  const auto check = [](WebPMuxError error) {
    if (error != WEBP_MUX_OK) throw std::bad_alloc();
  };
  if (!mux) throw std::bad_alloc();
  const WebPData image{octets(file), file.size()};
  check(WebPMuxSetImage(mux.get(), &image, /*copy_data=*/0));
  for (const auto& [name, text] : chunks) {
    if (text.empty()) continue;
    const WebPData data{octets(text), text.size()};
    check(WebPMuxSetChunk(mux.get(), name, &data, /*copy_data=*/0));
  }
  WebPData whole{nullptr, 0};
  check(WebPMuxAssemble(mux.get(), &whole));
  const std::unique_ptr<WebPData, decltype(&WebPDataClear)> cleared(&whole, &WebPDataClear);
  const auto bytes = std::as_bytes(std::span(whole.bytes, whole.size));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> encode_as_webp(const Image& image, const PictureTexts& texts, const EncodeOptions& options) {
  require_encodable(kWebp, image);
  const std::string file = webp_of_pixels(image, options.quality);
  const std::string exif = texts.parameters.empty() ? "" : exif_of_comment(texts.parameters);
  return with_chunks(file, {{"EXIF", exif}, {"XMP ", xmp_packet({texts.source_type, texts.record})}});
}

PictureInfo info_of_webp(std::string_view bytes, const std::string& who) {
  WebPBitstreamFeatures features;
  if (const VP8StatusCode code = WebPGetFeatures(octets(bytes), bytes.size(), &features); code != VP8_STATUS_OK)
    fail_webp(who, code);
  return {{features.width, features.height}, exif_orientation(WebpChunks(bytes, who).exif()), features.has_alpha != 0};
}

PictureTexts texts_of_webp(std::string_view bytes, const std::string& who) {
  const WebpChunks chunks(bytes, who);
  return texts_of_blocks(chunks.exif(), chunks.chunk("XMP "));
}

std::vector<std::uint8_t> samples_of_webp(std::string_view bytes, const std::string& who, const PictureInfo& info,
                                          int channels) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config))
    throw Error(Fault::internal, "libwebp is of another version than sdgen was built with");
  if (WebPGetFeatures(octets(bytes), bytes.size(), &config.input) == VP8_STATUS_OK && config.input.has_animation)
    throw animation(who);
  std::vector<std::uint8_t> samples(std::size_t(channels) * info.size.width * info.size.height);
  config.output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {samples.data(), channels * info.size.width, samples.size()};
  if (const VP8StatusCode code = WebPDecode(octets(bytes), bytes.size(), &config); code != VP8_STATUS_OK)
    fail_webp(who, code);
  if (config.output.width != info.size.width || config.output.height != info.size.height)
    throw Error(Fault::input, concat(who, ": says two sizes, ", info.size.width, "x", info.size.height, " and ",
                                     config.output.width, "x", config.output.height));
  return samples;
}

}  // namespace
#endif

constinit const ImageFormat kWebp {
  .name = "WebP", .word = "webp", .alias = "webp", .ending = ".webp", .most_side = 16383, .quality = 0,
  .takes_quality = true, .library = "libwebp",
#if SDGEN_HAS_WEBP
  .version = [] { return version_of_webp(WebPGetEncoderVersion()); }, .open = nullptr, .encode = encode_as_webp,
  .info = info_of_webp, .texts = texts_of_webp, .samples = samples_of_webp
#endif
};

}  // namespace sdgen
