# The kernels, one object for each instruction set. -ffp-contract=off is part of the contract: with fused multiply-adds the results would
# differ between CPUs. The two -fno flags only let sqrt and selects vectorise; no result depends on errno or on floating-point traps.
set(SEMDIFF_KERNEL_FLAGS -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math)

# Line numbers are all that a sanitizer's report needs; GCC is slow to track the variables of such long functions, and gives up. Instrumented,
# such functions take it minutes at -O3 and twenty seconds at -O1; the results are the same bits.
if(SEMDIFF_SANITIZE)
  list(APPEND SEMDIFF_KERNEL_FLAGS -g1 -O1)
endif()

add_library(semdiff_kernels STATIC cpp/kernels/dispatch.cpp)
target_include_directories(semdiff_kernels PUBLIC "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/cpp/kernels>")
target_link_libraries(semdiff_kernels PRIVATE "$<BUILD_INTERFACE:semdiff_warnings>")

function(semdiff_add_isa name)
  add_library(semdiff_kernels_${name} OBJECT cpp/kernels/table.cpp)
  target_compile_definitions(semdiff_kernels_${name} PRIVATE SEMDIFF_ISA=${name})
  target_compile_options(semdiff_kernels_${name} PRIVATE ${SEMDIFF_KERNEL_FLAGS} ${ARGN})
  target_link_libraries(semdiff_kernels_${name} PRIVATE semdiff_warnings)
  target_sources(semdiff_kernels PRIVATE $<TARGET_OBJECTS:semdiff_kernels_${name}>)
endfunction()

semdiff_add_isa(baseline)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_definitions(semdiff_kernels PRIVATE SEMDIFF_X86_LEVEL=${SEMDIFF_X86_LEVEL})
  # -mno-fma: GCC 12 makes fused multiply-adds of complex products (a b +- c d in neighbouring lanes) even with -ffp-contract=off.
  if(SEMDIFF_X86_LEVEL GREATER_EQUAL 3)
    semdiff_add_isa(x86_64_v3 -march=x86-64-v3 -mno-fma "-DSEMDIFF_ISA_CPU=\"x86-64-v3\"")
  endif()
  # GCC 12 warns about the deliberately undefined registers inside its own AVX-512 intrinsics (GCC bug 105593).
  if(SEMDIFF_X86_LEVEL GREATER_EQUAL 4)
    semdiff_add_isa(x86_64_v4 -march=x86-64-v4 -mno-fma "-DSEMDIFF_ISA_CPU=\"x86-64-v4\"" -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
endif()
