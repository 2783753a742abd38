// SPDX-License-Identifier: BSL-1.0
// Fires stop sources at a given time: time limits of tasks and of calls. One thread for the whole process does it,
// started by the first time limit that needs it.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

namespace joblot::detail {

class stop_alarm;

/// The thread that fires, and what it has to look after. A child process after `fork` gets one of its own.
class alarm_clock {
public:
    using clock = std::chrono::steady_clock;
    static constexpr std::chrono::milliseconds look_every{10}; ///< at marks that another process writes

    JOBLOT_ONE_PER_PROCESS static alarm_clock& instance() {
        static constinit per_process<alarm_clock> one; // never destroyed: its thread ends with the program
        return one.get();
    }
    [[nodiscard]] bool is_current() const noexcept { return static_cast<bool>(here_); }

    /// @throws std::system_error where the thread cannot be started.
    void add(stop_alarm& a);
    void remove(stop_alarm& a) noexcept;

private:
    friend class per_process<alarm_clock>;
    alarm_clock() = default;

    [[noreturn]] void run();
    /// The source of an alarm that is due, taken off the list; else none, and the time of the next look.
    std::stop_source next_due(clock::time_point now) noexcept;

    std::mutex mutex_; // guards everything below, and what alarms say; never held while a source fires
    std::condition_variable changed_;
    stop_alarm* first_ = nullptr;
    clock::time_point next_look_ = clock::time_point::max();
    bool started_ = false;
    const made_here here_;
};

/// Fires a stop source when its time has come. For one thread; it must live where it was made.
class stop_alarm {
public:
    using clock = alarm_clock::clock;

    explicit stop_alarm(std::stop_source source) : source_(std::move(source)) {}
    /// A source that is being fired at that moment is not waited for: who reacts to it has a `stop_callback`.
    ~stop_alarm() {
        if (clock_ && clock_->is_current()) clock_->remove(*this);
    }
    stop_alarm(const stop_alarm&) = delete;
    stop_alarm& operator=(const stop_alarm&) = delete;

    /// To be called once.
    /// @param mark If given, fires also soon after it has fallen to `index` or below; looked at while this lives.
    void set(clock::time_point when, const std::atomic<std::size_t>* mark = nullptr, std::size_t index = 0) {
        when_ = when;
        mark_ = mark;
        index_ = index;
        clock_ = &alarm_clock::instance();
        clock_->add(*this);
    }

private:
    friend class alarm_clock;

    [[nodiscard]] bool is_due(clock::time_point now) const noexcept {
        return now >= when_ || (mark_ && index_ >= mark_->load(std::memory_order_relaxed)); // no data comes with it
    }
    [[nodiscard]] clock::time_point next_look(clock::time_point now) const noexcept {
        return mark_ ? std::min(when_, now + alarm_clock::look_every) : when_;
    }

    std::stop_source source_;
    clock::time_point when_{};
    const std::atomic<std::size_t>* mark_ = nullptr;
    std::size_t index_ = 0;
    alarm_clock* clock_ = nullptr; // where it was set
    // The clock's list; guarded by its mutex.
    stop_alarm* before_ = nullptr;
    stop_alarm* after_ = nullptr;
    bool listed_ = false;
};

inline void alarm_clock::add(stop_alarm& a) {
    const std::lock_guard lock(mutex_);
    if (!started_) {
        std::thread([this] { run(); }).detach();
        started_ = true;
    }
    a.after_ = first_;
    if (first_) first_->before_ = &a;
    first_ = &a;
    a.listed_ = true;
    const auto look = a.next_look(clock::now());
    if (look >= next_look_) return;
    next_look_ = look;
    changed_.notify_one();
}

inline void alarm_clock::remove(stop_alarm& a) noexcept {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(a.listed_, false)) return;
    (a.before_ ? a.before_->after_ : first_) = a.after_;
    if (a.after_) a.after_->before_ = a.before_;
}

inline std::stop_source alarm_clock::next_due(clock::time_point now) noexcept {
    next_look_ = clock::time_point::max();
    for (stop_alarm* a = first_; a; a = a->after_) {
        if (!a->is_due(now)) {
            next_look_ = std::min(next_look_, a->next_look(now));
            continue;
        }
        (a->before_ ? a->before_->after_ : first_) = a->after_;
        if (a->after_) a->after_->before_ = a->before_;
        a->listed_ = false;
        return a->source_;
    }
    return std::stop_source(std::nostopstate);
}

inline void alarm_clock::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        if (std::stop_source due = next_due(clock::now()); due.stop_possible()) {
            lock.unlock();
            due.request_stop(); // runs callbacks, the user's too
            due = std::stop_source(std::nostopstate);
            lock.lock();
        } else if (next_look_ == clock::time_point::max()) {
            changed_.wait(lock);
        } else {
            const auto until = next_look_;
            changed_.wait_until(lock, until);
        }
    }
}

} // namespace joblot::detail
