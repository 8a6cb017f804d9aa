// SPDX-License-Identifier: Apache-2.0
#include "semdiff/build_info.h"

#include <torch/headeronly/version.h>

#include "isa.h"

namespace semdiff {

BuildInfo build_info() {
  BuildInfo info;
  info.version = SEMDIFF_VERSION;
  info.torch = TORCH_VERSION;
  info.compiler = SEMDIFF_COMPILER;
  info.flags = SEMDIFF_FLAGS;
  info.build_type = SEMDIFF_BUILD_TYPE;
  info.cxx_standard = std::to_string(__cplusplus);
  const kernels::KernelList list = kernels::all_kernels();
  for (std::size_t i = 0; i < list.size; ++i) info.isa_built.emplace_back(list.begin[i]->name);
  info.isa = active_kernels().name;
  return info;
}

}  // namespace semdiff
