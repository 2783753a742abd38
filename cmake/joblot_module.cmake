# joblot::module, the C++20 module `joblot` (`import joblot;`). A module is compiled by the project that imports it: this
# adds a static library to that. Included by joblot's own build with JOBLOT_MODULE=ON, and by the package's component
# module; JOBLOT_MODULE_DIR is the folder of joblot.cppm.
set(joblot_module_lacks "")
if(CMAKE_VERSION VERSION_LESS 3.28)
    set(joblot_module_lacks "CMake 3.28 or newer, and this is ${CMAKE_VERSION} (pip install cmake has a newer one)")
elseif(NOT CMAKE_GENERATOR MATCHES "Ninja|Visual Studio")
    set(joblot_module_lacks "the generator Ninja, and this is ${CMAKE_GENERATOR} (cmake -G Ninja)")
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
    set(joblot_module_lacks "g++ 14 or clang 16, and this is g++ ${CMAKE_CXX_COMPILER_VERSION}")
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 16)
    set(joblot_module_lacks "g++ 14 or clang 16, and this is clang ${CMAKE_CXX_COMPILER_VERSION}")
elseif(NOT CMAKE_CXX_COMPILER_CLANG_SCAN_DEPS AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    set(joblot_module_lacks "clang-scan-deps, which was not found (on Debian it is in clang-tools-19)")
endif()

if(joblot_module_lacks STREQUAL "" AND NOT TARGET joblot_module)
    add_library(joblot_module STATIC EXCLUDE_FROM_ALL)
    add_library(joblot::module ALIAS joblot_module)
    target_sources(joblot_module
        PUBLIC FILE_SET CXX_MODULES BASE_DIRS "${JOBLOT_MODULE_DIR}" FILES "${JOBLOT_MODULE_DIR}/joblot.cppm"
    )
    target_link_libraries(joblot_module PUBLIC joblot::joblot)
    set_target_properties(joblot_module PROPERTIES CXX_SCAN_FOR_MODULES ON)
endif()
