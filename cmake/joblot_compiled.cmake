# JOBLOT_COMPILED: joblot::joblot and joblot::dask bring the engines of worker processes and of clusters as static
# libraries, which are compiled once; in a file that calls joblot::init no engine is compiled. The installed targets are
# those of the headers, until the package's component `compiled` is asked for (joblot_compiled_component.cmake).
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    message(STATUS "joblot: no build type was asked for; its libraries are built as Release")
    set(CMAKE_BUILD_TYPE Release)
endif()

# joblot_add_engine(<library> <file> <target> <export name> <package>...): the library with an engine, for the target of
# the headers. Packages stay out of what is installed (BUILD_INTERFACE): who uses that finds his own.
function(joblot_add_engine library file target export_name)
    add_library(${library} STATIC "${PROJECT_SOURCE_DIR}/${file}")
    set_target_properties(${library} PROPERTIES
        OUTPUT_NAME ${target}
        EXPORT_NAME ${export_name}
        POSITION_INDEPENDENT_CODE ON # a shared library may call init
        CXX_EXTENSIONS OFF
    )
    target_include_directories(${library} SYSTEM PRIVATE "${PROJECT_SOURCE_DIR}/include") # who embeds it may ask for any warning
    target_compile_features(${library} PRIVATE cxx_std_20)
    target_compile_definitions(${library} PRIVATE JOBLOT_COMPILED=1)
    foreach(package IN LISTS ARGN)
        target_link_libraries(${library} PRIVATE "$<BUILD_INTERFACE:${package}>")
    endforeach()
    target_link_libraries(${target} INTERFACE "$<BUILD_INTERFACE:${library}>")
endfunction()

joblot_add_engine(joblot_compiled src/joblot.cpp joblot compiled Threads::Threads)
target_compile_definitions(joblot INTERFACE "$<BUILD_INTERFACE:JOBLOT_COMPILED=1>")
set(joblot_libraries joblot_compiled)

if(TARGET joblot_dask)
    joblot_add_engine(joblot_dask_compiled src/dask.cpp joblot_dask dask_compiled ${joblot_dask_packages})
    if(joblot_dask_tls)
        target_compile_definitions(joblot_dask_compiled PRIVATE JOBLOT_DASK_TLS=1)
    endif()
    set_target_properties(joblot_dask_compiled PROPERTIES
        JOBLOT_DASK_TLS ${joblot_dask_tls}
        EXPORT_PROPERTIES JOBLOT_DASK_TLS
    )
    list(APPEND joblot_libraries joblot_dask_compiled)
endif()
