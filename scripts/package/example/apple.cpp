// Draws a red apple with the model in the folder that its argument names.
#include <sdgen/picture.h>
#include <sdgen/sdgen.h>

int main(int, char** arguments) {
  const sdgen::Runtime runtime;
  sdgen::Observer silent;
  const sdgen::Pipeline pipeline = sdgen::Pipeline::load(arguments[1], {}, silent);
  const sdgen::Plan plan = pipeline.plan({.prompt = "a red apple on a blue background", .seed = 7});
  pipeline.draw({&plan, 1}, [](std::size_t, sdgen::Image picture) { sdgen::write_png("apple.png", picture); }, silent);
}
