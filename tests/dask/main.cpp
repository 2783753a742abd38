// SPDX-License-Identifier: BSL-1.0
// main of the tests that need a Dask cluster: skipped (77) where JOBLOT_TEST_DASK_PYTHON names no Python.

#include "../support/engine.hpp"

#include <joblot/wire/remote_exception.hpp>

#include <catch2/catch_session.hpp>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
    joblot::register_exception<int>(); // conformance tests throw numbers, and want to see the same ones
    joblot::init(argc, argv);
    const char* const python = std::getenv("JOBLOT_TEST_DASK_PYTHON");
    if (!python || ::access(python, X_OK) != 0) {
        std::fprintf(stderr, "skipped: JOBLOT_TEST_DASK_PYTHON is %s; see scripts/dask_environments.sh\n",
                     python ? python : "not set");
        return 77;
    }
    return Catch::Session().run(argc, argv);
}
