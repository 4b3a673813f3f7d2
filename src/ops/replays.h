// A GPU is done with a small kernel sooner than the CPU has launched the next one. A network's call launches a
// thousand; recorded once, they are launched together from then on.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

namespace sdgen {

// The calls of one function of tensors, recorded for each set of shapes that comes.
class Replays {
 public:
  // What is recorded: it must not wait for the device, and depend on nothing but `inputs` (members may be undefined).
  using Work = std::function<at::Tensor(const std::vector<at::Tensor>& inputs)>;
  // Records what `run` launches (it may run it several times) and returns what launches that again.
  using Recorder = std::function<std::function<void()>(const std::function<void()>& run)>;

  explicit Replays(Recorder recorder) : recorder_(std::move(recorder)) {}
  bool records() const { return static_cast<bool>(recorder_); }

  // work(inputs); the result is the caller's own. What cannot be recorded is run, from then on without trying again.
  at::Tensor operator()(const std::vector<at::Tensor>& inputs, const Work& work);

 private:
  struct Recording {
    std::vector<at::Tensor> inputs;
    at::Tensor output;
    std::function<void()> replay;
    bool fits(const std::vector<at::Tensor>& others) const;
  };
  Recorder recorder_;
  std::vector<std::unique_ptr<Recording>> recordings_;  // the latest at the end
};

}  // namespace sdgen
