// SPDX-License-Identifier: Apache-2.0
#include "isa.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <string>
#include <string_view>

namespace semdiff {

namespace {

const kernels::Kernels& choose() {
  const char* wanted = std::getenv("SEMDIFF_ISA");
  if (wanted == nullptr || *wanted == '\0') return kernels::best_kernels();
  const kernels::KernelList list = kernels::all_kernels();
  std::string usable;
  for (std::size_t i = 0; i < list.size; ++i) {
    const kernels::Kernels& table = *list.begin[i];
    if (!table.supported()) continue;
    if (std::string_view(wanted) == table.name) return table;
    usable += std::string(usable.empty() ? "" : ", ") + table.name;
  }
  TORCH_CHECK_VALUE(false, "SEMDIFF_ISA: expected one of ", usable, ", got ", wanted);
}

}  // namespace

const kernels::Kernels& active_kernels() {
  static const kernels::Kernels& chosen = choose();
  return chosen;
}

}  // namespace semdiff
