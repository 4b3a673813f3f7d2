// Where the tokenizers of text encoders are: in the folder of their model, or, for single files, which have none, the
// vocabularies that everybody knows. No torch here.
#pragma once

#include <filesystem>
#include <memory>

#include "formats/model_files.h"
#include "text/tokenizer.h"

namespace sdgen {

// The folder with an encoder's tokenizer. For T5 and language models in a single file: the file's own folder, if there
// is a tokenizer in it; else empty, if it is a GGUF with a vocabulary; else $SDGEN_DATA/t5 (qwen, gemma), or, for T5,
// what scripts/setup unpacked. For CLIP in a single file: empty, its vocabulary is compiled in. Throws Error(input)
// that says where it looked.
std::filesystem::path tokenizer_folder(const Component& text_encoder);

// From that folder, else from the GGUF, else the one that is compiled in.
std::unique_ptr<Tokenizer> tokenizer_of(const Component& text_encoder);

// Is there one in this folder?
bool has_tokenizer(const std::filesystem::path& folder);

}  // namespace sdgen
