#include "io/foreign_codes.h"

#include <array>
#include <string_view>

#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// A format is told by a layer X that has both tensors, X and each ending.
struct Format {
  std::string_view codes, beside;
  const char* name;
};
constexpr std::array kForeign{
    Format{".qweight", ".wscales", "SVDQuant (nunchaku)"},       // nunchaku, models/linear.py
    Format{".qweight", ".proj_down", "SVDQuant (nunchaku)"},     //
    Format{".qweight", ".g_idx", "GPTQ"},                        // AutoGPTQ, nn_modules/qlinear
    Format{".qweight", ".qzeros", "AWQ or GPTQ"},                // AutoAWQ, modules/linear
    Format{".weight._data", ".weight._scale", "quanto"},         // optimum-quanto, tensor/weights/qbytes.py
    Format{".weight._data", ".weight._shift", "quanto"},         // qbits.py
    Format{"._weight_qdata", "._weight_scale", "torchao"},       // torchao, prototype/safetensors
    Format{".weight:qdata", ".weight:scale", "torchao"},         // until 0.15
    Format{".weight:_data", ".weight:_type", "torchao"},         //
    Format{".weight", ".weight_scale_inv", "float8 in blocks"},  // transformers, integrations/finegrained_fp8.py
    Format{".weight", ".weight_scale_2", "NVFP4"},               // ModelOpt
    Format{".weight_packed", ".weight_scale", "compressed-tensors"},
    Format{".W_q", ".meta", "HQQ"},
};

}  // namespace

void refuse_foreign_codes(const std::string& source, const TensorEntries& tensors) {
  for (const auto& [name, entry] : tensors)
    for (const Format& format : kForeign)
      if (name.ends_with(format.beside) &&
          tensors.contains(concat(std::string_view(name).substr(0, name.size() - format.beside.size()), format.codes)))
        throw Error(Fault::input,
                    concat(source, ": '", printable(name), "' belongs to codes of ", format.name,
                           ", which are not supported; get the model in float8, as GGUF, or in nf4 of bitsandbytes"));
}

}  // namespace sdgen
