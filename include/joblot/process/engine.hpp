// SPDX-License-Identifier: BSL-1.0
// Runs a job on worker processes: a driver for each, on a thread of its own.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/backend/process_options.hpp>
#include <joblot/dispatch/waker.hpp>
#include <joblot/process/driver.hpp>
#include <joblot/system/fork.hpp>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace joblot::detail {

/// A child process, however it comes to be, begins without its parent's workers, their lines and their lifeline.
template <class = void>
void workers_are_not_inherited() {
    const std::lock_guard lock(forks.mutex(fork_level::workers));
    forks.set_handler(fork_level::workers, [](fork_phase when) noexcept {
        if (when != fork_phase::in_child) return;
        worker_pool::abandon();
        line_relay::begin_in_child();
        lifeline::begin_in_child();
    });
}

template <class = void>
void drive(job& j, process_driver& driver) noexcept {
    try {
        driver.run();
    } catch (...) {
        j.abort(std::current_exception());
    }
}

template <class = void>
void drive_all(job& j, std::deque<process_driver>& drivers) {
    std::vector<std::jthread> threads;
    const scope* const here = current_scope;
    try {
        for (std::size_t i = 1; i < drivers.size(); ++i) {
            threads.emplace_back([&j, &driver = drivers[i], here] {
                current_scope = here;
                drive(j, driver);
            });
        }
    } catch (const std::exception&) { // no more threads or memory to be had: the call goes on with fewer workers
    }
    drive(j, drivers[0]);
}

/// @throws what keeps the job from worker processes.
template <class = void>
void check_processes_possible(const job& j, const process_options& o) {
    if (o.forked)
        j.check_results_travel();
    else
        static_cast<void>(j.remote_runner()); // throws for tasks that cannot be sent
    if (process_level() >= deepest_level)
        throw backend_error("joblot: worker processes are nested " + std::to_string(deepest_level) +
                            " deep already; use threads inside of their tasks");
    if (o.forked && scope_here().may_not_add_threads())
        throw backend_error("joblot: start_method::fork cannot be used inside of a task of a thread: others may hold "
                            "locks that the copy of the process would wait for; use start_method::spawn, or threads");
}

/// The whole of `backend::run` for worker processes.
template <class = void>
void run_on_processes(job& j, const process_options& o) {
    check_processes_possible(j, o);
    const int workers = static_cast<int>(std::min(static_cast<std::size_t>(j.n_jobs()), j.tasks_left()));
    if (workers == 0) return;
    std::deque<process_driver> drivers; // they do not move
    for (int id = 0; id != workers; ++id) drivers.emplace_back(j, o, id, workers);
    const waker heed(j, [&drivers] {
        for (process_driver& d : drivers) d.heed_limits();
    });
    drive_all(j, drivers);
}

} // namespace joblot::detail
