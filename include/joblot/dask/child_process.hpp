// SPDX-License-Identifier: BSL-1.0
// Processes that a Client starts: Python, asked a question or kept as a part of a local cluster.
#pragma once

#include <joblot/dask/fork_guard.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/descriptor.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace joblot::dask::engine {

using detail::descriptor;

/// A child process in a process group of its own, so that Ctrl-C at the terminal leaves its end to its parent. Its
/// stdin ends when the parent ends, or lets it go: then a byte comes first. For one thread at a time.
class child_process {
public:
    using clock = std::chrono::steady_clock;

    /// Starts `arguments[0]`, looked for in PATH, with stdout and stderr to `output`. @throws backend_error.
    child_process(std::vector<std::string> arguments, const descriptor& output) : owner_(::getpid()) {
        const descriptor its_end = open_stdin();
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawnattr_init(&attributes);
        const descriptor input(::fcntl(its_end.get(), F_DUPFD_CLOEXEC, 64)); // out of the way of 0, 1 and 2
        const descriptor out(::fcntl(output.get(), F_DUPFD_CLOEXEC, 64));
        ::posix_spawn_file_actions_adddup2(&actions, input.get(), STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, out.get(), STDERR_FILENO);
        ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
        set_signals(attributes);
        std::vector<char*> pointers;
        for (std::string& a : arguments) pointers.push_back(a.data());
        pointers.push_back(nullptr);
        const int error = ::posix_spawnp(&pid_, pointers[0], &actions, &attributes, pointers.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        ::posix_spawnattr_destroy(&attributes);
        if (error == 0) return;
        let_go();
        throw backend_error("joblot: " + arguments[0] + " cannot be started: " + std::strerror(error));
    }
    child_process(const child_process&) = delete;
    child_process& operator=(const child_process&) = delete;
    /// Ends it by force. In a forked child of the parent neither this does anything, nor any member.
    ~child_process() {
        let_go();
        kill();
    }

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }

    /// Closes its stdin, which tells it to end.
    void let_go() noexcept {
        if (hold_ < 0 || !is_ours()) return;
        ::send(hold_, "q", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        fork_guard::instance().close(std::exchange(hold_, -1));
    }

    /// Whether it has ended. It is a zombie then, and its group still its own.
    [[nodiscard]] bool has_ended() noexcept {
        if (reaped_ || !is_ours()) return reaped_;
        siginfo_t facts{};
        const int got = ::waitid(P_PID, static_cast<id_t>(pid_), &facts, WEXITED | WNOWAIT | WNOHANG);
        return got < 0 ? errno == ECHILD : facts.si_pid == pid_; // ECHILD: the program ignores SIGCHLD
    }
    /// Waits for its end. @return Whether it came.
    [[nodiscard]] bool wait_until(clock::time_point deadline) noexcept {
        while (!has_ended()) {
            if (clock::now() >= deadline) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return true;
    }
    /// Ends it, and whatever it started in its group, with SIGKILL, and waits for its end.
    void kill() noexcept {
        if (reaped_ || !is_ours()) return;
        ::kill(-pid_, SIGKILL);
        while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
        }
        reaped_ = true;
    }
    /// How it ended, in words; after `kill`.
    [[nodiscard]] std::string end_in_words() const {
        if (WIFSIGNALED(status_)) return "was ended by signal " + std::to_string(WTERMSIG(status_));
        return "ended with status " + std::to_string(WEXITSTATUS(status_));
    }

private:
    [[nodiscard]] bool is_ours() const noexcept { return owner_ == ::getpid(); }
    descriptor open_stdin() {
        int other = -1;
        hold_ = fork_guard::instance().open([&] {
            int ends[2];
            if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
                return -1; // a pipe's death is a signal
            other = ends[0];
            return ends[1];
        });
        if (hold_ < 0) throw backend_error(std::string("joblot: no sockets can be made: ") + std::strerror(errno));
        return descriptor(other);
    }
    static void set_signals(posix_spawnattr_t& attributes) {
        sigset_t none;
        sigset_t all;
        sigemptyset(&none);
        sigfillset(&all);
        ::posix_spawnattr_setsigmask(&attributes, &none);
        ::posix_spawnattr_setsigdefault(&attributes, &all);
        ::posix_spawnattr_setpgroup(&attributes, 0);
        ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    }

    pid_t owner_;
    pid_t pid_ = -1;
    int hold_ = -1; // the other end of its stdin
    int status_ = 0;
    bool reaped_ = false;
};

/// Runs a program to its end. @return What it wrote; nothing where it could not be started, failed, or took too long.
inline std::optional<std::string> output_of(std::vector<std::string> arguments, std::chrono::milliseconds limit) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
    const descriptor from(ends[0]);
    descriptor to(ends[1]);
    const auto deadline = std::chrono::steady_clock::now() + limit;
    try {
        child_process child(std::move(arguments), to);
        to.close();
        std::string text;
        for (std::array<char, 4096> some{};;) {
            pollfd watched{from.get(), POLLIN, 0};
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
            if (left.count() <= 0) return std::nullopt;
            if (::poll(&watched, 1, static_cast<int>(left.count())) <= 0) continue;
            const ssize_t n = ::read(from.get(), some.data(), some.size());
            if (n <= 0) break;
            text.append(some.data(), static_cast<std::size_t>(n));
        }
        if (!child.wait_until(deadline)) return std::nullopt;
        child.kill();
        if (child.end_in_words() != "ended with status 0") return std::nullopt;
        return text;
    } catch (const backend_error&) { // there is no such program
        return std::nullopt;
    }
}

} // namespace joblot::dask::engine
