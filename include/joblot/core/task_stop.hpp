// SPDX-License-Identifier: BSL-1.0
// The stop tokens of a call's tasks: made when a task first asks for one, or makes a call of its own, and fired when
// the task's result is not wanted any more.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/stop_alarm.hpp>
#include <joblot/system/visibility.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <stop_token>

namespace joblot::detail {

class task_stop;

/// The tokens of one call's tasks. Thread-safe. Who stops the call lowers its mark first, and then fires them; who
/// asks for a token enters it first, and then looks at the mark. The mutex sees to it that one of both sees the other.
class stop_registry {
public:
    /// Fires the tokens of the tasks at `limit` and above, and runs their callbacks: no lock may be held.
    void fire_from(std::size_t limit) noexcept;

private:
    friend class task_stop;
    std::mutex mutex_; // guards the list and what entries say of being fired; not held while a token fires
    task_stop* first_ = nullptr;
};

/// The token of one task, or of one attempt at it. Lives in the `task_context` and is made and destroyed by its thread.
class task_stop {
public:
    /// @param limit The mark of the call: tasks at it and above are not wanted.
    /// @param foreign Whether another process writes the mark, so that nobody here fires.
    task_stop(stop_registry& call, const std::atomic<std::size_t>& limit, std::size_t index,
              stop_alarm::clock::time_point deadline, bool foreign)
        : call_(call), index_(index), alarm_(source_) {
        if (foreign || deadline != stop_alarm::clock::time_point::max())
            alarm_.set(deadline, foreign ? &limit : nullptr, index);
        enter();
        if (index >= limit.load(std::memory_order_relaxed)) source_.request_stop(); // nobody has its token yet
    }
    ~task_stop() {
        const std::lock_guard lock(call_.mutex_);
        (before_ ? before_->after_ : call_.first_) = after_;
        if (after_) after_->before_ = before_;
    }
    task_stop(const task_stop&) = delete;
    task_stop& operator=(const task_stop&) = delete;

    [[nodiscard]] std::size_t index() const noexcept { return index_; }
    [[nodiscard]] std::stop_token token() const noexcept { return source_.get_token(); }

private:
    friend class stop_registry;

    void enter() noexcept {
        const std::lock_guard lock(call_.mutex_);
        after_ = call_.first_;
        if (after_) after_->before_ = this;
        call_.first_ = this;
    }

    stop_registry& call_;
    const std::size_t index_;
    std::stop_source source_;
    stop_alarm alarm_;
    // The call's list; guarded by its mutex.
    task_stop* before_ = nullptr;
    task_stop* after_ = nullptr;
    bool fired_ = false;
};

inline void stop_registry::fire_from(std::size_t limit) noexcept {
    for (;;) {
        std::stop_source next(std::nostopstate);
        {
            const std::lock_guard lock(mutex_);
            task_stop* t = first_;
            while (t && (t->fired_ || t->index_ < limit)) t = t->after_;
            if (!t) return;
            t->fired_ = true;
            next = t->source_; // shared: the task may end meanwhile
        }
        next.request_stop();
    }
}

} // namespace joblot::detail
