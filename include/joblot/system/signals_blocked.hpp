// SPDX-License-Identifier: BSL-1.0
// Keeps signals from a thread for a while.
#pragma once

#include <joblot/core/requirements.hpp>

#include <csignal>

#include <signal.h>

namespace joblot::detail {

/// While it lives, the calling thread, and threads and processes that it starts, are sent none of the signals that can
/// be blocked.
class signals_blocked {
public:
    signals_blocked() noexcept {
        sigset_t all;
        sigfillset(&all);
        ::pthread_sigmask(SIG_BLOCK, &all, &before_);
    }
    ~signals_blocked() { lift(); }
    signals_blocked(const signals_blocked&) = delete;
    signals_blocked& operator=(const signals_blocked&) = delete;

    /// Lets them in again before the end.
    void lift() noexcept { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_;
};

} // namespace joblot::detail
