// Draws a red apple with the model in the folder that its argument names.
#include <sdgen/picture.h>
#include <sdgen/sdgen.h>

int main(int, char** arguments) {
  sdgen::Observer silent;
  const sdgen::Pipeline pipeline = sdgen::Pipeline::load(arguments[1], {}, silent);
  const sdgen::Request request = pipeline.complete({.prompt = "a red apple on a blue background", .seed = 7});
  pipeline({&request, 1}, [](std::size_t, sdgen::Image picture) { sdgen::write_png("apple.png", picture); }, silent);
}
