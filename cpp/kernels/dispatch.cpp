// SPDX-License-Identifier: Apache-2.0
#include "kernels.h"

namespace semdiff::kernels {

#if SEMDIFF_X86_LEVEL >= 4
namespace x86_64_v4 {
extern const Kernels table;
}
#endif
#if SEMDIFF_X86_LEVEL >= 3
namespace x86_64_v3 {
extern const Kernels table;
}
#endif
namespace baseline {
extern const Kernels table;
}

namespace {
const Kernels* const tables[] = {
#if SEMDIFF_X86_LEVEL >= 4
    &x86_64_v4::table,
#endif
#if SEMDIFF_X86_LEVEL >= 3
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
