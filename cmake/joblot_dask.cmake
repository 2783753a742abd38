# joblot::dask: what links it may include joblot/dask.hpp. It is never a requirement of joblot::joblot: who does not ask
# for the cluster needs neither Boost nor JSON.
include("${CMAKE_CURRENT_LIST_DIR}/joblot_dask_packages.cmake")
joblot_find_dask_packages()

if(NOT joblot_dask_missing STREQUAL "")
    if(JOBLOT_DASK STREQUAL "AUTO")
        message(STATUS "joblot: no joblot::dask: there is no ${joblot_dask_missing}")
        return()
    endif()
    message(FATAL_ERROR "joblot: JOBLOT_DASK is ${JOBLOT_DASK}, but there is no ${joblot_dask_missing}")
endif()
if(NOT joblot_dask_tls)
    message(STATUS "joblot: joblot::dask cannot connect to tls:// addresses: there is no OpenSSL")
endif()

add_library(joblot_dask INTERFACE)
add_library(joblot::dask ALIAS joblot_dask)
joblot_link_dask_packages(joblot_dask)
