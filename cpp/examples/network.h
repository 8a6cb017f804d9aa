// SPDX-License-Identifier: Apache-2.0
// A network as semdiff export compiles it.
#pragma once

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include "files.h"

namespace example {

using at::Tensor;

// A package that takes `batch` samples at a time, as a function of any whole number of those.
class Network {
 public:
  Network(const std::string& path, std::int64_t batch) : batch_(batch), loader_(present(path)) {}

  Tensor operator()(const std::vector<Tensor>& inputs) {
    std::vector<Tensor> outputs;
    for (std::int64_t first = 0; first < inputs[0].size(0); first += batch_) {
      std::vector<Tensor> some;
      for (const Tensor& input : inputs) some.push_back(input.narrow(0, first, batch_).contiguous());
      outputs.push_back(loader_.run(some)[0]);
    }
    return outputs.size() == 1 ? outputs[0] : at::cat(outputs);
  }

 private:
  std::int64_t batch_;
  torch::inductor::AOTIModelPackageLoader loader_;
};

}  // namespace example
