// SPDX-License-Identifier: Apache-2.0
// at::parallel_for in pieces that take a tenth of a second or less, with a look at interrupts between them.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace semdiff {

// Calls what set_interrupt_check was given.
void check_interrupt();

// How many rows of a loop over rows, some tenths of a microsecond each, stand between two looks.
constexpr std::int64_t kBlockOfRows = std::int64_t{1} << 17;

// A task worth a thread of its own, this many times over, is a piece.
constexpr std::int64_t kGrainsToAPiece = 1024;

template <typename Body>
void parallel_pieces(std::int64_t begin, std::int64_t end, std::int64_t grain, const Body& body) {
  const std::int64_t piece = grain * kGrainsToAPiece;
  while (end - begin > piece) {
    at::parallel_for(begin, begin + piece, grain, body);
    begin += piece;
    check_interrupt();
  }
  at::parallel_for(begin, end, grain, body);
}

}  // namespace semdiff
