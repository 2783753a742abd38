// SPDX-License-Identifier: BSL-1.0
// Writes one line of progress to stderr in one system call, and never harms the program when stderr is gone.
#pragma once

#include <cerrno>
#include <cstddef>
#include <string_view>

#if defined(__unix__) || defined(__APPLE__)
#define JOBLOT_POSIX_STDERR 1
#include <csignal>
#include <ctime>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#else
#define JOBLOT_POSIX_STDERR 0
#include <cstdio>
#endif

namespace joblot::detail {

#if JOBLOT_POSIX_STDERR

/// Keeps a write to a closed pipe from ending the program: blocks SIGPIPE on this thread and takes what was raised.
class sigpipe_guard {
public:
    sigpipe_guard() noexcept {
        sigemptyset(&pipe_);
        sigaddset(&pipe_, SIGPIPE);
        armed_ = !pending() && pthread_sigmask(SIG_BLOCK, &pipe_, &before_) == 0;
    }
    sigpipe_guard(const sigpipe_guard&) = delete;
    sigpipe_guard& operator=(const sigpipe_guard&) = delete;
    ~sigpipe_guard() {
        if (!armed_) return;
        if (pending()) take();
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

private:
    static bool pending() noexcept {
        sigset_t set;
        sigemptyset(&set);
        return sigpending(&set) == 0 && sigismember(&set, SIGPIPE) == 1;
    }
    void take() noexcept {
#if defined(__APPLE__) // has no sigtimedwait
        int number = 0;
        sigwait(&pipe_, &number);
#else
        const timespec at_once{};
        sigtimedwait(&pipe_, nullptr, &at_once);
#endif
    }

    sigset_t pipe_;
    sigset_t before_;
    bool armed_ = false;
};

/// Waits until a non-blocking descriptor takes bytes again; false where it does not in time.
/// @param patience In milliseconds; -1: as long as it takes.
inline bool wait_writable(int descriptor, int patience) noexcept {
    pollfd entry{descriptor, POLLOUT, 0};
    return poll(&entry, 1, patience) > 0;
}

/// Writes `text` with one write(2), more only where the system takes less. Gives up on any error.
inline void write_descriptor(int descriptor, std::string_view text, int patience = 100) noexcept {
    const int errno_before = errno; // progress is no reason for a task to see another errno
    {
        const sigpipe_guard guard;
        while (!text.empty()) {
            const auto written = ::write(descriptor, text.data(), text.size());
            if (written > 0)
                text.remove_prefix(static_cast<std::size_t>(written));
            else if (written < 0 && errno == EINTR)
                continue;
            else if (written == 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || !wait_writable(descriptor, patience))
                break;
        }
    }
    errno = errno_before;
}

inline void write_stderr(std::string_view text) noexcept { write_descriptor(STDERR_FILENO, text); }

inline bool stderr_is_terminal() noexcept {
    const int errno_before = errno;
    const bool terminal = ::isatty(STDERR_FILENO) == 1;
    errno = errno_before;
    return terminal;
}

/// Columns of the terminal behind stderr; 80 where that is not known.
inline int stderr_columns() noexcept {
    const int errno_before = errno;
    winsize size{};
    const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    errno = errno_before;
    return known ? size.ws_col : 80;
}

#else

inline void write_stderr(std::string_view text) noexcept { std::fwrite(text.data(), 1, text.size(), stderr); }
inline bool stderr_is_terminal() noexcept { return false; }
inline int stderr_columns() noexcept { return 80; }

#endif

} // namespace joblot::detail

#undef JOBLOT_POSIX_STDERR
