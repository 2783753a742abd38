// SPDX-License-Identifier: BSL-1.0
// What a running task can ask about itself.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/task_stop.hpp>
#include <joblot/core/worker_values.hpp>
#include <joblot/system/visibility.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>

namespace joblot {

namespace detail {

/// What the dispatcher knows of the task that runs on a thread. Lives on that thread's stack; only `limit` is shared.
struct task_context {
    using clock = std::chrono::steady_clock;

    std::size_t index = 0;
    int worker_id = 0;
    // Tasks at or above this index are not wanted any more. Written by whoever fails or stops the call.
    const std::atomic<std::size_t>* limit = nullptr;
    clock::time_point deadline = clock::time_point::max(); // max: no time limit
    stop_registry* tokens = nullptr;                       // of the call's tasks
    bool limit_is_foreign = false;                         // another process lowers it
    std::unique_ptr<task_stop> stop{};                     // of a task that asked for it; it may have ended since
    worker_values* values = nullptr;                       // of the call's workers
    std::uint64_t kind_at_hand = 0;                        // of the value that was used last; 0: none was
    void* value_at_hand = nullptr;

    /// The token of the task that runs; its own thread only.
    [[nodiscard]] std::stop_token stop_token() {
        if (!stop || stop->index() != index) {
            stop.reset(); // that of an earlier task
            stop = std::make_unique<task_stop>(*tokens, *limit, index, deadline, limit_is_foreign);
        }
        return stop->token();
    }
};

/// What is over `limit` after `begin`; saturated, as a limit of centuries must not overflow the clock.
inline task_context::clock::time_point deadline_after(task_context::clock::time_point begin,
                                                      std::chrono::nanoseconds limit) noexcept {
    constexpr auto never = task_context::clock::time_point::max();
    return limit < never - begin ? begin + limit : never;
}

// The innermost task of this thread, or null.
JOBLOT_ONE_PER_PROCESS inline constinit thread_local task_context* current_task = nullptr;

inline const task_context& require_task(const char* what) {
    if (!current_task)
        throw std::logic_error("joblot: this_task::" + std::string(what) + "() was called outside of a task");
    return *current_task;
}

/// Finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
constexpr std::uint64_t mix64(std::uint64_t x) noexcept {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

} // namespace detail

/// About the task that runs on the calling thread; in nested calls, the innermost one. All are thread-safe.
namespace this_task {

/// Position of the task in the call's input, counted from 0. @throws std::logic_error outside of a task.
[[nodiscard]] inline std::size_t index() { return detail::require_task("index").index; }

/// The worker that runs the task: 0 to `effective_n_jobs - 1`. No two tasks of one call that run at the same time
/// share it, so it can index per-worker scratch data. @throws std::logic_error outside of a task.
[[nodiscard]] inline int worker_id() { return detail::require_task("worker_id").worker_id; }

/// Whether the task's result is not wanted any more: its time limit or the call's deadline has passed, the call's stop
/// token has fired, another task failed, the generator was dropped, or any of this is so for a task that the call was
/// made in, at any level. A long task should poll it and return or throw.
/// False outside of a task.
[[nodiscard]] inline bool stop_requested() noexcept {
    const detail::task_context* t = detail::current_task;
    if (!t) return false;
    // relaxed: a hint to stop, no data comes with it
    if (t->index >= t->limit->load(std::memory_order_relaxed)) return true;
    return t->deadline != detail::task_context::clock::time_point::max() &&
           detail::task_context::clock::now() >= t->deadline;
}

/// A token that fires when `stop_requested()` turns true, to be handed on to other libraries and to what waits for
/// `std::stop_token`s. It is made when it is first asked for; tasks that do not ask pay nothing. Its callbacks run on
/// the thread that stops the call, or on the one that watches over time limits, and no lock of the library is held;
/// they should be short. In worker processes it fires within some 10 ms. After the end of the task it means nothing.
/// Never fires outside of a task. @throws std::system_error where no thread can be started to watch over a time limit.
[[nodiscard]] inline std::stop_token stop_token() {
    detail::task_context* t = detail::current_task;
    return t ? t->stop_token() : std::stop_token();
}

/// 64 random bits for this task: a function of `call_seed` and the task's index alone, hence the same on every backend
/// and for any `n_jobs`. Tasks' values differ from each other. @throws std::logic_error outside of a task.
[[nodiscard]] inline std::uint64_t seed(std::uint64_t call_seed) {
    const auto i = static_cast<std::uint64_t>(detail::require_task("seed").index);
    return detail::mix64(detail::mix64(call_seed + 0x9e3779b97f4a7c15U) + (i + 1) * 0x9e3779b97f4a7c15U);
}

} // namespace this_task

} // namespace joblot
