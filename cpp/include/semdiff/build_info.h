// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace semdiff {

struct BuildInfo {
  std::string version, torch, compiler, flags, cxx_standard, build_type;
  std::vector<std::string> isa_built;
  std::string isa;  // the one in use
};

BuildInfo build_info();

}  // namespace semdiff
