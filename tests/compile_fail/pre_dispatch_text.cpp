// SPDX-License-Identifier: BSL-1.0
// Python's text.
// expect: joblot: read ahead a whole number of tasks
#include <joblot/joblot.hpp>

#include <chrono>

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const joblot::Parallel parallel({.pre_dispatch = joblot::per_job(2)});
#else
    [[maybe_unused]] const joblot::Parallel parallel({.pre_dispatch = "2*n_jobs"});
#endif
}
