// SPDX-License-Identifier: Apache-2.0
#include "semdiff/interrupt.h"

#include <atomic>

#include "pieces.h"

namespace semdiff {

namespace {
std::atomic<void (*)()> interrupt_check{nullptr};
}

void set_interrupt_check(void (*check)()) { interrupt_check = check; }

void check_interrupt() {
  if (void (*check)() = interrupt_check) check();
}

}  // namespace semdiff
