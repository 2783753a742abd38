// SPDX-License-Identifier: BSL-1.0
// `joblot::init`: the line in `main` that worker processes need.
#pragma once

#include <joblot/catalogue.hpp>
#include <joblot/process/engine.hpp>
#include <joblot/process/hosted_main.hpp>
#include <joblot/process/worker_main.hpp>
#include <joblot/wire/entry.hpp>
#include <joblot/wire/remote_exception.hpp>

namespace joblot {

/// To be called first in `main`: `joblot::init(argc, argv);`
///
/// Worker processes are the program's own executable, started again; in one of those, this runs the tasks that it is
/// given and never returns. In the program that the user started it only notes that this works. What `main` does before
/// it, and static initialisation, happens in every worker as well; static destructors run when a worker ends.
/// Programs that use neither worker processes nor a cluster need not call it.
///
/// A template that needs no argument, as are the functions and classes that it takes: a compiler does next to nothing
/// for them in a file that includes joblot.hpp and does not call it, which is most files of a program.
template <class = void>
void init(int argc, char** argv) {
    // before the rest: a worker's own tasks may use workers, too. release: whoever calls it sees what it refers to
    detail::process_engine().store(&detail::run_on_processes, std::memory_order_release);
    // A process that is forked while another thread makes one of these would wait for it for ever: made here, where
    // there are no other threads yet. It takes less than 0.1 ms.
    static_cast<void>(detail::main_module());
    static_cast<void>(detail::exception_table::instance());
    detail::be_worker_if_asked(argc, argv);
    detail::be_hosted_if_asked(argc, argv);
    detail::print_catalogue_if_asked(argc, argv);
}

} // namespace joblot
