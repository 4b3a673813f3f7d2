// Any bytes are a manifest, which is mended and read as far as it can be; as the names of pictures it leads nowhere
// else.
#include "cli/manifest.h"
#include "cli/picture_set.h"
#include "fuzz.h"

using namespace sdgen;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const fuzz::Folder folder;
  const auto path = folder.write("manifest.jsonl", fuzz::text_of(bytes, size));
  fuzz::accepts({Fault::input}, [&] {
    for (const auto& [name, picture] : cli::pictures_of_manifest(path)) {
      const auto below = picture.file.lexically_normal().lexically_relative(path.parent_path());
      fuzz::require(!below.empty() && *below.begin() != "..", "a manifest's pictures are in its folder", name);
    }
  });
  fuzz::accepts({Fault::output}, [&] {
    {
      cli::Manifest manifest(path);
      manifest.tells_of(folder / "a.png");
      manifest.add("{\"file\":\"b.png\"}\n");
    }
    fuzz::require(cli::Manifest(path).tells_of(folder / "b.png"), "what was added is there");
  });
  return 0;
}
