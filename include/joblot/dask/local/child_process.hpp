// SPDX-License-Identifier: BSL-1.0
// Processes that a Client starts: Python, asked a question or kept as a part of a local cluster.
#pragma once

#include <joblot/dask/local/last_words.hpp>
#include <joblot/dask/net/fork_guard.hpp>
#include <joblot/error.hpp>
#include <joblot/system/child_handle.hpp>
#include <joblot/system/descriptor.hpp>
#include <joblot/system/fork.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
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

    /// Starts `arguments[0]`, looked for in PATH, with stdout and stderr to `output`. @throws backend_error It cannot
    /// be started.
    /// @param otherwise Where it starts if this process's working directory has been deleted: Python wants to have one.
    child_process(std::vector<std::string> arguments, const descriptor& output, const char* otherwise = "/") {
        const descriptor its_end = open_stdin();
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawnattr_init(&attributes);
        const descriptor input(::fcntl(its_end.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1)); // not where they belong
        const descriptor out(::fcntl(output.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
        ::posix_spawn_file_actions_adddup2(&actions, input.get(), STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, out.get(), STDERR_FILENO);
        ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
        if (has_no_directory()) ::posix_spawn_file_actions_addchdir_np(&actions, otherwise);
        set_signals(attributes);
        std::vector<char*> pointers;
        for (std::string& a : arguments) pointers.push_back(a.data());
        pointers.push_back(nullptr);
        pid_t pid = -1;
        const int error =
            !input || !out ? errno : ::posix_spawnp(&pid, pointers[0], &actions, &attributes, pointers.data(), environ);
        if (error == 0) child_ = detail::child_handle(pid);
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

    [[nodiscard]] pid_t pid() const noexcept { return child_.pid(); }

    /// Closes its stdin, which tells it to end.
    void let_go() noexcept {
        if (hold_ < 0 || !is_ours()) return;
        ::send(hold_, "q", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        fork_guard::close(std::exchange(hold_, -1));
    }

    /// Whether it has ended. It is a zombie then, and its group still its own.
    [[nodiscard]] bool has_ended() noexcept {
        if (reaped_ || !is_ours()) return reaped_;
        siginfo_t facts{};
        const int got = child_.wait(facts, WEXITED | WNOWAIT | WNOHANG);
        return got < 0 ? errno == ECHILD : facts.si_pid == pid(); // ECHILD: the program waits for all of its children
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
        child_.kill_group();
        child_.wait(end_, WEXITED);
        reaped_ = true;
    }
    /// How it ended, in words; after `kill`.
    [[nodiscard]] std::string end_in_words() const {
        const bool by_signal = end_.si_code == CLD_KILLED || end_.si_code == CLD_DUMPED;
        return (by_signal ? "was ended by signal " : "ended with status ") + std::to_string(end_.si_status);
    }

private:
    [[nodiscard]] bool is_ours() const noexcept { return static_cast<bool>(here_); }
    descriptor open_stdin() {
        int other = -1;
        hold_ = fork_guard::open([&] {
            int ends[2];
            if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
                return -1; // a pipe's death is a signal
            other = ends[0];
            return ends[1];
        });
        if (hold_ < 0) throw backend_error(std::string("joblot: no sockets can be made: ") + std::strerror(errno));
        return descriptor(other);
    }
    static bool has_no_directory() {
        std::array<char, PATH_MAX> name{};
        return ::getcwd(name.data(), name.size()) == nullptr && errno == ENOENT;
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

    const detail::made_here here_;
    detail::child_handle child_;
    int hold_ = -1;   // the other end of its stdin
    siginfo_t end_{}; // how it ended; nothing where somebody else has waited for it
    bool reaped_ = false;
};

/// What a program wrote to its end, or why there is nothing to be had of it.
struct program_output {
    std::optional<std::string> text{};
    std::string trouble{}; ///< it "does not run: No such file or directory"
};

/// Runs a program to its end, but not for longer than `limit`.
inline program_output output_of(std::vector<std::string> arguments, std::chrono::milliseconds limit) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return {{}, std::string("cannot be asked: ") + std::strerror(errno)};
    const descriptor from(ends[0]);
    descriptor to(ends[1]);
    const auto deadline = std::chrono::steady_clock::now() + limit;
    const program_output late{{}, "does not answer"};
    try {
        child_process child(std::move(arguments), to);
        to.close();
        std::string text;
        for (std::array<char, 4096> some{};;) {
            pollfd watched{from.get(), POLLIN, 0};
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
            if (left.count() <= 0) return late;
            if (::poll(&watched, 1, static_cast<int>(left.count())) <= 0) continue;
            const ssize_t n = ::read(from.get(), some.data(), some.size());
            if (n <= 0) break;
            text.append(some.data(), static_cast<std::size_t>(n));
        }
        if (!child.wait_until(deadline)) return late;
        child.kill();
        if (child.end_in_words() == "ended with status 0") return {std::move(text), {}};
        return {{}, "does not run: it " + child.end_in_words() + (text.empty() ? "" : ": ") + last_words(text)};
    } catch (const backend_error& e) { // there is no such program
        const std::string_view why = e.what();
        const auto at = why.rfind(": ");
        return {{}, "does not run" + std::string(at == why.npos ? "" : why.substr(at))};
    }
}

} // namespace joblot::dask::engine
