// SPDX-License-Identifier: BSL-1.0
// The program as a child of a Dask worker, where python/worker_shim/joblot_shim.py starts it: the same loop as that of
// a worker process, but everything goes through the socket, as frames arrive from a network. Templates, so that only
// what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/process/worker_main.hpp>

#include <cstdlib>

namespace joblot::detail {

/// First part of the argument that makes a program such a child; the process number of the Dask worker follows.
inline constexpr const char* hosted_argument = "--joblot-hosted=";

/// Exit status of a program that was sent what it has no code for; the shim knows it.
inline constexpr int not_our_code = 78;

/// If this program was started by a Dask worker, serves it, and never returns.
template <class = void>
void be_hosted_if_asked(int argc, char** argv) {
    if (!belongs_to_owner(argc, argv, hosted_argument)) return;
    {
        worker_loop loop(take_inherited(worker_socket), take_inherited(worker_board), descriptor(), descriptor());
        loop.run(not_our_code);
    }
    std::exit(0);
}

} // namespace joblot::detail
