# What joblot/dask.hpp needs beyond joblot itself; read by joblot's own build and by the installed package, so that both
# say the same. Looks for Boost's headers (1.81 for Asio), nlohmann_json, threads, and OpenSSL, which only tls:// needs.
# Sets joblot_dask_missing: what is not there (empty: all is), joblot_dask_packages: the targets to link, and
# joblot_dask_tls: whether OpenSSL is among them.
#
# A joblot_find_dask_packages() that finds nothing stops nobody; what to do about it is its caller's.

macro(joblot_find_dask_packages)
    find_package(Threads QUIET)
    find_package(Boost 1.81 QUIET)
    find_package(nlohmann_json 3.10 QUIET)
    find_package(OpenSSL 1.1.1 QUIET)
    set(joblot_dask_missing "")
    if(NOT TARGET Threads::Threads)
        list(APPEND joblot_dask_missing "threads")
    endif()
    if(NOT TARGET Boost::headers)
        list(APPEND joblot_dask_missing "Boost headers >= 1.81 (Debian 12: libboost1.81-dev)")
    endif()
    if(NOT TARGET nlohmann_json::nlohmann_json)
        list(APPEND joblot_dask_missing "nlohmann_json >= 3.10 (Debian 12: nlohmann-json3-dev)")
    endif()
    list(JOIN joblot_dask_missing ", " joblot_dask_missing)
    set(joblot_dask_packages Boost::headers nlohmann_json::nlohmann_json Threads::Threads)
    set(joblot_dask_tls FALSE)
    if(TARGET OpenSSL::SSL)
        set(joblot_dask_tls TRUE)
        list(APPEND joblot_dask_packages OpenSSL::SSL OpenSSL::Crypto)
    endif()
endmacro()

# joblot_link_dask_packages(<target>): makes an INTERFACE target require them. All of a program must agree on
# JOBLOT_DASK_TLS, which is why it comes from here and not from what each source file finds.
function(joblot_link_dask_packages target)
    target_link_libraries(${target} INTERFACE joblot::joblot ${joblot_dask_packages})
    if(joblot_dask_tls)
        target_compile_definitions(${target} INTERFACE JOBLOT_DASK_TLS=1)
    endif()
endfunction()
