// SPDX-License-Identifier: BSL-1.0
// Options that are given something of another type: one line for each, which says what to write.
#include <joblot/joblot.hpp>

#include <memory>

using joblot::Parallel, joblot::parallel_backend, joblot::processes, joblot::progress_event;

int main() {
#ifndef JOBLOT_FIXED
    Parallel fraction({.n_jobs = 2.5});     // error: joblot: this option is a whole number
    Parallel level({.verbose = "10"});      // error: joblot: this option is a whole number.* .verbose = 10
    Parallel tries({.retries = "3"});       // error: joblot: this option is a whole number.* .retries = 1
    Parallel no_backend({.backend = main}); // error: joblot: a backend is a name or a description
    Parallel number({.progress = 3});       // error: joblot: a progress callback takes a const joblot::progress_event&
    Parallel pair(
        {.progress = [](int, int) { // error: joblot: a progress callback takes a const joblot::progress_event&
        }});
    Parallel unique({.progress = [p = std::make_unique<int>(1)](const progress_event&) { // error: and can be copied
    }});
    Parallel unit({.deadline = 5});            // error: joblot: a time limit has a unit
    Parallel keep({.on_stop = "keep"});        // error: joblot: .* a constant: .on_stop = joblot::keep
    Parallel memory({.require = "sharedmem"}); // error: joblot: .* a constant: .require = joblot::sharedmem
    Parallel kind({.prefer = "threads"});      // error: joblot: .* a constant: .prefer = joblot::prefer::threads
    Parallel label({.label = 5});              // error: joblot: a label is a text
    joblot::options later;
    later.label = nullptr; // error: joblot: a label is a text

    parallel_backend unnamed("threads", 4);             // error: joblot: defaults have names, and braces
    parallel_backend half("threads", {.n_jobs = 0.5f}); // error: joblot: this option is a whole number
    parallel_backend port("dask", {.address = 8786});   // error: joblot: an address is a text

    [[maybe_unused]] int x = 0;
    [[maybe_unused]] processes inner{.inner_max_num_threads = "two"}; // error: joblot: this option is a whole number
    [[maybe_unused]] processes with_state{
        .worker_init = [&x] { ++x; }}; // error: joblot: worker_init is a function .* without captures
    [[maybe_unused]] processes not_function{.worker_init = 5}; // error: joblot: worker_init is a function
    [[maybe_unused]] processes forked{.start_method =
                                          "fork"}; // error: joblot: .* .start_method = joblot::start_method::fork
    joblot::register_backend("mine", 5);           // error: joblot: a backend's factory is a function that gives
#endif
}
