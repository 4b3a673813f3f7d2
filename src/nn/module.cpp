#include "nn/module.h"

namespace sdgen {

Tensor Module::param(const Weights& w, const std::string& name, at::IntArrayRef shape) {
  return keep(name, w.kept(w.get(name, shape)));
}

Matrix Module::matrix_param(const Weights& w, const std::string& name, std::int64_t out, std::int64_t in) {
  Matrix matrix = w.matrix(name, out, in);
  keep(name, matrix.parameter());
  return matrix;
}

std::map<std::string, Tensor> Module::named_parameters() const {
  std::map<std::string, Tensor> all(parameters_.begin(), parameters_.end());
  for (const auto& [name, child] : children_)
    for (auto& [key, parameter] : child->named_parameters()) all.emplace(name + '.' + key, std::move(parameter));
  return all;
}

std::vector<Tensor> Module::parameters() const {
  std::vector<Tensor> all;
  for (const Module* module : modules())
    for (const auto& [name, parameter] : module->parameters_) all.push_back(parameter);
  return all;
}

std::vector<const Module*> Module::modules() const {
  std::vector<const Module*> all = {this};
  for (const auto& [name, child] : children_) {
    const std::vector<const Module*> below = child->modules();
    all.insert(all.end(), below.begin(), below.end());
  }
  return all;
}

void Module::adopt_children(const Module& other) {
  children_.insert(children_.end(), other.children_.begin(), other.children_.end());
}

Tensor Module::keep(const std::string& name, Tensor parameter) {
  return parameters_.emplace_back(name, std::move(parameter)).second;
}

void Module::keep(const std::string& name, std::shared_ptr<Module> child) {
  children_.emplace_back(name, std::move(child));
}

}  // namespace sdgen
