// Base of every network here: a module whose constructor reads its weights, so that building it is loading it and
// named_parameters() spells the checkpoint's keys. Not torch::nn's: its header alone takes a compiler longer than most
// files here do.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weights/weights.h"

namespace sdgen {

using at::Tensor;

class Module {
 public:
  Module() = default;
  // A whole network, which may have to take turns with others on its device: each of its public functions says
  // take_up_device() before it computes. One that forgets to works all the same, but fetches its weights layer by
  // layer.
  explicit Module(const Weights& w) : residency_(w.residency()) {}
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  // Builds child M from the scope w / name and keeps it as `name`, which may have dots ("to_out.0").
  template <class M, class... Args>
  std::shared_ptr<M> add(const Weights& w, const std::string& name, Args&&... args) {
    auto child = std::make_shared<M>(w / name, std::forward<Args>(args)...);
    keep(name, child);
    return child;
  }

  // Reads and keeps a parameter.
  Tensor param(const Weights& w, const std::string& name, at::IntArrayRef shape);
  // The same, as `pack` lays it out for the kernels.
  template <class Pack>
  Tensor packed_param(const Weights& w, const std::string& name, at::IntArrayRef shape, const Pack& pack) {
    if (!w.packs()) return param(w, name, shape);
    return keep(name, w.kept(pack(w.get(name, shape, Weights::Use::passing))));
  }
  // A linear layer's, [out, in].
  Matrix matrix_param(const Weights& w, const std::string& name, std::int64_t out, std::int64_t in);

  // The parameters of this module and of all below it, by their full names.
  std::map<std::string, Tensor> named_parameters() const;
  std::vector<Tensor> parameters() const;
  // This module and all below it.
  std::vector<const Module*> modules() const;

 protected:
  // A whole network's work begins: its weights come to the device, if they are elsewhere. Throws as Residency::begin().
  void take_up_device() const {
    if (residency_) residency_->begin();
  }
  // Keeps the children of `other` as its own, under the names that they have there.
  void adopt_children(const Module& other);
  Tensor keep(const std::string& name, Tensor parameter);

 private:
  void keep(const std::string& name, std::shared_ptr<Module> child);

  std::vector<std::pair<std::string, Tensor>> parameters_;
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> children_;
  std::shared_ptr<Residency> residency_;
};

}  // namespace sdgen
