// SPDX-License-Identifier: Apache-2.0
// The Python module: importing it loads the operators (library.cpp). No Tensor crosses pybind11, so libtorch_python is not needed.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "semdiff/build_info.h"

PYBIND11_MODULE(_C, m, pybind11::mod_gil_not_used()) {
  m.doc() = "The C++ core of semdiff; its operators are torch.ops.semdiff.*";
  m.def("build_info", [] {
    const semdiff::BuildInfo info = semdiff::build_info();
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
