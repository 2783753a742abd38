# Install rules: headers, the CMake package (find_package(joblot)), joblot.pc and joblot-dask.pc. Nothing depends on the
# architecture, so all go below share/, and find the headers relative to themselves: an installed tree may be moved. With
# JOBLOT_COMPILED there are libraries, which the package's component `compiled` links, and the package is of their
# architecture and lies beside them.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(joblot_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/joblot")
set(joblot_architecture ARCH_INDEPENDENT)
if(JOBLOT_COMPILED)
    set(joblot_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/joblot")
    set(joblot_architecture "")
endif()
set(joblot_pkgconfig_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")

install(TARGETS joblot EXPORT joblot-targets FILE_SET HEADERS)
install(FILES "${PROJECT_SOURCE_DIR}/include/joblot/python/joblot.py"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/joblot/python")
install(EXPORT joblot-targets NAMESPACE joblot:: DESTINATION "${joblot_package_dir}")
if(JOBLOT_COMPILED) # a file for each, as only who wants the cluster has what its library needs
    foreach(library IN LISTS joblot_libraries)
        install(TARGETS ${library} EXPORT ${library}-targets)
        install(EXPORT ${library}-targets NAMESPACE joblot:: DESTINATION "${joblot_package_dir}")
    endforeach()
endif()

configure_package_config_file(
    "${CMAKE_CURRENT_LIST_DIR}/joblot-config.cmake.in" "${PROJECT_BINARY_DIR}/joblot-config.cmake"
    INSTALL_DESTINATION "${joblot_package_dir}"
    NO_SET_AND_CHECK_MACRO
)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/joblot-config-version.cmake"
    COMPATIBILITY SameMinorVersion ${joblot_architecture}
)
install(
    FILES "${PROJECT_BINARY_DIR}/joblot-config.cmake" "${PROJECT_BINARY_DIR}/joblot-config-version.cmake"
        # The component dask finds its packages when it is asked for: what this machine has does not matter.
        "${CMAKE_CURRENT_LIST_DIR}/joblot_dask_packages.cmake"
        # The component compiled: where it was not installed, it says so.
        "${CMAKE_CURRENT_LIST_DIR}/joblot_compiled_component.cmake"
        # The component module is compiled by who uses it.
        "${CMAKE_CURRENT_LIST_DIR}/joblot_module.cmake" "${PROJECT_SOURCE_DIR}/modules/joblot.cppm"
    DESTINATION "${joblot_package_dir}"
)

# The way from joblot.pc to the prefix and to the headers; an absolute install folder stays as it is.
file(RELATIVE_PATH joblot_pc_to_prefix "/prefix/${joblot_pkgconfig_dir}" "/prefix")
set(joblot_pc_prefix "\${pcfiledir}/${joblot_pc_to_prefix}")
set(joblot_pc_includedir "\${prefix}")
cmake_path(APPEND joblot_pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
configure_file("${CMAKE_CURRENT_LIST_DIR}/joblot.pc.in" "${PROJECT_BINARY_DIR}/joblot.pc" @ONLY)
configure_file("${CMAKE_CURRENT_LIST_DIR}/joblot-dask.pc.in" "${PROJECT_BINARY_DIR}/joblot-dask.pc" @ONLY)
# A folder of the system, so that nobody gets our warnings. /usr/include is one already, and the standard library does not
# find its C headers where it is named as one again.
install(CODE "
    set(joblot_includes \"${CMAKE_INSTALL_INCLUDEDIR}\")
    cmake_path(ABSOLUTE_PATH joblot_includes BASE_DIRECTORY \"\${CMAKE_INSTALL_PREFIX}\" NORMALIZE)
    file(READ \"${PROJECT_BINARY_DIR}/joblot.pc\" joblot_pc)
    if(joblot_includes STREQUAL \"/usr/include\")
        string(REPLACE \"-isystem \" \"-I\" joblot_pc \"\${joblot_pc}\")
    endif()
    file(WRITE \"${PROJECT_BINARY_DIR}/installed/joblot.pc\" \"\${joblot_pc}\")
")
install(FILES "${PROJECT_BINARY_DIR}/installed/joblot.pc" "${PROJECT_BINARY_DIR}/joblot-dask.pc"
    DESTINATION "${joblot_pkgconfig_dir}")

install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
