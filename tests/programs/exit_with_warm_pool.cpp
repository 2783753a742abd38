// SPDX-License-Identifier: BSL-1.0
// A program with a warm pool, and then one of its threads, ends by std::exit.

#include "program.hpp"

#include <sys/wait.h>

#include <thread>

int main() {
    program::watchdog();
    if (const pid_t child = ::fork(); child == 0) {
        if (!program::call()) std::_Exit(1);
        std::thread{[] { std::exit(0); }}.join(); // not by the main thread
    } else {
        int status = -1;
        ::waitpid(child, &status, 0);
        program::require(status == 0, "std::exit from a user's own thread");
    }
    program::require(program::call(), "results");
    std::exit(0);
}
