// SPDX-License-Identifier: BSL-1.0
// What a worker process does: it takes batches from its socket and gives results, until its owner is gone.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/process/channel.hpp>
#include <joblot/process/worker_config.hpp>
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

/// Sends results over a channel; what tasks wrote to stdout goes out before them.
template <class = void>
class basic_channel_sink final : public results_sink {
public:
    basic_channel_sink(channel& link, task_board& board) noexcept : link_(link), board_(board) {}

    void send_results(const outgoing& message) override {
        std::fflush(stdout);
        // acquire: the owner has read what the earlier messages had in shared memory
        link_.shared_out().release(board_.consumed.load(std::memory_order_acquire));
        link_.send(frame_kind::results, message, ++sent_, {}, [&] {
            pollfd ready{link_.socket(), POLLOUT, 0};
            ::poll(&ready, 1, -1);
        });
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
    void end_process() noexcept override { ::_exit(1); }

private:
    static constexpr std::size_t reserve_size = 1U << 20; ///< far more than the message takes

    std::unique_ptr<std::byte[]> reserve_; // null: memory is not limited
    channel& link_;
    task_board& board_;
    std::uint64_t sent_ = 0;
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
    worker_hello content{.version = protocol_version, .pid = ::getpid(), .build = main_module().id};
    try {
        task_board idle;
        const worker_seat seat(idle, 0, 0, std::nullopt);
        if (init) init();
    } catch (...) {
        encoder to(hello);
        encode_exception(to, std::current_exception());
        content.failed = 1;
    }
    hello.patch(0, content);
    link.send(frame_kind::hello, hello, 0, {}, [] {});
    return content.failed == 0;
}

/// The loop of a worker.
template <class = void>
class basic_worker_loop {
public:
    /// @param outbox, inbox Shared memory for what it sends and receives; without, all of it goes through the socket.
    basic_worker_loop(descriptor socket, descriptor board, descriptor outbox, descriptor inbox)
        : link_(std::move(socket), std::move(outbox), std::move(inbox)), board_file_(std::move(board)),
          board_memory_(board_file_.get(), sizeof(task_board), true),
          board_(std::launder(reinterpret_cast<task_board*>(board_memory_.data()))), sink_(link_, *board_) {
        board_file_.close();
    }

    /// Until the owner wants no more, or is gone.
    /// @param status How the process ends when it is sent what makes no sense to it.
    void run(int status) {
        try {
            set_up();
            while (link_.receive(true)) {
                if (link_.frame().kind() == frame_kind::quit) return;
                handle();
                link_.next_frame();
                sink_.trim();
            }
        } catch (const disconnected&) { // the owner has gone
        } catch (const std::exception& e) {
            std::fprintf(stderr, "%s\n", e.what()); // the owner shows it as the end of our stderr
            std::fflush(nullptr);
            ::_exit(status);
        }
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
        } else if (link_.frame().kind() == frame_kind::run) {
            run_request_message(message, images_.finder(), *board_, sink_);
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
};
using worker_loop = basic_worker_loop<>;

/// A descriptor that this process was started with. Not for programs that tasks start.
template <class = void>
descriptor take_inherited(int number) noexcept {
    ::fcntl(number, F_SETFD, FD_CLOEXEC);
    return descriptor(number);
}

/// Whether the program was started with `mark` and a process number; if so, it belongs to that process from now on.
template <class = void>
bool belongs_to_owner(int argc, char** argv, std::string_view mark) noexcept {
    if (argc < 2 || !argv[1] || !std::string_view(argv[1]).starts_with(mark)) return false;
    end_with_owner(static_cast<pid_t>(std::atol(argv[1] + mark.size())));
    leave_interrupts_to_owner();
    std::setvbuf(stdout, nullptr, _IOLBF, 1U << 16); // lines arrive when they are written, also if the task then dies
    return true;
}

/// If this program was started as a worker, is one, and never returns.
template <class = void>
void be_worker_if_asked(int argc, char** argv) {
    if (!belongs_to_owner(argc, argv, worker_argument)) return;
    {
        worker_loop loop(take_inherited(worker_socket), take_inherited(worker_board), take_inherited(worker_outbox),
                         take_inherited(worker_inbox));
        loop.run(1);
    }
    std::exit(0);
}

} // namespace joblot::detail
