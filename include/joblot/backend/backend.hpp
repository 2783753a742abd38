// SPDX-License-Identifier: BSL-1.0
// The contract of a backend: something that runs the batches of a job.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/dispatch/job.hpp>
#include <joblot/system/visibility.hpp>

#include <chrono>
#include <string>

namespace joblot {

/// What a backend's workers can do.
struct backend_traits {
    bool shared_memory = true; ///< tasks see the caller's memory
    bool can_kill = false;     ///< a task that overruns its time limit, or is cancelled, is stopped by force
    bool remote = false;       ///< workers may be on other machines
    bool in_caller = false;    ///< every task runs on the calling thread; a generator then works when it is read
    /// How long an adapted batch is meant to last: long against what it costs to hand one to a worker.
    std::chrono::nanoseconds batch_target = detail::batch_sizer::target_of_threads;
    /// What a batch costs by itself, where that is much: none is made so short that this would show.
    std::chrono::nanoseconds batch_cost{};
};

/// Runs jobs. One object serves many calls, also at the same time: all members must be thread-safe.
class JOBLOT_ONE_TYPE backend {
public:
    backend() = default;
    backend(const backend&) = delete;
    backend& operator=(const backend&) = delete;
    virtual ~backend() = default;

    /// Its name in progress lines, e.g. "ThreadingBackend".
    [[nodiscard]] virtual std::string name() const = 0;

    [[nodiscard]] virtual backend_traits traits() const noexcept { return {}; }

    /// How many workers a call with `n_jobs = n` gets: `n > 0` as many; -1 all; -k all + 1 - k, at least 1.
    /// 0 or less as the answer means that there is no worker now, and the call is refused with a `backend_error`.
    /// @param n Not 0.
    [[nodiscard]] virtual int effective_n_jobs(int n) const = 0;

    /// The same for a call that begins, with its `requested_n_jobs`: for backends that wait here for their workers.
    /// They ask `call.is_over()` meanwhile; once it is, any number from 1 on will do.
    [[nodiscard]] virtual int effective_n_jobs_of(const detail::call_settings& call) const {
        return effective_n_jobs(call.requested_n_jobs);
    }

    /// Runs the whole job and returns when it is over: at most `j.n_jobs()` workers, each on its own thread and with
    /// its own id from 0 on, do `do j.work(id); while (j.wait());`. When it returns, no worker may be inside `j` any
    /// more.
    /// @throws backend_error (or anything else) where it cannot; the call then throws that, unless a task had failed.
    virtual void run(job& j) = 0;
};

namespace detail {
/// joblib's rule for negative numbers of jobs, where `all` workers could be had.
constexpr int resolve_n_jobs(int n, int all) noexcept { return n > 0 ? n : (all + 1 + n > 1 ? all + 1 + n : 1); }
} // namespace detail

} // namespace joblot
