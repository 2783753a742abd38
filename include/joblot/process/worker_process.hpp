// SPDX-License-Identifier: BSL-1.0
// A worker process as its owner sees it: started, spoken to, listened to, ended.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/error.hpp>
#include <joblot/process/channel.hpp>
#include <joblot/process/line_relay.hpp>
#include <joblot/process/worker_config.hpp>
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
#include <sys/syscall.h>
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
        ::fcntl(pair[0], F_SETFL, O_NONBLOCK); // the owner must not wait for output
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
        : pid_(pid), config_(config), link_(std::move(ends.socket[0]), std::move(ends.inbox), std::move(ends.outbox)),
          out_(std::move(ends.out[0]), STDOUT_FILENO), err_(std::move(ends.err[0]), STDERR_FILENO),
          board_memory_(std::move(ends.board_memory)),
          board_(std::launder(reinterpret_cast<task_board*>(board_memory_.data()))),
          death_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
    basic_worker_process(const basic_worker_process&) = delete;
    basic_worker_process& operator=(const basic_worker_process&) = delete;
    ~basic_worker_process() {
        if (!end_) {
            end_by_force();
            reap();
        }
    }

    [[nodiscard]] const worker_config& config() const noexcept { return config_; }
    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    [[nodiscard]] channel& link() noexcept { return link_; }
    [[nodiscard]] task_board& board() noexcept { return *board_; }

    /// Waits for a message, output, the process's death, or a point in time, and passes output on.
    /// @param also_writable Whether to come back when the socket takes bytes again as well.
    void wait(std::optional<std::chrono::steady_clock::time_point> until, bool also_writable = false) {
        std::array<pollfd, 4> watched{
            {{link_.socket(), static_cast<short>(also_writable ? POLLIN | POLLOUT : POLLIN), 0},
             {death_.get(), POLLIN, 0},
             {out_.pipe(), POLLIN, 0},
             {err_.pipe(), POLLIN, 0}}};
        timespec left{};
        if (until) {
            const auto ns = std::max(std::chrono::nanoseconds::zero(),
                                     std::chrono::nanoseconds(*until - std::chrono::steady_clock::now()));
            left.tv_sec = static_cast<time_t>(ns.count() / 1'000'000'000);
            left.tv_nsec = static_cast<long>(ns.count() % 1'000'000'000);
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
    /// What can be waited for while nobody has leased the worker; some may be -1.
    [[nodiscard]] std::array<int, 4> watched() const noexcept {
        return {link_.socket(), death_.get(), out_.pipe(), err_.pipe()};
    }

    /// Passes on what was written so far. To be called when results have come: what their tasks wrote came before.
    void relay_output() {
        out_.relay();
        err_.relay();
    }

    /// SIGKILL. Any thread may call it.
    void end_by_force() noexcept {
        const std::lock_guard lock(ending_);
        if (!end_) ::kill(pid_, SIGKILL); // not waited for yet: the number is still its own
    }

    /// Waits for the end of a process that has died, or is about to.
    process_end reap() {
        int status = 0;
        siginfo_t facts{};
        while (::waitid(P_PID, static_cast<id_t>(pid_), &facts, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
        }
        const std::lock_guard lock(ending_);
        if (end_) return *end_;
        end_.emplace();
        if (::waitpid(pid_, &status, 0) == pid_) { // else somebody else waits for all children
            if (WIFSIGNALED(status)) end_->signal = WTERMSIG(status);
            if (WIFEXITED(status)) end_->exit_status = WEXITSTATUS(status);
        }
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
        death_.close();
        end_.emplace();
    }

    // --- notes of the owner

    bool greeted = false;              ///< its `hello` was read
    bool reusable = true;              ///< may be given another batch
    std::size_t tasks_given = 0;       ///< for `max_tasks`
    std::uint64_t frames_read = 0;     ///< `results` frames
    std::vector<std::uint64_t> images; ///< broadcast values that it has
    std::chrono::steady_clock::time_point idle_since{};

private:
    const pid_t pid_;
    const worker_config config_;
    channel link_;
    line_relay out_, err_;
    mapping board_memory_;
    task_board* const board_;
    descriptor death_; // readable once the process has ended; invalid on kernels before 5.3
    bool died_ = false;
    bool hung_up_ = false;
    std::mutex ending_; // guards end_, and the number from being used after it is free
    std::optional<process_end> end_;
};
using worker_process = basic_worker_process<>;

} // namespace joblot::detail
