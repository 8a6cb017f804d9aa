# What `cmake --install` gives: headers, libraries, and find_package(semdiff) with the target semdiff::semdiff.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(SEMDIFF_PACKAGE "${CMAKE_INSTALL_LIBDIR}/cmake/semdiff")

set_target_properties(semdiff_ops PROPERTIES EXPORT_NAME semdiff)
set_target_properties(semdiff_kernels PROPERTIES EXPORT_NAME kernels)
install(TARGETS semdiff_ops semdiff_kernels EXPORT semdiff COMPONENT cpp
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY cpp/include/semdiff DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT cpp)
install(EXPORT semdiff NAMESPACE semdiff:: FILE semdiffTargets.cmake DESTINATION "${SEMDIFF_PACKAGE}" COMPONENT cpp)

configure_package_config_file(cpp/cmake/semdiffConfig.cmake.in semdiffConfig.cmake INSTALL_DESTINATION "${SEMDIFF_PACKAGE}"
  NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(semdiffConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/semdiffConfig.cmake" "${PROJECT_BINARY_DIR}/semdiffConfigVersion.cmake" cpp/cmake/torch.cmake
  DESTINATION "${SEMDIFF_PACKAGE}" COMPONENT cpp)
