// What pictures cost, before they are drawn: they are drawn on libtorch's meta device, by the code that draws them, and
// what is asked of the operators is counted and timed by a short measurement.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sdgen/sdgen.h"

namespace sdgen {

struct Estimate {
  std::size_t pictures = 0, batches = 0, calls = 0;  // calls of denoising networks
  // Of pictures that differ in more than prompt and seed, and those of them that were drawn on paper; others cost what
  // the nearest does. None: operations, activations and seconds are not known.
  std::size_t kinds = 0, counted = 0;
  std::uint64_t text_bytes = 0, step_bytes = 0, autoencoder_bytes = 0;  // of weights
  std::uint64_t activation_bytes = 0;                                   // at a time, at most
  bool in_turns = false;              // the text encoders are gone before the denoising network comes
  std::uint64_t memory = 0;           // of all these at a time, at most
  std::optional<std::uint64_t> free;  // nothing: nobody says
  double operations = 0;              // multiplications and additions
  std::optional<double> seconds;      // at least, without loading; nothing: it is not measured here
};

// The plans of a run, one after the other.
class Estimator {
 public:
  // `on_paper`: what Pipeline::load() makes for the device "meta"; must outlive this. `device`: that the run is for.
  Estimator(const Pipeline& on_paper, const LoadOptions& options, const std::string& device);
  ~Estimator();

  // A plan of the pipeline on paper.
  void add(const Plan& plan);
  // Throws Cancelled, Error(device).
  Estimate result(Observer& observer);

 private:
  struct Kind;
  Kind& kind_of(const Plan& plan);
  std::shared_ptr<const Image> of_size(const std::shared_ptr<const Image>& picture);
  Request without_pixels(Request request);
  bool count(Kind& kind, Observer& observer) const;  // false: it does something that cannot be done on paper

  const Pipeline& pipeline_;
  LoadOptions options_;
  std::string device_;
  std::vector<std::unique_ptr<Kind>> kinds_;
  std::set<std::string> prompts_;
  std::map<std::pair<int, int>, std::shared_ptr<const Image>> sizes_;  // pictures without pixels
  std::optional<Plan> last_;
  Kind* last_kind_ = nullptr;
  std::size_t in_batch_ = 0;
};

}  // namespace sdgen
