// SPDX-License-Identifier: BSL-1.0
// Runs a function in a forked child with a watchdog and tells how the child ended.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

namespace support {

inline constexpr unsigned child_limit_seconds = 60;

/// Forks; the child runs `body` and ends with `_exit(0)` if it returned true. "" means success, else what happened.
template <class Body>
std::string run_in_child(Body body) {
    const pid_t child = ::fork();
    if (child < 0) return "fork failed";
    if (child == 0) {
        std::signal(SIGALRM, SIG_DFL);
        ::alarm(child_limit_seconds);
        int code = 3;
        try {
            code = body() ? 0 : 1;
        } catch (...) {
            code = 2;
        }
        ::_exit(code);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status)) {
        switch (WEXITSTATUS(status)) {
        case 0:
            return "";
        case 1:
            return "wrong result in the child";
        case 2:
            return "exception in the child";
        default:
            return "child ended with status " + std::to_string(WEXITSTATUS(status));
        }
    }
    return WTERMSIG(status) == SIGALRM ? "the child hung" : "signal " + std::to_string(WTERMSIG(status));
}

} // namespace support
