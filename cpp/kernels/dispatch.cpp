// SPDX-License-Identifier: Apache-2.0
#include "kernels.h"

namespace semdiff::kernels {

#if defined(SEMDIFF_X86_LEVELS)
namespace x86_64_v4 {
extern const Kernels table;
}
namespace x86_64_v3 {
extern const Kernels table;
}
#endif
namespace baseline {
extern const Kernels table;
}

namespace {
const Kernels* const tables[] = {
#if defined(SEMDIFF_X86_LEVELS)
    &x86_64_v4::table,
    &x86_64_v3::table,
#endif
    &baseline::table,
};
constexpr std::size_t table_count = sizeof(tables) / sizeof(tables[0]);
}  // namespace

KernelList all_kernels() { return {tables, table_count}; }

const Kernels& best_kernels() {
  for (const Kernels* table : tables) {
    if (table->supported()) return *table;
  }
  return baseline::table;
}

}  // namespace semdiff::kernels
