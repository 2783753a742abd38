// SPDX-License-Identifier: BSL-1.0
// std::exit is called from inside of a task while other tasks run: the program ends at once with that status.
// Once from the calling thread, once from a helper.

#include "program.hpp"

#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace {

int exit_status_when(bool helper_exits) {
    const pid_t child = ::fork();
    if (child != 0) {
        int status = -1;
        ::waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    ::alarm(100);
    static const auto caller = std::this_thread::get_id();
    static std::atomic<int> inside{0};
    const auto task = [helper_exits](int) {
        ++inside;
        while (inside < 2) std::this_thread::yield(); // both threads are in a task now
        if ((std::this_thread::get_id() != caller) == helper_exits) std::exit(17);
        for (;;) std::this_thread::sleep_for(std::chrono::milliseconds{10});
    };
    joblot::Parallel({.n_jobs = 2, .batch_size = 1})(std::views::iota(0, 2) |
                                                     std::views::transform(joblot::delayed(task)));
    std::_Exit(1);
}

} // namespace

int main() {
    program::require(exit_status_when(false) == 17, "exit from a task on the calling thread");
    program::require(exit_status_when(true) == 17, "exit from a task on a helper");
}
