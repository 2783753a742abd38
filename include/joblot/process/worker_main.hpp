// SPDX-License-Identifier: BSL-1.0
// What a worker process does: it takes batches from its socket and gives results, until its owner is gone.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/process/channel.hpp>
#include <joblot/process/lifeline.hpp>
#include <joblot/process/worker_config.hpp>
#include <joblot/process/worker_output.hpp>
#include <joblot/system/privileges.hpp>
#include <joblot/wire/batch_runner.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace joblot::detail {

/// A task may fork and return in both processes. The child ends as soon as the worker's own code runs in it: it must
/// not take what the worker is sent, speak for it, or say on the board what it does. Nothing is flushed and no
/// destructor runs, as all that is the parent's.
template <class = void>
void end_forked_copy(pid_t worker) noexcept {
    if (::getpid() != worker) ::_exit(0);
}

/// Sends results over a channel; what tasks wrote goes out before them.
template <class = void>
class basic_channel_sink final : public results_sink {
public:
    basic_channel_sink(channel& link, task_board& board) noexcept : link_(link), board_(board) {}

    void send_results(const outgoing& message) override {
        end_forked_copy(self_);
        flush_output();
        send_lines_at_once(); // a task may have called sync_with_stdio
        // acquire: the owner has read what the earlier messages had in shared memory
        link_.shared_out().release(board_.consumed.load(std::memory_order_acquire));
        try {
            link_.send(frame_kind::results, message, ++sent_, {}, [&] {
                pollfd ready{link_.socket(), POLLOUT, 0};
                ::poll(&ready, 1, -1);
            });
        } catch (const disconnected&) {
            cut_off_ = true;
            throw;
        }
    }

    /// Gives back what large results needed, if they have been read.
    void trim() noexcept {
        link_.shared_out().release(board_.consumed.load(std::memory_order_acquire));
        link_.shared_out().trim();
    }

    /// To be called when memory was limited: from now on a task that reaches the limit ends the process.
    void memory_is_limited() { reserve_ = std::make_unique<std::byte[]>(reserve_size); }
    bool out_of_memory() noexcept override {
        const bool limited = reserve_ != nullptr;
        reserve_.reset();
        return limited;
    }
    void end_process() noexcept override {
        flush_output();
        ::_exit(1);
    }
    /// After each task: it must cost less than a system call. What is forked behind the C library's back is noticed
    /// before it sends something.
    void end_copy() noexcept override {
        if (!here_) end_forked_copy(self_);
    }
    [[nodiscard]] bool is_cut_off() const noexcept override { return cut_off_; }

private:
    static constexpr std::size_t reserve_size = 1U << 20; ///< far more than the message takes

    std::unique_ptr<std::byte[]> reserve_; // null: memory is not limited
    channel& link_;
    task_board& board_;
    const pid_t self_ = ::getpid();
    const made_here here_;
    std::uint64_t sent_ = 0;
    bool cut_off_ = false;
};
using channel_sink = basic_channel_sink<>;

/// The broadcast values that a worker was given.
template <class = void>
class basic_image_store {
public:
    basic_image_store() : find_([this](std::uint64_t id) { return find(id); }) {}
    basic_image_store(const basic_image_store&) = delete;
    basic_image_store& operator=(const basic_image_store&) = delete;

    void add(std::uint64_t id, descriptor file) { images_.push_back(std::make_shared<segment>(id, std::move(file))); }
    void forget(std::uint64_t id) {
        std::erase_if(images_, [&](const std::shared_ptr<segment>& image) {
            if (image->id() == id) image->drop_decoded();
            return image->id() == id;
        });
    }
    [[nodiscard]] const decoder::image_finder& finder() const noexcept { return find_; }

private:
    std::shared_ptr<segment> find(std::uint64_t id) const {
        for (const auto& image : images_) {
            if (image->id() == id) return image;
        }
        return nullptr;
    }

    std::vector<std::shared_ptr<segment>> images_;
    decoder::image_finder find_;
};
using image_store = basic_image_store<>;

/// Ctrl-C reaches the whole process group, but what it means is the owner's to say. A handler, as other programs that
/// tasks may start would inherit it if the signal were ignored.
template <class = void>
void leave_interrupts_to_owner() noexcept {
    struct sigaction nothing{};
    nothing.sa_handler = [](int) {};
    nothing.sa_flags = SA_RESTART;
    ::sigaction(SIGINT, &nothing, nullptr);
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    ::sigprocmask(SIG_UNBLOCK, &interrupt, nullptr);
}

/// The process ends with its owner, however that ends.
template <class = void>
void end_with_owner(pid_t owner) noexcept {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != owner) ::_exit(1); // it has died already
}

template <class = void>
void limit_memory(std::uint64_t bytes) noexcept {
    if (bytes == 0) return;
    // Of its own: not of what it shares, or only has mapped from files.
    rlimit limit{};
    ::getrlimit(RLIMIT_DATA, &limit);
    limit.rlim_cur = std::min<rlim_t>(bytes, limit.rlim_max);
    ::setrlimit(RLIMIT_DATA, &limit);
}

/// Runs `worker_init`, if there is one, and tells the owner who the worker is, and whether that went well.
/// @return Whether it did.
template <class = void>
bool greet(channel& link, void (*init)()) {
    outgoing hello;
    hello.put(worker_hello{});
    const pid_t self = ::getpid();
    worker_hello content{.version = protocol_version, .pid = self, .build = main_module().id};
    const auto tell = [&] {
        hello.patch(0, content);
        link.send(frame_kind::hello, hello, 0, {}, [] {});
    };
    try {
        task_board idle;
        const worker_seat seat(idle, 0, 0, std::nullopt, nullptr);
        if (init) init();
        end_forked_copy(self);
        send_lines_at_once(); // it may have called sync_with_stdio
    } catch (...) {
        end_forked_copy(self);
        encoder to(hello);
        encode_exception(to, caught_error());
        content.failed = 1;
        if (thread_ends()) { // it was the only one
            tell();
            ::_exit(1);
        }
    }
    tell();
    return content.failed == 0;
}

/// The loop of a worker.
template <class = void>
class basic_worker_loop {
public:
    /// `outbox` and `inbox` are shared memory for what it sends and receives; without, all of it goes through the
    /// socket.
    basic_worker_loop(descriptor socket, descriptor board, descriptor outbox, descriptor inbox)
        : link_(std::move(socket), std::move(outbox), std::move(inbox)), board_file_(std::move(board)),
          board_memory_(board_file_.get(), sizeof(task_board), true),
          board_(std::launder(reinterpret_cast<task_board*>(board_memory_.data()))), sink_(link_, *board_) {
        board_file_.close();
    }

    /// Until the owner wants no more, or is gone.
    /// @param status How the process ends when it is sent what makes no sense to it.
    /// @return How it is to end else.
    int run(int status) {
        const pid_t owner = ::getppid();
        try {
            set_up();
            while (link_.receive(true)) {
                if (link_.frame().kind() == frame_kind::quit) return 0;
                handle();
                link_.next_frame();
                sink_.trim();
            }
        } catch (const disconnected&) { // the owner has gone, or a task has closed what is not its own
            return ::getppid() == owner ? connection_lost : 0;
        } catch (const std::exception& e) {
            std::fprintf(stderr, "%s\n", e.what()); // the owner shows it as the end of our stderr
            std::fflush(nullptr);
            ::_exit(status);
        }
        return 0;
    }

private:
    void set_up() {
        link_.receive(true);
        const auto setup = link_.message().get<worker_setup>("the setup of a worker");
        link_.next_frame();
        process_level() = setup.level;
        limit_memory(setup.memory_limit);
        if (setup.memory_limit) sink_.memory_is_limited();
        auto* const init = setup.init.offset ? reinterpret_cast<void (*)()>(resolve(setup.init, true))
                                             : static_cast<void (*)()>(nullptr);
        greet(link_, init);
    }

    void handle() {
        incoming message = link_.message();
        std::vector<descriptor> files = link_.take_images();
        if (link_.frame().kind() == frame_kind::forget) {
            while (message.remaining()) images_.forget(message.get<std::uint64_t>("a broadcast value"));
        } else if (link_.frame().kind() == frame_kind::images) {
            for (descriptor& file : files)
                images_.add(message.get<std::uint64_t>("a broadcast value"), std::move(file));
        } else if (link_.frame().kind() == frame_kind::call_over) {
            kept_.values.clear();
        } else if (link_.frame().kind() == frame_kind::run) {
            run_request_message(message, images_.finder(), *board_, sink_, kept_);
        } else {
            throw serialization_error("joblot: a worker was sent a frame of an unexpected kind", "a frame");
        }
    }

    channel link_;
    descriptor board_file_;
    mapping board_memory_;
    task_board* board_;
    channel_sink sink_;
    image_store images_;
    values_of_call kept_;
};
using worker_loop = basic_worker_loop<>;

/// A descriptor that this process was started with. Not for programs that tasks start.
template <class = void>
descriptor take_inherited(int number) noexcept {
    ::fcntl(number, F_SETFD, FD_CLOEXEC);
    return descriptor(number);
}

/// Whether the program was started with `mark` and a process number; if so, it belongs to that process from now on.
///
/// Whoever holds the other end of a worker's socket says what it calls: `worker_init` and the functions of tasks may be
/// anything in the program. Anybody can start the program with `mark` and a socket of his own. That gives him nothing,
/// unless the program has more rights than he has; so such a one is nobody's worker (and starts none, see
/// spawn_worker), and no list has to say which functions it would call.
template <class = void>
bool belongs_to_owner(int argc, char** argv, std::string_view mark) noexcept {
    if (argc < 2 || !argv[1] || !std::string_view(argv[1]).starts_with(mark) || is_privileged()) return false;
    end_with_owner(static_cast<pid_t>(std::atol(argv[1] + mark.size())));
    hold_lifeline(descriptor(worker_lifeline));
    leave_interrupts_to_owner();
    std::setvbuf(stdout, nullptr, _IOLBF, 1U << 16); // lines arrive when they are written, also if the task then dies
    send_lines_at_once();
    return true;
}

/// If this program was started as a worker, is one, and never returns.
template <class = void>
void be_worker_if_asked(int argc, char** argv) {
    if (!belongs_to_owner(argc, argv, worker_argument)) return;
    int status = 0;
    {
        worker_loop loop(take_inherited(worker_socket), take_inherited(worker_board), take_inherited(worker_outbox),
                         take_inherited(worker_inbox));
        status = loop.run(1);
    }
    std::exit(status);
}

} // namespace joblot::detail
