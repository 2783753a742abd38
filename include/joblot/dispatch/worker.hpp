// SPDX-License-Identifier: BSL-1.0
// A thread's place in a call. Made by job.hpp, which is to be included.
#pragma once

#include <joblot/core/inner_threads.hpp>
#include <joblot/core/scope.hpp>
#include <joblot/dispatch/batch.hpp>
#include <joblot/dispatch/batching.hpp>
#include <joblot/this_task.hpp>

#include <atomic>
#include <cstddef>

namespace joblot {

class job;

/// One thread's seat in a call. While it lives, the thread's `this_task` and settings are those of the call's tasks.
/// Lives on the worker's stack and is used by that thread alone.
class worker {
public:
    /// @param id 0 to `job::n_jobs() - 1`, held by no other live worker of that job.
    worker(job& j, int id);
    ~worker();
    worker(const worker&) = delete;
    worker& operator=(const worker&) = delete;

    // What follows is for the dispatcher's own parts.

    /// Notes that task `index` is next; false when it must not start any more.
    [[nodiscard]] bool may_start(std::size_t index) noexcept {
        context_.index = index;
        return index < limit_.load(std::memory_order_relaxed); // relaxed: see job::halt
    }
    /// How many tasks of a batch may start for one look at the mark that tells to stop. More than one where measuring
    /// has made a batch so long that they take some 30 ns each: 2^8 bins of 1e8 samples took 0.067 s with a look before
    /// each, and take 0.043 s. Between looks the compiler may also leave out the stores of `index`.
    [[nodiscard]] std::size_t stride(const batch& b) const noexcept {
        return sizer_.adapts() && b.size() >= 1024 ? 64 : 1;
    }
    /// Notes that task `index`, for which the mark need not be looked at, is next.
    void starts(std::size_t index) noexcept { context_.index = index; }
    detail::task_context& context() noexcept { return context_; }
    detail::batch_sizer& sizer() noexcept { return sizer_; }
    /// Tells how many tasks ended well in the batch that runs.
    void add_completed(std::size_t tasks) noexcept { completed_ += tasks; }

private:
    friend class job;

    // A reader waits for every single result: only after many short tasks may one be held back by others of its batch.
    static constexpr int cautious_trials = 32;

    job& job_;
    const std::atomic<std::size_t>& limit_; // the job's
    detail::task_context context_;
    detail::batch_sizer sizer_;
    detail::task_context::clock::time_point lap_{}; // when the clock was read last
    std::size_t unmeasured_ = 0;                    // tasks that have ended since
    std::size_t measured_ = 0;                      // between the last two times
    std::size_t completed_ = 0;
    detail::task_context* outer_task_;
    const detail::scope* outer_scope_;
    detail::inner_threads_limit inner_threads_;
};

} // namespace joblot
