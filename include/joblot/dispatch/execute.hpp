// SPDX-License-Identifier: BSL-1.0
// Runs the tasks of a batch on the calling thread: the plain loop, and the one with time limits and retries.
#pragma once

#include <joblot/dispatch/job.hpp>
#include <joblot/dispatch/results.hpp>

#include <cstddef>
#include <exception>
#include <string>
#include <utility>

namespace joblot::detail {

// In both, `tasks` and `results` are indexed from `offset`, the index of their first task within the call.

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

/// The fast loop: nothing per task but the call itself and one look at the halt mark. Gives how many tasks ended.
template <class Tasks, class Results>
std::size_t run_plain(job& j, worker& w, const batch& b, Tasks& tasks, Results& results, std::size_t offset) {
    std::size_t i = b.first();
    const std::size_t last = i + b.size();
    try {
        auto&& from = bare(tasks);
        auto&& to = bare(results);
        for (; i != last && w.may_start(i); ++i)
            to.put(i - offset, [&]() -> decltype(auto) { return from.call(i - offset); });
    } catch (...) {
        j.fail(i, std::current_exception(), label_or_nothing(tasks, i - offset));
    }
    w.add_completed(i - b.first());
    return i - b.first();
}

/// Runs one task until it succeeds or may not be tried again. Gives its last exception, or null.
template <class Tasks, class Results>
std::exception_ptr try_task(job& j, worker& w, std::size_t index, Tasks& tasks, Results& results, std::size_t k) {
    using clock = task_context::clock;
    const auto limit = j.settings().given->timeout.limit();
    for (int tries_left = j.settings().given->retries;; --tries_left) {
        // saturated: a limit of centuries must not overflow the clock
        const auto now = limit ? clock::now() : clock::time_point{};
        if (limit)
            w.context().deadline = *limit < clock::time_point::max() - now ? now + *limit : clock::time_point::max();
        std::exception_ptr error;
        try {
            results.put(k, [&]() -> decltype(auto) {
                if constexpr (Tasks::repeatable) {
                    if (tries_left > 0) return tasks.call_again(k);
                }
                return tasks.call(k);
            });
        } catch (...) {
            error = std::current_exception();
        }
        // A late task timed out, also when it threw: it may have done so because it was told to stop.
        if (limit && clock::now() >= w.context().deadline)
            error = std::make_exception_ptr(timeout_error({index, label_or_nothing(tasks, k)}, *limit));
        if (!error || tries_left == 0 || !w.may_start(index)) return error;
    }
}

/// The loop with time limits, retries and outcomes. Gives how many tasks ended.
template <class Tasks, class Results>
std::size_t run_careful(job& j, worker& w, const batch& b, Tasks& tasks, Results& results, std::size_t offset) {
    std::size_t ended = 0;
    for (std::size_t i = b.first(); i != b.first() + b.size() && w.may_start(i); ++i) {
        const std::size_t k = i - offset;
        const std::exception_ptr error = try_task(j, w, i, tasks, results, k);
        w.context().deadline = task_context::clock::time_point::max();
        if constexpr (keeps_failures<Results>) {
            if (error) results.put_failure(k, {error, {i, label_or_nothing(tasks, k)}});
        } else if (error) {
            j.fail(i, error, label_or_nothing(tasks, k));
            break;
        }
        ++ended;
        w.add_completed(1);
    }
    return ended;
}

/// Whether a call needs the careful loop.
template <class Results>
bool needs_care(const call_settings& s) noexcept {
    return keeps_failures<Results> || s.given->timeout.limit() || s.given->retries > 0;
}

} // namespace joblot::detail
