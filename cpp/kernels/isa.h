// SPDX-License-Identifier: Apache-2.0
// One source, several instruction sets: table.cpp is compiled once for each, with SEMDIFF_ISA naming it. Everything it includes lives in
// a namespace of that name, so that the linker can never put one machine's copy of an inline function in place of another's.
// Rules of this folder: no torch, no allocation, no exceptions, no libm; of the standard library only <cstdint> and <cstddef>.
#pragma once

#include "kernels.h"

#define SEMDIFF_ISA_BEGIN namespace semdiff::kernels::SEMDIFF_ISA {
#define SEMDIFF_ISA_END }
#define SEMDIFF_INLINE inline __attribute__((always_inline))
// Long functions that are called once a block, from many kernels: a copy in each would take the compiler most of its time.
#define SEMDIFF_SHARED inline __attribute__((noinline))

SEMDIFF_ISA_BEGIN

// Calls f(begin, end, row) for each run of [0, count) that lies in one row.
template <typename F>
SEMDIFF_INLINE void for_rows(std::int64_t first, std::int64_t count, std::int64_t row_length, F f) {
  std::int64_t row = first / row_length;
  std::int64_t end_of_row = (row + 1) * row_length - first;
  for (std::int64_t begin = 0; begin < count; ++row, end_of_row += row_length) {
    const std::int64_t end = end_of_row < count ? end_of_row : count;
    f(begin, end, row);
    begin = end;
  }
}

SEMDIFF_ISA_END
