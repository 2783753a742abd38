// SPDX-License-Identifier: BSL-1.0
// A child that inherits a warm pool ends by exit(), with and without calls of its own.

#include "program.hpp"

#include "../support/sanitizers.hpp"

#include <sys/wait.h>

#include <initializer_list>

// A child has none of the parent's threads, so nothing in it leads to what std::thread keeps for each running one.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:std::thread::thread\n"; }

int main() {
    if (support::under_tsan) return 77; // skipped: the thread sanitizer allows no threads after such a fork
    program::watchdog();
    program::require(program::call(), "results in the parent");
    for (const bool child_calls : {false, true}) {
        const pid_t child = ::fork();
        if (child == 0) {
            program::watchdog();
            std::exit(!child_calls || program::call() ? 0 : 1);
        }
        int status = -1;
        ::waitpid(child, &status, 0);
        program::require(status == 0, child_calls ? "a child with calls" : "a child without calls");
    }
    program::require(program::call(), "results in the parent afterwards");
}
