// SPDX-License-Identifier: BSL-1.0
// Threads are started when a call can use them, not before: not by including, guarding, or calls of one worker or task.

#include "program.hpp"

#include "../support/sanitizers.hpp"
#include "../support/thread_count.hpp"

int main() {
    program::watchdog();
    const auto only_main = [] { return support::thread_count() == 1; };
    program::require(only_main(), "before anything");
    {
        const joblot::parallel_backend guard{joblot::threads{.n_jobs = 8}};
        const joblot::Parallel parallel;
        program::require(only_main() && joblot::effective_n_jobs() == 8, "guards and Parallel objects");
        program::require(program::call(1) && only_main(), "a call with one worker");
        program::require(program::call(8, 1) && only_main(), "a call with one task");
        program::require(program::call(8, 0) && only_main(), "a call without tasks");
    }
    {
        const joblot::parallel_backend guard{joblot::sequential{}};
        program::require(program::call(8) && only_main(), "the sequential backend");
    }
    program::require(program::call(3), "a call with three workers");
    const int of_the_sanitizer = support::under_tsan ? 1 : 0;
    program::require(support::thread_count() <= 3 + of_the_sanitizer, "three workers are the caller and two helpers");
}
