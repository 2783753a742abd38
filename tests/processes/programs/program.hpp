// SPDX-License-Identifier: BSL-1.0
// What the programs of this folder share. Each starts itself again in some role, watches what becomes of it and of its
// workers, and returns 0 when that is right. A role is the first argument; without one, the program is the watcher.
#pragma once

#include "../../support/engine.hpp"
#include "../../support/waiting.hpp"

#include <joblot/joblot.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

namespace program {

inline void require(bool right, const std::string& what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what.c_str());
    std::_Exit(1);
}

/// Ends the program by SIGALRM if it hangs.
inline void watchdog() {
    ::signal(SIGALRM, SIG_DFL);
    ::alarm(100);
}

using support::eventually;

/// Whether a process runs no more. One whose new parent has not waited for it yet counts as gone.
inline bool is_gone(pid_t pid) {
    std::FILE* const in = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "re");
    if (!in) return true;
    char text[512];
    const std::string stat(text, std::fread(text, 1, sizeof text, in)); // nothing where it ends at this moment
    std::fclose(in);
    const auto name_end = stat.rfind(") ");
    return name_end == stat.npos || stat[name_end + 2] == 'Z' || stat[name_end + 2] == 'X';
}

// --- for the roles

/// Tells the watcher a process number, past any relay: the pipe's number is in the environment of all.
inline void tell(long number) {
    const char* const pipe = std::getenv("JOBLOT_TEST_PIPE");
    const std::string line = std::to_string(number) + "\n";
    if (!pipe || ::write(std::atoi(pipe), line.data(), line.size()) < 0) std::_Exit(97);
}
inline void sleep_for_ever() {
    for (int i = 0; i != 3600; ++i) std::this_thread::sleep_for(std::chrono::seconds(1));
}
/// A worker's process number; waits a moment, so that another worker takes part, too.
inline int own_pid(int) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return ::getpid();
}

// --- for the watcher

/// How a process ended, as a shell tells it: its exit status, or 128 + the signal.
inline int end_of(pid_t pid) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// This program, started again in a role. Its workers have no descriptor but their own, so numbers come by the role's
/// own process only: what it prints.
class started {
public:
    /// @param group Whether it gets a process group of its own, as a shell gives it.
    explicit started(const char* role, bool group = false) {
        int ends[2];
        require(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
        pid_ = ::fork();
        require(pid_ >= 0, "fork");
        if (pid_ == 0) {
            if (group) ::setpgid(0, 0);
            const int number = ::dup(ends[1]); // without O_CLOEXEC
            ::setenv("JOBLOT_TEST_PIPE", std::to_string(number).c_str(), 1);
            ::execl("/proc/self/exe", "joblot-test-role", role, static_cast<char*>(nullptr));
            ::_exit(98);
        }
        if (group) ::setpgid(pid_, pid_); // whoever comes first
        ::close(ends[1]);
        pipe_ = ::fdopen(ends[0], "r");
    }
    ~started() { std::fclose(pipe_); }
    started(const started&) = delete;
    started& operator=(const started&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }
    /// The numbers that it tells, up to a 0 or its end, or as many as there are to be.
    std::vector<pid_t> numbers(std::size_t most = static_cast<std::size_t>(-1)) {
        std::vector<pid_t> all;
        int number = 0;
        while (all.size() != most && std::fscanf(pipe_, "%d", &number) == 1 && number != 0) all.push_back(number);
        return all;
    }

private:
    pid_t pid_ = -1;
    std::FILE* pipe_ = nullptr;
};

inline void require_gone(const std::vector<pid_t>& workers, const std::string& when) {
    for (const pid_t worker : workers)
        require(eventually([&] { return is_gone(worker); }), "a worker is still there: " + when);
}

} // namespace program
