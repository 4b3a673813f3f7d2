// Base of every network here: a torch module whose constructor reads its weights, so that building it is loading it and
// named_parameters() spells the checkpoint's keys.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <string>
#include <utility>

#include "io/weights.h"

namespace sdgen {

using at::Tensor;

struct Module : torch::nn::Module {
  Module() = default;
  // A whole network, which may have to take turns with others on its device: each of its public functions says
  // begin_turn() before it computes. One that forgets to works all the same, but fetches its weights layer by layer.
  explicit Module(const Weights& w) : turn_(w.turn()) {}

  // Builds child M from the scope w / name and registers it as `name`. A dotted name ("to_out.0") makes plain
  // containers for the parts before the last dot.
  template <class M, class... Args>
  std::shared_ptr<M> add(const Weights& w, const std::string& name, Args&&... args) {
    auto child = std::make_shared<M>(w / name, std::forward<Args>(args)...);
    auto [parent, leaf] = container(name);
    return parent->register_module(leaf, std::move(child));
  }

  // Reads and registers a parameter (inference only: no gradient).
  Tensor param(const Weights& w, const std::string& name, at::IntArrayRef shape) {
    return register_parameter(name, w.settled(w.get(name, shape)), /*requires_grad=*/false);
  }
  // The same, as `pack` lays it out for the kernels.
  template <class Pack>
  Tensor packed_param(const Weights& w, const std::string& name, at::IntArrayRef shape, const Pack& pack) {
    return register_parameter(name, w.settled(pack(w.get(name, shape, Weights::Use::passing))),
                              /*requires_grad=*/false);
  }

 protected:
  // A whole network's work begins: its weights come to the device, if they are elsewhere. Throws as Turn::begin().
  void begin_turn() const {
    if (turn_) turn_->begin();
  }

 private:
  std::pair<torch::nn::Module*, std::string> container(const std::string& name) {
    torch::nn::Module* parent = this;
    std::size_t begin = 0;
    for (std::size_t dot; (dot = name.find('.', begin)) != std::string::npos; begin = dot + 1) {
      const std::string part = name.substr(begin, dot - begin);
      auto children = parent->named_children();
      const auto* found = children.find(part);
      parent = found ? found->get() : parent->register_module(part, std::make_shared<torch::nn::Module>()).get();
    }
    return {parent, name.substr(begin)};
  }

  std::shared_ptr<Turn> turn_;
};

}  // namespace sdgen
