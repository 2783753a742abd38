// SPDX-License-Identifier: BSL-1.0
// Runs the tasks of a batch on the calling thread: the plain loop, and the one with time limits and retries.
#pragma once

#include <joblot/core/reading.hpp>
#include <joblot/core/thread_end.hpp>
#include <joblot/dispatch/job.hpp>
#include <joblot/dispatch/results.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <string>
#include <utility>

namespace joblot::detail {

template <class Tasks>
std::string label_or_nothing(Tasks& tasks, std::size_t k) noexcept {
    try {
        return tasks.label(k); // may have to make the task anew, and that may be what failed
    } catch (...) {
        return {};
    }
}

/// What the fast loop uses instead of `x`: where it offers one, a copy of its bare pointers, which the compiler can
/// keep in registers. Through `x` itself they would be read anew for each task, as looking at the halt mark might
/// change them.
template <class X>
decltype(auto) bare(X& x) {
    if constexpr (requires { x.bare(); })
        return x.bare();
    else
        return static_cast<X&>(x);
}

/// Calls `run(k)` for the tasks from `i` up to `last` that may start; `i` is always the one that runs, or is next.
template <class Run>
void run_started(worker& w, std::size_t& i, std::size_t last, std::size_t stride, Run run) {
    while (i != last && w.may_start(i)) {
        const std::size_t stop = std::min(last, i + stride);
        do {
            w.starts(i);
            run(i);
        } while (++i != stop);
    }
}

/// Runs the loop over a batch in which a failure fails the call: `loop(i, last)`. Gives how many tasks ended.
/// @param offset Index in the call of the first of `tasks`.
template <class Tasks, class Loop>
std::size_t run_until_failure(job& j, worker& w, const batch& b, Tasks& tasks, std::size_t offset, Loop loop) {
    std::size_t i = b.first();
    try {
        loop(i, i + b.size());
    } catch (const unreadable& e) {
        j.fail_input(i, e.why);
    } catch (...) {
        w.context().stop.reset();
        j.fail(i, caught_error(), label_or_nothing(tasks, i - offset));
        if (thread_ends()) {
            w.add_completed(i - b.first());
            throw;
        }
    }
    w.add_completed(i - b.first());
    return i - b.first();
}

/// The fast loop: nothing per task but the call itself and a look at the halt mark (see worker::stride). Gives how many
/// tasks ended.
/// @param offset Index in the call of the first of `tasks` and `results`.
template <class Tasks, class Results>
std::size_t run_plain(job& j, worker& w, const batch& b, Tasks& tasks, Results& results, std::size_t offset) {
    return run_until_failure(j, w, b, tasks, offset, [&](std::size_t& i, std::size_t last) {
        auto&& from = bare(tasks);
        auto&& to = bare(results);
        run_started(w, i, last, w.stride(b), [&](std::size_t k) {
            to.put(k - offset, [&]() -> decltype(auto) { return from.call(k - offset); });
        });
    });
}

/// Makes the failures of the tasks that a stopped call has left; for when no worker is inside any more. They share one
/// exception.
class left_tasks {
public:
    explicit left_tasks(const job& j) : job_(j) {}

    [[nodiscard]] failure at(std::size_t index, std::string label = {}) {
        if (!why_) why_ = std::make_exception_ptr(cancelled(job_.completed_tasks()));
        return {why_, {index, std::move(label)}, 0};
    }

private:
    const job& job_;
    std::exception_ptr why_; // null as long as there is none: most calls leave no task
};

// The loop with time limits, retries and outcomes is compiled once, for all tasks: what it does per task is long
// against the call of a virtual function.

/// How a task ended: its last exception, or null, and at which try.
struct task_end {
    std::exception_ptr error{};
    int tries = 0;
};

/// Runs a task of a batch until it succeeds or may not be tried again.
/// @throws unreadable, which no other try would mend.
inline void try_task(job& j, worker& w, const batch& b, std::size_t index, task_end& end) {
    using clock = task_context::clock;
    const auto limit = j.settings().given->timeout.limit();
    const int retries = j.settings().given->retries;
    for (int tries_left = retries;; --tries_left) {
        if (limit) w.context().deadline = deadline_after(clock::now(), *limit);
        end = {nullptr, retries - tries_left + 1};
        try {
            b.tasks()->attempt(index, tries_left > 0);
        } catch (const unreadable&) {
            throw;
        } catch (...) {
            if (thread_ends()) throw;
            end.error = std::current_exception();
        }
        w.context().stop.reset(); // the next attempt has a time limit of its own
        // A late task timed out, also when it threw: it may have done so because it was told to stop.
        if (limit && clock::now() >= w.context().deadline)
            end.error = std::make_exception_ptr(timeout_error({index, b.tasks()->label(index)}, *limit));
        if (!end.error || tries_left == 0 || !w.may_start(index)) return;
    }
}

/// The task ends its thread. That fails it, and the call as well where the thread is the caller's own.
inline void fail_with_thread(job& j, worker& w, const batch& b, std::size_t index, int tries) {
    w.context().stop.reset();
    if (w.context().worker_id == 0) return j.fail(index, thread_end_error(), b.tasks()->label(index));
    if (j.task_failed(b, index, thread_end_error(), tries)) w.add_completed(1);
}

/// Runs the tasks of a batch with time limits, retries and outcomes. Gives how many of them ended.
inline std::size_t run_careful(job& j, worker& w, const batch& b) {
    std::size_t i = b.first();
    for (; i != b.first() + b.size() && w.may_start(i); ++i) {
        task_end end;
        std::exception_ptr input_error;
        try {
            try_task(j, w, b, i, end);
        } catch (const unreadable& e) {
            input_error = e.why;
        } catch (...) { // nothing else leaves try_task
            fail_with_thread(j, w, b, i, end.tries);
            throw;
        }
        w.context().deadline = task_context::clock::time_point::max();
        if (input_error) {
            j.fail_input(i, std::move(input_error));
            break;
        }
        if (end.error) {
            b.tasks()->drop_result(i); // a late one may have left a value
            if (!j.task_failed(b, i, std::move(end.error), end.tries)) break;
        } else {
            b.tasks()->result_stands(i, end.tries);
        }
        w.add_completed(1);
    }
    return i - b.first();
}

/// Whether a call needs the careful loop.
template <class Results>
bool needs_care(const call_settings& s) noexcept {
    return keeps_failures<Results> || s.given->timeout.limit() || s.given->retries > 0;
}

} // namespace joblot::detail
