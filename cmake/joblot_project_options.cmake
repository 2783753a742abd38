# joblot_project_options: how joblot's own tests, examples and benchmarks are compiled. Nobody else links it.
option(JOBLOT_WERROR "Treat warnings in joblot's own tests, examples and benchmarks as errors" ${PROJECT_IS_TOP_LEVEL})
set(JOBLOT_SANITIZE "" CACHE STRING "Sanitizers for joblot's own tests and examples, e.g. address,undefined")

add_library(joblot_project_options INTERFACE)
target_compile_options(joblot_project_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wcast-qual
    -Wnon-virtual-dtor -Woverloaded-virtual -Wextra-semi -Wunused
)
if(JOBLOT_WERROR)
    target_compile_options(joblot_project_options INTERFACE -Werror)
endif()
if(JOBLOT_SANITIZE)
    target_compile_options(joblot_project_options INTERFACE
        -fsanitize=${JOBLOT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
    )
    target_link_options(joblot_project_options INTERFACE -fsanitize=${JOBLOT_SANITIZE})
    if(JOBLOT_SANITIZE MATCHES "thread")
        target_sources(joblot_project_options INTERFACE "${PROJECT_SOURCE_DIR}/tests/support/tsan_exceptions.cpp")
    endif()
endif()

# A build type for people who name none, once it is certain that this is nobody's subproject.
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    message(STATUS "joblot: no build type was asked for; its own programs are built as RelWithDebInfo")
    set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
