// SPDX-License-Identifier: BSL-1.0
// A worker that is forked off: it has all that its parent had at that moment, closures and inputs included.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/process/lifeline.hpp>
#include <joblot/process/worker_main.hpp>
#include <joblot/process/worker_output.hpp>
#include <joblot/process/worker_process.hpp>
#include <joblot/system/signals_blocked.hpp>
#include <joblot/system/visibility.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace joblot::detail {

/// In the child: connects stdout and stderr with the owner, and lets go of what is the owner's.
template <class = void>
JOBLOT_ONE_PER_PROCESS void enter_forked_worker(worker_ends& ends, const worker_config& config, pid_t owner) {
    end_with_owner(owner);
    leave_interrupts_to_owner();
    drop_inherited_output();
    ::dup2(ends.out[1].get(), STDOUT_FILENO);
    ::dup2(ends.err[1].get(), STDERR_FILENO);
    const descriptor nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    ::dup2(nothing.get(), STDIN_FILENO);
    for (descriptor* d : {&ends.socket[0], &ends.out[0], &ends.err[0], &ends.out[1], &ends.err[1]}) d->close();
    static constinit char lines[BUFSIZ]{}; // with the old buffer glibc's putc would not see the ends of lines
    std::setvbuf(stdout, lines, _IOLBF, sizeof lines);
    send_lines_at_once();
    process_level() += 1;
    limit_memory(config.memory_limit);
}

/// Forks a process that runs `body(board, sink)` and ends. @throws backend_error It cannot be started.
template <class Body>
std::unique_ptr<worker_process> fork_worker_process(const worker_config& config, Body body) {
    worker_ends ends;
    descriptor life = lifeline::for_worker();
    const pid_t owner = ::getpid();
    // What signals mean to the program, they must not mean to a child that was just forked: a handler of its own would
    // run there where no lock of the C library is free yet, and the owner may be gone. Lifted when it is a worker.
    signals_blocked held_back;
    const pid_t pid = ::fork();
    if (pid < 0) cannot_start("fork", errno);
    if (pid != 0) return take_over(pid, std::move(ends), config);
    int status = 1;
    const pid_t self = ::getpid();
    try {
        enter_forked_worker(ends, config, owner);
        held_back.lift();
        hold_lifeline(std::move(life));
        channel link(std::move(ends.socket[1]), std::move(ends.outbox), std::move(ends.inbox));
        auto& board = *std::launder(reinterpret_cast<task_board*>(ends.board_memory.data()));
        channel_sink sink(link, board);
        if (config.memory_limit) sink.memory_is_limited();
        if (greet(link, config.init)) body(board, sink);
        status = 0;
    } catch (const disconnected&) { // the owner has gone, or a task has closed what is not its own
        end_forked_copy(self);
        status = ::getppid() == owner ? connection_lost : 0;
    } catch (...) { // nothing may leave: the child must not go on as a second copy of the program
        end_forked_copy(self);
        std::fprintf(stderr, "%s\n", describe_current_exception().second.c_str());
    }
    flush_output();
    std::fflush(nullptr); // files that the task wrote to
    ::_exit(status);      // not exit: destructors and atexit functions are the parent's
}

} // namespace joblot::detail
