// SPDX-License-Identifier: BSL-1.0
// A worker process as its owner sees it: started, spoken to, listened to, ended.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/error.hpp>
#include <joblot/process/channel.hpp>
#include <joblot/process/line_relay.hpp>
#include <joblot/process/worker_config.hpp>
#include <joblot/system/child_handle.hpp>
#include <joblot/wire/batch_protocol.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace joblot::detail {

template <class = void>
[[noreturn, gnu::cold]] void cannot_start(const char* step, int error) {
    std::string text = "joblot: a worker process cannot be started: " + std::string(step) + ": " + std::strerror(error);
    if (error == EAGAIN) text += " (the limit of processes, `ulimit -u`, or of the container is reached?)";
    if (error == EMFILE || error == ENFILE) text += " (the limit of open files, `ulimit -n`, is reached)";
    throw backend_error(text);
}

/// The descriptors of both ends of a worker's connections.
template <class = void>
struct basic_worker_ends {
    descriptor socket[2], out[2], err[2]; // 0: the owner's, 1: the worker's
    descriptor board, inbox, outbox;      // of the worker; both map them
    mapping board_memory;                 // made, and the board in it, before the worker can look at it

    basic_worker_ends() {
        int pair[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) cannot_start("socketpair", errno);
        socket[0] = descriptor(pair[0]);
        socket[1] = descriptor(pair[1]);
        if (!socket[0] || !socket[1]) cannot_start("socketpair", errno);
        const int on = 1; // with each piece of a message comes who sent it
        if (::setsockopt(socket[0].get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0)
            cannot_start("setsockopt", errno);
        open_pipe(out);
        open_pipe(err);
        board = shared("joblot-board");
        inbox = shared("joblot-inbox");
        outbox = shared("joblot-outbox");
        if (!reserve_shared(board.get(), sizeof(task_board))) cannot_start("shared memory", errno);
        board_memory = mapping(board.get(), sizeof(task_board), true);
        if (!board_memory) cannot_start("mmap", errno);
        ::new (board_memory.data()) task_board;
    }

private:
    static void open_pipe(descriptor (&ends)[2]) {
        int pair[2];
        if (::pipe2(pair, O_CLOEXEC) != 0) cannot_start("pipe", errno);
        ends[0] = descriptor(pair[0]);
        ends[1] = descriptor(pair[1]);
        if (!ends[0] || !ends[1]) cannot_start("pipe", errno);
        ::fcntl(ends[0].get(), F_SETFL, O_NONBLOCK); // the owner must not wait for output
    }
    static descriptor shared(const char* name) {
        descriptor file = shared_memory(name);
        if (!file) cannot_start("shared memory", errno);
        return file;
    }
};
using worker_ends = basic_worker_ends<>;

/// For the thread that has leased it, but for `end_by_force`.
template <class = void>
class basic_worker_process {
public:
    /// Takes over a process that was just started.
    basic_worker_process(pid_t pid, worker_ends ends, const worker_config& config)
        : process_(pid), config_(config),
          link_(std::move(ends.socket[0]), std::move(ends.inbox), std::move(ends.outbox)),
          out_(std::move(ends.out[0]), STDOUT_FILENO), err_(std::move(ends.err[0]), STDERR_FILENO),
          board_memory_(std::move(ends.board_memory)),
          board_(std::launder(reinterpret_cast<task_board*>(board_memory_.data()))) {
        link_.listen_only_to(pid);
    }
    basic_worker_process(const basic_worker_process&) = delete;
    basic_worker_process& operator=(const basic_worker_process&) = delete;
    ~basic_worker_process() {
        if (!end_) {
            end_by_force();
            reap();
        }
    }

    [[nodiscard]] const worker_config& config() const noexcept { return config_; }
    [[nodiscard]] pid_t pid() const noexcept { return process_.pid(); }
    [[nodiscard]] channel& link() noexcept { return link_; }
    [[nodiscard]] task_board& board() noexcept { return *board_; }

    /// Waits for a message, output, the process's death, or a point in time, and passes output on.
    /// @param also_writable Whether to come back when the socket takes bytes again as well.
    void wait(std::optional<std::chrono::steady_clock::time_point> until, bool also_writable = false) {
        std::array<pollfd, 4> watched{
            {{link_.socket(), static_cast<short>(also_writable ? POLLIN | POLLOUT : POLLIN), 0},
             {process_.file(), POLLIN, 0},
             {out_.pipe(), POLLIN, 0},
             {err_.pipe(), POLLIN, 0}}};
        timespec left{};
        if (until) {
            const auto ns = std::max(std::chrono::nanoseconds::zero(),
                                     std::chrono::nanoseconds(*until - std::chrono::steady_clock::now()));
            left.tv_sec = ns.count() / 1'000'000'000;
            left.tv_nsec = ns.count() % 1'000'000'000;
        }
        ::ppoll(watched.data(), watched.size(), until ? &left : nullptr, nullptr);
        hung_up_ = (watched[0].revents & (POLLHUP | POLLERR)) != 0;
        if (watched[1].revents) died_ = true;
        if (watched[2].revents) out_.relay();
        if (watched[3].revents) err_.relay();
    }
    /// Whether the process is known to have ended; messages of it may still be unread.
    [[nodiscard]] bool has_died() const noexcept { return died_; }
    /// Whether it has closed its end of the socket.
    [[nodiscard]] bool hung_up() const noexcept { return hung_up_; }
    /// Whether it has said something that nobody has read. Only while nobody has leased it.
    [[nodiscard]] bool has_something_to_say() const noexcept {
        pollfd socket{link_.socket(), POLLIN, 0};
        return ::poll(&socket, 1, 0) > 0;
    }
    /// Waits for its end, no longer than until a point in time, and passes its output on. False where it has not ended.
    bool wait_for_end(std::chrono::steady_clock::time_point until) {
        while (!look_for_end()) {
            const auto now = std::chrono::steady_clock::now();
            if (now >= until) return false;
            std::array<pollfd, 3> watched{
                {{process_.file(), POLLIN, 0}, {out_.pipe(), POLLIN, 0}, {err_.pipe(), POLLIN, 0}}};
            ::poll(watched.data(), watched.size(), 10);
            relay_output();
        }
        return true;
    }
    /// Looks whether it has ended.
    bool look_for_end() noexcept {
        const std::lock_guard lock(ending_);
        siginfo_t facts{};
        const int result = end_ ? 0 : process_.wait(facts, WEXITED | WNOWAIT | WNOHANG);
        if (end_ || facts.si_pid == pid() || (result < 0 && errno == ECHILD)) died_ = true;
        return died_;
    }
    /// What can be waited for while nobody has leased the worker; some may be -1.
    [[nodiscard]] std::array<int, 4> watched() const noexcept { // the socket is the first
        return {link_.socket(), process_.file(), out_.pipe(), err_.pipe()};
    }

    /// Passes on what was written so far. To be called when results have come: what their tasks wrote came before.
    void relay_output() {
        out_.relay();
        err_.relay();
    }

    /// SIGKILL. Any thread may call it.
    void end_by_force() noexcept {
        const std::lock_guard lock(ending_);
        if (!end_) process_.kill();
    }

    /// Waits for the end of a process that has died, or is about to.
    process_end reap() {
        siginfo_t facts{};
        if (end_) return *end_; // this thread alone sets it
        process_.wait(facts, WEXITED | WNOWAIT);
        const std::lock_guard lock(ending_);
        end_.emplace();
        if (process_.wait(facts, WEXITED) == 0) // else somebody else waits for all children
            (facts.si_code == CLD_EXITED ? end_->exit_status : end_->signal) = facts.si_status;
        died_ = true;
        out_.finish();
        err_.finish();
        return *end_;
    }
    [[nodiscard]] std::string stderr_tail() const { return err_.tail(); }

    /// In a child of the owner: closes what it inherited. The process is none of its business.
    void abandon() noexcept {
        link_.close();
        out_.close();
        err_.close();
        process_.close();
        end_.emplace();
    }

    // --- notes of the owner

    bool greeted = false;              ///< its `hello` was read
    bool reusable = true;              ///< may be given another batch
    std::size_t tasks_given = 0;       ///< for `max_tasks`
    std::uint64_t next_request = 1;    ///< numbers of requests: none is used twice in a worker's life
    std::uint64_t frames_read = 0;     ///< `results` frames
    std::vector<std::uint64_t> images; ///< broadcast values that it has
    std::chrono::steady_clock::time_point idle_since{};

private:
    child_handle process_;
    const worker_config config_;
    channel link_;
    line_relay out_, err_;
    mapping board_memory_;
    task_board* const board_;
    bool died_ = false;
    bool hung_up_ = false;
    std::mutex ending_; // guards end_, and process_ from being used after it
    std::optional<process_end> end_;
};
using worker_process = basic_worker_process<>;

/// Takes over a process that was just started. Where there is no memory for that, nobody would own it: it ends.
template <class = void>
std::unique_ptr<worker_process> take_over(pid_t pid, worker_ends ends, const worker_config& config) {
    try {
        return std::make_unique<worker_process>(pid, std::move(ends), config);
    } catch (...) {
        const child_handle nobodys(pid);
        siginfo_t facts{};
        nobodys.kill();
        nobodys.wait(facts, WEXITED);
        throw;
    }
}

} // namespace joblot::detail
