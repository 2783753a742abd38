# Included by projects that embed joblot, once before and once after: what may change in between is one INTERFACE
# target and cache entries of our own name.

function(joblot_expect what actual expected)
    if(NOT "${actual}" STREQUAL "${expected}")
        message(FATAL_ERROR "joblot leaks into its embedding project: ${what} is '${actual}', not '${expected}'")
    endif()
endfunction()

# Everything of this directory that joblot could have touched.
function(joblot_snapshot variable)
    set(snapshot "")
    foreach(name CMAKE_BUILD_TYPE CMAKE_CXX_FLAGS CMAKE_CXX_STANDARD CMAKE_CXX_EXTENSIONS CMAKE_MODULE_PATH
            CMAKE_POSITION_INDEPENDENT_CODE CMAKE_CXX_CLANG_TIDY CMAKE_EXPORT_COMPILE_COMMANDS BUILD_TESTING
            CMAKE_RUNTIME_OUTPUT_DIRECTORY BUILD_SHARED_LIBS)
        string(APPEND snapshot "${name}=${${name}};")
    endforeach()
    foreach(property COMPILE_OPTIONS COMPILE_DEFINITIONS INCLUDE_DIRECTORIES LINK_OPTIONS LINK_LIBRARIES TESTS)
        get_property(value DIRECTORY PROPERTY ${property})
        string(APPEND snapshot "${property}=${value};")
    endforeach()
    set(${variable} "${snapshot}" PARENT_SCOPE)
endfunction()

# All targets and tests that the folder and its subfolders define.
function(joblot_collect directory targets_variable tests_variable)
    get_property(targets DIRECTORY "${directory}" PROPERTY BUILDSYSTEM_TARGETS)
    get_property(tests DIRECTORY "${directory}" PROPERTY TESTS)
    get_property(subdirectories DIRECTORY "${directory}" PROPERTY SUBDIRECTORIES)
    foreach(subdirectory IN LISTS subdirectories)
        joblot_collect("${subdirectory}" more_targets more_tests)
        list(APPEND targets ${more_targets})
        list(APPEND tests ${more_tests})
    endforeach()
    set(${targets_variable} "${targets}" PARENT_SCOPE)
    set(${tests_variable} "${tests}" PARENT_SCOPE)
endfunction()

if(NOT DEFINED joblot_before)
    joblot_snapshot(joblot_before)
    get_property(joblot_cache_before DIRECTORY PROPERTY CACHE_VARIABLES)
    return()
endif()

joblot_snapshot(joblot_after)
joblot_expect("the directory's state" "${joblot_after}" "${joblot_before}")

get_target_property(joblot_source_dir joblot SOURCE_DIR)
joblot_collect("${joblot_source_dir}" joblot_targets joblot_tests)
joblot_expect("the list of targets" "${joblot_targets}" "joblot")
joblot_expect("the list of tests" "${joblot_tests}" "")

get_target_property(joblot_type joblot TYPE)
joblot_expect("the target's type" "${joblot_type}" "INTERFACE_LIBRARY")
get_target_property(joblot_links joblot INTERFACE_LINK_LIBRARIES)
joblot_expect("what the target links" "${joblot_links}" "Threads::Threads")
get_target_property(joblot_features joblot INTERFACE_COMPILE_FEATURES)
joblot_expect("what the target asks of the compiler" "${joblot_features}" "cxx_std_20")
foreach(property COMPILE_OPTIONS COMPILE_DEFINITIONS LINK_OPTIONS SOURCES PRECOMPILE_HEADERS)
    get_target_property(value joblot INTERFACE_${property})
    joblot_expect("the target's INTERFACE_${property}" "${value}" "value-NOTFOUND")
endforeach()

get_property(joblot_cache DIRECTORY PROPERTY CACHE_VARIABLES)
list(REMOVE_ITEM joblot_cache ${joblot_cache_before})
list(FILTER joblot_cache EXCLUDE REGEX "^(joblot_|JOBLOT_|FETCHCONTENT_)") # ours, and FetchContent's own
# Of find_package, and of CMake itself: a subproject's version makes it note the (unset) version of the whole project.
list(FILTER joblot_cache EXCLUDE REGEX "_Threads$|^CMAKE_HAVE_LIBC_PTHREAD$|^GIT_EXECUTABLE$|_Git$|^CMAKE_PROJECT_VERSION")
joblot_expect("the list of new cache entries" "${joblot_cache}" "")
