#include "image/jxl.h"

#ifdef SDGEN_JXL_LIBRARY
#include <jxl/decode.h>
#include <jxl/encode.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "image/exif.h"
#include "image/xmp.h"
#include "io/shared_library.h"
#include "io/without_stderr.h"
#endif

namespace sdgen {

#ifdef SDGEN_JXL_LIBRARY
namespace {

// What is used of libjxl.
struct Jxl {
  SharedLibrary library{SDGEN_JXL_LIBRARY};
#define SDGEN_FUNCTION(name) decltype(::name)* name = library.function<decltype(::name)>(#name)
  SDGEN_FUNCTION(JxlDecoderVersion);
  SDGEN_FUNCTION(JxlEncoderCreate);
  SDGEN_FUNCTION(JxlEncoderDestroy);
  SDGEN_FUNCTION(JxlEncoderInitBasicInfo);
  SDGEN_FUNCTION(JxlEncoderSetBasicInfo);
  SDGEN_FUNCTION(JxlColorEncodingSetToSRGB);
  SDGEN_FUNCTION(JxlEncoderSetColorEncoding);
  SDGEN_FUNCTION(JxlEncoderUseContainer);
  SDGEN_FUNCTION(JxlEncoderUseBoxes);
  SDGEN_FUNCTION(JxlEncoderAddBox);
  SDGEN_FUNCTION(JxlEncoderFrameSettingsCreate);
  SDGEN_FUNCTION(JxlEncoderFrameSettingsSetOption);
  SDGEN_FUNCTION(JxlEncoderSetFrameLossless);
  SDGEN_FUNCTION(JxlEncoderSetFrameDistance);
  SDGEN_FUNCTION(JxlEncoderAddImageFrame);
  SDGEN_FUNCTION(JxlEncoderCloseInput);
  SDGEN_FUNCTION(JxlEncoderProcessOutput);
  SDGEN_FUNCTION(JxlDecoderCreate);
  SDGEN_FUNCTION(JxlDecoderDestroy);
  SDGEN_FUNCTION(JxlDecoderSubscribeEvents);
  SDGEN_FUNCTION(JxlDecoderSetInput);
  SDGEN_FUNCTION(JxlDecoderCloseInput);
  SDGEN_FUNCTION(JxlDecoderProcessInput);
  SDGEN_FUNCTION(JxlDecoderGetBasicInfo);
  SDGEN_FUNCTION(JxlDecoderGetExtraChannelInfo);
  SDGEN_FUNCTION(JxlDecoderSetUnpremultiplyAlpha);
  SDGEN_FUNCTION(JxlDecoderSetImageOutBuffer);
  SDGEN_FUNCTION(JxlDecoderSetDecompressBoxes);
  SDGEN_FUNCTION(JxlDecoderGetBoxType);
  SDGEN_FUNCTION(JxlDecoderSetBoxBuffer);
  SDGEN_FUNCTION(JxlDecoderReleaseBoxBuffer);
#undef SDGEN_FUNCTION
};

const Jxl& jxl() {
  static const Jxl opened;
  return opened;
}

constexpr std::size_t kMostBox = std::size_t{4} << 20;  // bytes of a text, unpacked: more is none
constexpr int kEffort = 3;                              // of 9: 4 takes four times as long for a hundredth

// Butteraugli's, which JxlEncoderDistanceFromQuality() of libjxl 0.9 makes of a JPEG's quality; at most what 0.7 takes.
float distance_of(int quality) {
  const auto q = static_cast<float>(quality);
  return std::min(15.0f, q >= 30 ? 0.1f + (100 - q) * 0.09f : 53.0f / 3000 * q * q - 23.0f / 20 * q + 25);
}

// 7001 -> "0.7.1"
std::string version_of_jxl(std::uint32_t number) {
  return concat(number / 1'000'000, '.', number / 1000 % 1000, '.', number % 1000);
}

class JxlWriter {
 public:
  JxlWriter() {
    if (!encoder_) throw std::bad_alloc();
  }
  JxlEncoder* get() const { return encoder_.get(); }
  void check(JxlEncoderStatus status) const {
    if (status != JXL_ENC_SUCCESS) throw Error(Fault::internal, "libjxl cannot write the picture");
  }
  void add_box(const char* type, const std::string& text) const {
    check(jxl().JxlEncoderAddBox(get(), type, reinterpret_cast<const std::uint8_t*>(text.data()), text.size(),
                                 /*compress_box=*/JXL_FALSE));
  }
  std::vector<std::byte> take() const {
    jxl().JxlEncoderCloseInput(get());
    std::vector<std::byte> file(1 << 16);
    for (std::size_t size = 0;;) {
      auto* next = reinterpret_cast<std::uint8_t*>(file.data() + size);
      std::size_t left = file.size() - size;
      const JxlEncoderStatus status = jxl().JxlEncoderProcessOutput(get(), &next, &left);
      size = file.size() - left;
      if (status == JXL_ENC_NEED_MORE_OUTPUT) {
        file.resize(2 * file.size());
        continue;
      }
      check(status);
      file.resize(size);
      return file;
    }
  }

 private:
  std::unique_ptr<JxlEncoder, void (*)(JxlEncoder*)> encoder_{jxl().JxlEncoderCreate(nullptr), jxl().JxlEncoderDestroy};
};

std::vector<std::byte> encode_as_jxl(const Image& image, const PictureTexts& texts, const EncodeOptions& options) {
  require_encodable(kJxl, image);
  const Jxl& lib = jxl();
  const JxlWriter writer;
  const bool lossless = options.quality.value_or(100) == 100;
  const std::string xmp = xmp_packet({texts.source_type, texts.record});
  if (!xmp.empty() || !texts.parameters.empty()) {
    writer.check(lib.JxlEncoderUseContainer(writer.get(), JXL_TRUE));
    writer.check(lib.JxlEncoderUseBoxes(writer.get()));
  }
  JxlBasicInfo info;
  lib.JxlEncoderInitBasicInfo(&info);
  info.xsize = static_cast<std::uint32_t>(image.width);
  info.ysize = static_cast<std::uint32_t>(image.height);
  info.bits_per_sample = 8;
  info.num_color_channels = 3;
  info.uses_original_profile = lossless ? JXL_TRUE : JXL_FALSE;
  writer.check(lib.JxlEncoderSetBasicInfo(writer.get(), &info));
  JxlColorEncoding colours;
  lib.JxlColorEncodingSetToSRGB(&colours, /*is_gray=*/JXL_FALSE);
  writer.check(lib.JxlEncoderSetColorEncoding(writer.get(), &colours));
  if (!texts.parameters.empty())  // where the TIFF structure begins comes first
    writer.add_box("Exif", std::string(4, '\0') + exif_of_comment(texts.parameters));
  if (!xmp.empty()) writer.add_box("xml ", xmp);

  JxlEncoderFrameSettings* settings = lib.JxlEncoderFrameSettingsCreate(writer.get(), nullptr);
  if (!settings) throw std::bad_alloc();
  writer.check(lib.JxlEncoderFrameSettingsSetOption(settings, JXL_ENC_FRAME_SETTING_EFFORT, kEffort));
  writer.check(lossless ? lib.JxlEncoderSetFrameLossless(settings, JXL_TRUE)
                        : lib.JxlEncoderSetFrameDistance(settings, distance_of(*options.quality)));
  const JxlPixelFormat format{3, JXL_TYPE_UINT8, JXL_NATIVE_ENDIAN, /*align=*/0};
  writer.check(lib.JxlEncoderAddImageFrame(settings, &format, image.rgb.data(), image.rgb.size()));
  return writer.take();
}

// A decoder of a file's bytes, which outlive it, that stops at these events.
class JxlReader {
 public:
  JxlReader(std::string_view bytes, const std::string& who, int events) : who_(who) {
    if (!decoder_) throw std::bad_alloc();
    jxl().JxlDecoderSubscribeEvents(get(), events);
    jxl().JxlDecoderSetInput(get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    jxl().JxlDecoderCloseInput(get());
  }
  JxlDecoder* get() const { return decoder_.get(); }
  // The next event.
  JxlDecoderStatus next() const {
    const JxlDecoderStatus status = jxl().JxlDecoderProcessInput(get());
    if (status == JXL_DEC_ERROR) fail("is damaged or of an unknown kind");
    if (status == JXL_DEC_NEED_MORE_INPUT) fail("ends within its pixels (incomplete download?)");
    return status;
  }
  // Throws unless it is the next one.
  void expect(JxlDecoderStatus event) const {
    if (next() != event) fail("is damaged or of an unknown kind");
  }
  [[noreturn]] void fail(const char* what) const { throw Error(Fault::input, concat(who_, ": ", what)); }

 private:
  const std::string& who_;
  std::unique_ptr<JxlDecoder, void (*)(JxlDecoder*)> decoder_{jxl().JxlDecoderCreate(nullptr), jxl().JxlDecoderDestroy};
};

JxlBasicInfo basic_info(const JxlReader& reader) {
  reader.expect(JXL_DEC_BASIC_INFO);
  JxlBasicInfo info;
  if (jxl().JxlDecoderGetBasicInfo(reader.get(), &info) != JXL_DEC_SUCCESS) reader.fail("is damaged");
  return info;
}

// libjxl turns a picture itself, and says the size that it has then.
PictureInfo info_of_jxl(std::string_view bytes, const std::string& who) {
  const JxlBasicInfo info = basic_info(JxlReader(bytes, who, JXL_DEC_BASIC_INFO));
  constexpr std::uint32_t most = 1u << 30;  // the format's own
  return {{static_cast<int>(std::min(info.xsize, most)), static_cast<int>(std::min(info.ysize, most))},
          /*orientation=*/1,
          info.alpha_bits > 0};
}

// The texts of a file's boxes, unpacked where they are packed.
PictureTexts texts_of_jxl(std::string_view bytes, const std::string& who) {
  const Jxl& lib = jxl();
  const JxlReader reader(bytes, who, JXL_DEC_BOX);
  lib.JxlDecoderSetDecompressBoxes(reader.get(), JXL_TRUE);
  std::string exif, xmp;
  std::string* box = nullptr;  // that is being read
  std::size_t done = 0;        // bytes of it
  const auto give_room = [&](std::size_t size) {
    box->resize(size);
    lib.JxlDecoderSetBoxBuffer(reader.get(), reinterpret_cast<std::uint8_t*>(box->data()) + done, size - done);
  };
  const auto end_box = [&] {
    if (!box) return;
    box->resize(box->size() - lib.JxlDecoderReleaseBoxBuffer(reader.get()));
    box = nullptr;
  };
  for (;;) {
    const JxlDecoderStatus status = reader.next();
    if (status == JXL_DEC_BOX_NEED_MORE_OUTPUT && box) {
      done = box->size() - lib.JxlDecoderReleaseBoxBuffer(reader.get());
      if (done >= kMostBox) {
        box->clear();
        box = nullptr;
      } else {
        give_room(2 * box->size());
      }
      continue;
    }
    end_box();
    if (status != JXL_DEC_BOX) break;
    JxlBoxType type;
    if (lib.JxlDecoderGetBoxType(reader.get(), type, /*decompressed=*/JXL_TRUE) != JXL_DEC_SUCCESS) continue;
    const std::string_view name(type, sizeof type);
    box = name == "Exif" && exif.empty() ? &exif : name == "xml " && xmp.empty() ? &xmp : nullptr;
    done = 0;
    if (box) give_room(1 << 12);
  }
  const std::string_view block = exif.size() > 4 ? std::string_view(exif).substr(4) : "";
  return texts_of_blocks(without_exif_begin(block), xmp);
}

std::vector<std::uint8_t> samples_of_jxl(std::string_view bytes, const std::string& who, const PictureInfo& info,
                                         int channels) {
  const JxlReader reader(bytes, who, JXL_DEC_BASIC_INFO | JXL_DEC_FULL_IMAGE);
  jxl().JxlDecoderSetUnpremultiplyAlpha(reader.get(), JXL_TRUE);
  const JxlBasicInfo basic = basic_info(reader);
  if (basic.have_animation) throw animation(who);
  for (std::uint32_t i = 0; i < basic.num_extra_channels; ++i) {
    JxlExtraChannelInfo channel;
    if (jxl().JxlDecoderGetExtraChannelInfo(reader.get(), i, &channel) == JXL_DEC_SUCCESS &&
        channel.type == JXL_CHANNEL_BLACK)
      reader.fail("is a picture in inks (CMYK); save it as RGB first");
  }
  reader.expect(JXL_DEC_NEED_IMAGE_OUT_BUFFER);
  const JxlPixelFormat format{static_cast<std::uint32_t>(channels), JXL_TYPE_UINT8, JXL_NATIVE_ENDIAN, /*align=*/0};
  std::vector<std::uint8_t> samples(std::size_t(channels) * info.size.width * info.size.height);
  if (jxl().JxlDecoderSetImageOutBuffer(reader.get(), &format, samples.data(), samples.size()) != JXL_DEC_SUCCESS)
    reader.fail("its pixels are of an unknown kind");
  reader.expect(JXL_DEC_FULL_IMAGE);
  return samples;
}

}  // namespace
#endif

constinit const ImageFormat kJxl{
    .name = "JPEG XL",
    .word = "jxl",
    .alias = "jxl",
    .ending = ".jxl",
    .most_side = 1 << 18,
    .quality = 0,
    .takes_quality = true,
    .library = "libjxl",
#ifdef SDGEN_JXL_LIBRARY
    .version = [] { return version_of_jxl(jxl().JxlDecoderVersion()); },
    .open = [] { jxl(); },
    .encode = encode_as_jxl,
    .info = [](std::string_view bytes,
               const std::string& who) { return without_stderr([&] { return info_of_jxl(bytes, who); }); },
    .texts = [](std::string_view bytes,
                const std::string& who) { return without_stderr([&] { return texts_of_jxl(bytes, who); }); },
    .samples = [](std::string_view bytes, const std::string& who, const PictureInfo& info,
                  int channels) { return without_stderr([&] { return samples_of_jxl(bytes, who, info, channels); }); }
#endif
};

}  // namespace sdgen
