// The one exception of sdgen: thrown where a fault is found, caught once in main().
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

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

// The name of a field of Request or LoadOptions in the message of an Error.
struct FieldName {
  std::string_view name;
};
inline std::ostream& operator<<(std::ostream& out, const FieldName& field) { return out << '\1' << field.name << '\2'; }

// The message says who, what, the numbers and the likely cause, e.g.
//   unet/diffusion_pytorch_model.safetensors: tensor 'conv_in.weight' has shape [320,9,3,3], expected [320,4,3,3]: ...
class Error : public std::runtime_error {
 public:
  Error(Fault fault, const std::string& message)
      : std::runtime_error(spelled(message, [](std::string_view field) { return std::string(field); })),
        fault_(fault),
        text_(message) {}
  Fault fault() const { return fault_; }

  // what() has the fields by their names. A front may call them as its users know them: flags, keys of JSON.
  template <class Spell>
  std::string message(const Spell& spell) const {
    return spelled(text_, spell);
  }
  // For a message around this one, which keeps the fields.
  const std::string& text() const { return text_; }

 private:
  template <class Spell>
  static std::string spelled(const std::string& text, const Spell& spell) {
    std::string result;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = text.find('\1', at), end = text.find('\2', begin);
      if (end == std::string::npos) return result.append(text, at);
      result.append(text, at, begin - at).append(spell(std::string_view(text).substr(begin + 1, end - begin - 1)));
      at = end + 1;
    }
    return result;
  }

  Fault fault_;
  std::string text_;
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
