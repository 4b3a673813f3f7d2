// The one exception of sdgen: thrown where a fault is found, caught once in main().
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace sdgen {

// What kind of thing went wrong. The value is the program's exit code, so that job systems can tell "never retry" from
// "retry elsewhere".
enum class Fault {
  usage = 2,      // a flag, value or combination is wrong
  input = 3,      // a model or input file is missing, malformed or unsupported
  output = 4,     // the result cannot be written
  device = 5,     // out of memory, the device failed, or the networks gave NaN in every precision
  internal = 70,  // a bug in sdgen
};

// The message says who, what, the numbers and the likely cause, e.g.
//   unet/diffusion_pytorch_model.safetensors: tensor 'conv_in.weight' has shape [320,9,3,3], expected [320,4,3,3]: ...
class Error : public std::runtime_error {
 public:
  Error(Fault fault, const std::string& message) : std::runtime_error(message), fault_(fault) {}
  Fault fault() const { return fault_; }

 private:
  Fault fault_;
};

// Thrown out of a running pipeline when Observer::cancelled() says so.
struct Cancelled : std::exception {
  const char* what() const noexcept override { return "cancelled"; }
};

// Joins its arguments as operator<< prints them.
template <class... Args>
std::string concat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

}  // namespace sdgen
