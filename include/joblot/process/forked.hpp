// SPDX-License-Identifier: BSL-1.0
// A worker that is forked off: it has all that its parent had at that moment, closures and inputs included.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/process/worker_main.hpp>
#include <joblot/process/worker_process.hpp>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include <fcntl.h>
#include <stdio_ext.h>
#include <unistd.h>

namespace joblot::detail {

/// In the child: connects stdout and stderr with the owner, and lets go of what is the owner's.
template <class = void>
void enter_forked_worker(worker_ends& ends, const worker_config& config, pid_t owner) {
    end_with_owner(owner);
    leave_interrupts_to_owner();
    ::__fpurge(stdout); // what the owner had not written yet is for the owner to write
    ::dup2(ends.out[1].get(), STDOUT_FILENO);
    ::dup2(ends.err[1].get(), STDERR_FILENO);
    const descriptor nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    ::dup2(nothing.get(), STDIN_FILENO);
    for (descriptor* d : {&ends.socket[0], &ends.out[0], &ends.err[0], &ends.out[1], &ends.err[1]}) d->close();
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    process_level() += 1;
    limit_memory(config.memory_limit);
}

/// Forks a process that runs `body(board, sink)` and ends. @throws backend_error.
template <class Body>
std::unique_ptr<worker_process> fork_worker_process(const worker_config& config, Body body) {
    worker_ends ends;
    const pid_t owner = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) cannot_start("fork", errno);
    if (pid != 0) return std::make_unique<worker_process>(pid, std::move(ends), config);
    int status = 1;
    try {
        enter_forked_worker(ends, config, owner);
        channel link(std::move(ends.socket[1]), std::move(ends.outbox), std::move(ends.inbox));
        auto& board = *std::launder(reinterpret_cast<task_board*>(ends.board_memory.data()));
        channel_sink sink(link, board);
        if (config.memory_limit) sink.memory_is_limited();
        if (greet(link, config.init)) body(board, sink);
        status = 0;
    } catch (...) { // nothing may leave: the child must not go on as a second copy of the program
        std::fprintf(stderr, "%s\n", describe_current_exception().second.c_str());
    }
    std::fflush(stdout);
    ::_exit(status); // not exit: destructors and atexit functions are the parent's
}

} // namespace joblot::detail
