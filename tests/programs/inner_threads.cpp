// SPDX-License-Identifier: BSL-1.0
// inner_max_num_threads caps OpenMP inside of tasks and gives the old number back. The program brings its own pair of
// OpenMP functions, so the test needs no OpenMP runtime.

#include "program.hpp"

#include <atomic>

namespace {
thread_local int threads_of_this_thread = 8;
}

extern "C" void omp_set_num_threads(int n) { threads_of_this_thread = n; }
extern "C" int omp_get_max_threads() { return threads_of_this_thread; }

namespace {

// What the tasks of a call found; -1 if they differ.
int seen_in_tasks(const joblot::Parallel& parallel) {
    const auto results = parallel(std::views::iota(0, 100) |
                                  std::views::transform(joblot::delayed([](int) { return threads_of_this_thread; })));
    return std::ranges::count(results, results[0]) == 100 ? results[0] : -1;
}

} // namespace

int main() {
    program::watchdog();
    const joblot::Parallel parallel({.n_jobs = 3});
    program::require(seen_in_tasks(parallel) == 8, "no cap unless asked for");
    {
        const joblot::parallel_backend guard{joblot::threads{.inner_max_num_threads = 2}};
        program::require(seen_in_tasks(parallel) == 2, "a typed guard's cap");
        program::require(threads_of_this_thread == 8, "the caller's own number is back");
        const joblot::parallel_backend inner{"threads", {.inner_max_num_threads = 1}};
        program::require(seen_in_tasks(parallel) == 1, "an inner guard's cap");
        for (auto&& seen : parallel.generator(std::views::iota(0, 20) | std::views::transform(joblot::delayed([](int) {
                                                  return threads_of_this_thread;
                                              }))))
            program::require(seen == 1, "a generator's tasks");
    }
    program::require(seen_in_tasks(parallel) == 8, "the cap ends with the guard, on the helpers, too");
}
