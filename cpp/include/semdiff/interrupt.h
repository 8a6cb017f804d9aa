// SPDX-License-Identifier: Apache-2.0
// How a long computation is stopped: between its pieces it calls what the program has set, which throws to end it.
#pragma once

namespace semdiff {

// nullptr (the default): nothing stops a computation. The Python module looks for signals here.
void set_interrupt_check(void (*check)());

}  // namespace semdiff
