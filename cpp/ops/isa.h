// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../kernels/kernels.h"

namespace semdiff {

// The best table this CPU can run, or the one that the environment variable SEMDIFF_ISA names.
const kernels::Kernels& active_kernels();

}  // namespace semdiff
