// SPDX-License-Identifier: BSL-1.0
// How a worker learns that its owner is gone, whoever it has become since.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/system/descriptor.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <csignal>
#include <mutex>
#include <string>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace joblot::detail {

/// A pipe that nobody writes to. Its writing end is the owner's alone: when that is closed, which the kernel does
/// however a process ends, workers are sent SIGKILL.
///
/// PR_SET_PDEATHSIG does the same, but is undone where a task changes the user or group of its process. This one is
/// not: what may be sent was settled when it was asked for. It needs no thread. Thread-safe.
template <class = void>
class JOBLOT_ONE_TYPE basic_lifeline {
public:
    /// The reading end, for workers; invalid when there are no descriptors left. Closed with what is given.
    static descriptor for_worker() noexcept {
        const std::lock_guard lock(forks.mutex(fork_level::descriptors));
        if (one().reading < 0) make(one());
        return descriptor(::fcntl(one().reading, F_DUPFD_CLOEXEC, 3));
    }

    /// In a forked child, while it has one thread: its parent's end is to close with the parent.
    static void begin_in_child() noexcept { close(one()); }

private:
    struct state {                      // guarded by the mutex that no fork comes in between
        int reading = -1, writing = -1; // never closed: workers end later
    };
    static void make(state& s) noexcept {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return;
        s.reading = ::fcntl(ends[0], F_DUPFD_CLOEXEC, 3);
        s.writing = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 3);
        ::close(ends[0]);
        ::close(ends[1]);
        if (s.reading < 0 || s.writing < 0) close(s); // what has no other end looks like an owner that is gone
    }
    static void close(state& s) noexcept {
        for (int* const end : {&s.reading, &s.writing})
            if (*end >= 0) ::close(std::exchange(*end, -1));
    }
    JOBLOT_ONE_PER_PROCESS static state& one() noexcept {
        static constinit state s;
        return s;
    }
};
using lifeline = basic_lifeline<>;

/// In a worker: asks to be ended when the pipe's other end closes.
/// @param inherited Its reading end; where the process has none, nothing happens.
template <class = void>
void hold_lifeline(descriptor inherited) {
    if (!inherited || ::fcntl(inherited.get(), F_GETFD) < 0) return;
    // opened anew: whom to signal belongs to what was opened, which all workers of an owner have in common
    const std::string path = "/proc/self/fd/" + std::to_string(inherited.get());
    const int own = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC); // stays open
    if (own < 0) return; // no /proc: what remains is PR_SET_PDEATHSIG
    ::fcntl(own, F_SETSIG, SIGKILL);
    ::fcntl(own, F_SETOWN, ::getpid());
    ::fcntl(own, F_SETFL, O_RDONLY | O_NONBLOCK | O_ASYNC);
    pollfd end{inherited.get(), 0, 0}; // not of `own`: opened after the end, it would not know of it
    if (::poll(&end, 1, 0) > 0 && (end.revents & POLLHUP)) ::_exit(1);
}

} // namespace joblot::detail
