// SPDX-License-Identifier: BSL-1.0
// What `joblot::init` does: the engine of worker processes is told to the backend, and a worker becomes one.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/backend/process_options.hpp>
#include <joblot/core/catalogue.hpp>
#include <joblot/process/engine.hpp>
#include <joblot/process/hosted_main.hpp>
#include <joblot/process/worker_main.hpp>
#include <joblot/system/descriptor.hpp>

#include <atomic>

namespace joblot::detail {

template <class = void>
void start(int argc, char** argv) {
    fill_standard_descriptors(); // before anything is opened
    // before the rest: a worker's own tasks may use workers, too. release: whoever calls it sees what it refers to
    process_engine().store(&run_on_processes, std::memory_order_release);
    workers_are_not_inherited();
    be_worker_if_asked(argc, argv);
    be_hosted_if_asked(argc, argv);
    print_catalogue_if_asked(argc, argv);
}

} // namespace joblot::detail
