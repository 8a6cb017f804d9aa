// SPDX-License-Identifier: Apache-2.0
// The Python module: importing it loads the operators (library.cpp). No Tensor crosses pybind11, so libtorch_python is not needed.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/Exceptions.h>

#include "semdiff/build_info.h"
#include "semdiff/interrupt.h"

namespace {

// Signal handlers run here, on the main thread alone. python_error is what torch's own calls turn back into the exception it holds.
void check_signals() {
  const pybind11::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() == 0) return;
  python_error error;
  error.persist();
  throw error;
}

}  // namespace

PYBIND11_MODULE(_C, m, pybind11::mod_gil_not_used()) {
  m.doc() = "The C++ core of semdiff; its operators are torch.ops.semdiff.*";
  semdiff::set_interrupt_check(&check_signals);
  m.def("build_info", [] {
    semdiff::BuildInfo info;
    try {
      info = semdiff::build_info();
    } catch (const c10::Error& error) {  // a SEMDIFF_ISA that is not there
      throw pybind11::value_error(error.what_without_backtrace());
    }
    pybind11::dict out;
    out["version"] = info.version;
    out["torch"] = info.torch;
    out["compiler"] = info.compiler;
    out["flags"] = info.flags;
    out["build_type"] = info.build_type;
    out["cxx_standard"] = info.cxx_standard;
    out["isa_built"] = info.isa_built;
    out["isa"] = info.isa;
    return out;
  });
}
