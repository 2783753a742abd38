// SPDX-License-Identifier: BSL-1.0
// Includes the cluster's header and asks for a cluster where there is none: the error is the right one.
#include <joblot/dask.hpp>
#include <joblot/dask/engine.hpp>
#include <joblot/joblot.hpp>

#include <cstdio>
#include <cstring>

int known_backends(); // of second.cpp

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    try {
        joblot::dask::Client client("tcp://127.0.0.1:1"); // nobody listens there
    } catch (const joblot::backend_error& e) {
        const bool named = std::strstr(e.what(), "127.0.0.1:1") != nullptr;
        std::printf("%s\n", e.what());
        return named && known_backends() == 1 ? 0 : 1;
    }
    return 1;
}
