# The torch of the interpreter that installs. -I steps out of pip's build isolation, whose overlay hides the installed packages; its
# libraries are named directly, because torch's own CMake package needs a CUDA toolkit beside a CUDA build even for CPU code.
# semdiff's build reads this file, and so does a project that has called find_package(semdiff).
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter)
execute_process(
  COMMAND "${Python_EXECUTABLE}" -I -c
    "import pathlib, torch; print(pathlib.Path(torch.__file__).parent, torch.__version__, int(torch.compiled_with_cxx11_abi()), sep=';')"
  OUTPUT_VARIABLE SEMDIFF_TORCH OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE SEMDIFF_TORCH_STATUS ERROR_QUIET)
if(NOT SEMDIFF_TORCH_STATUS EQUAL 0)
  message(FATAL_ERROR "semdiff is built against the installed PyTorch, and ${Python_EXECUTABLE} has none. Install it first:\n    ${Python_EXECUTABLE} -m pip install torch==2.13.0\n")
endif()
list(GET SEMDIFF_TORCH 0 SEMDIFF_TORCH_DIR)
list(GET SEMDIFF_TORCH 1 SEMDIFF_TORCH_VERSION)
list(GET SEMDIFF_TORCH 2 SEMDIFF_TORCH_ABI)
message(STATUS "torch ${SEMDIFF_TORCH_VERSION} in ${SEMDIFF_TORCH_DIR}")

find_library(SEMDIFF_TORCH_CPU torch_cpu PATHS "${SEMDIFF_TORCH_DIR}/lib" NO_DEFAULT_PATH REQUIRED NO_CACHE)
find_library(SEMDIFF_C10 c10 PATHS "${SEMDIFF_TORCH_DIR}/lib" NO_DEFAULT_PATH REQUIRED NO_CACHE)

add_library(semdiff::torch INTERFACE IMPORTED GLOBAL)
target_include_directories(semdiff::torch SYSTEM INTERFACE
  "${SEMDIFF_TORCH_DIR}/include" "${SEMDIFF_TORCH_DIR}/include/torch/csrc/api/include")
target_compile_definitions(semdiff::torch INTERFACE _GLIBCXX_USE_CXX11_ABI=${SEMDIFF_TORCH_ABI})
target_link_libraries(semdiff::torch INTERFACE "${SEMDIFF_TORCH_CPU}" "${SEMDIFF_C10}")
# at::parallel_for is a serial loop unless the caller is compiled with OpenMP. Compiled with it but not linked: the symbols then come from
# the one OpenMP runtime that torch brings, and a second one never enters the process.
target_compile_options(semdiff::torch INTERFACE -fopenmp)

# A program, unlike the extension, must resolve OpenMP's symbols when it is linked: with the runtime that torch brings, and no other.
function(semdiff_link_runtime target)
  file(GLOB found "${SEMDIFF_TORCH_DIR}/lib/libgomp*.so*" "${SEMDIFF_TORCH_DIR}/../torch.libs/libgomp*.so*")
  if(NOT found)
    message(FATAL_ERROR "${SEMDIFF_TORCH_DIR}/lib has no libgomp, which the program ${target} links")
  endif()
  list(GET found 0 runtime)
  target_link_libraries(${target} PRIVATE "${runtime}")
  # A package of AOTInductor's is loaded at run time and may ask for libraries of torch that the program does not link: its search path
  # has to be that of what it loads too, which the newer kind (RUNPATH) is not.
  set_target_properties(${target} PROPERTIES BUILD_RPATH "${SEMDIFF_TORCH_DIR}/lib")
  target_link_options(${target} PRIVATE "LINKER:--disable-new-dtags")
endfunction()
