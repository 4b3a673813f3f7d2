// Edges of a picture (Canny, 1986, "A Computational Approach to Edge Detection"), as OpenCV finds them: what
// ControlNets and T2I-Adapters for edges were trained on.
#pragma once

#include "sdgen/sdgen.h"

namespace sdgen {

// White edges on black, bit for bit cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), low, high): Sobel's 3x3
// derivatives with the border's pixels repeated, their sum of magnitudes, thinned across the edge, kept where stronger
// than `high` or joined to such by neighbours stronger than `low`. The lower of the two thresholds is `low`.
//
// Our own 80 lines rather than libopencv-imgproc: all of it is integer arithmetic that is easily held against OpenCV's,
// whose libraries would add nine packages (6.5 MB, 37 MB on the disk) and 15 to 25 ms to every start of the program.
Image canny(const Image& image, double low, double high);

}  // namespace sdgen
