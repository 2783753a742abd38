// SPDX-License-Identifier: BSL-1.0
// What stops a call from outside: its stop token, that of the task that makes the call, and its deadline.
#pragma once

#include <joblot/core/stop_alarm.hpp>
#include <joblot/dispatch/job.hpp>

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <system_error>

namespace joblot::detail {

/// When a call must be over that begins now; `max` where it has no deadline.
inline stop_alarm::clock::time_point end_of_call(const options& o) {
    using clock = stop_alarm::clock;
    const auto limit = o.deadline.limit();
    return limit ? deadline_after(clock::now(), *limit) : clock::time_point::max();
}

/// Stops a job at its deadline, from the thread that watches over time limits.
class deadline_watch {
public:
    /// @throws backend_error where no such thread can be started.
    explicit deadline_watch(job& j) : stop_(source_.get_token(), stopper{&j}), alarm_(source_) {
        const auto when = j.settings().deadline;
        if (stop_alarm::clock::now() >= when) { // no task starts, whoever is the faster
            source_.request_stop();
            return;
        }
        try {
            alarm_.set(when);
        } catch (const std::system_error& e) {
            throw backend_error(std::string("joblot: no thread can be started for a deadline: ") + e.what());
        }
    }

private:
    struct stopper {
        job* target;
        void operator()() const noexcept { target->stop(true); }
    };

    std::stop_source source_;
    std::stop_callback<stopper> stop_; // its destructor waits for a stop that is under way
    stop_alarm alarm_;
};

/// Lets all of them stop a job, for as long as this lives.
class stop_link {
public:
    /// @throws backend_error No thread can be had for the time limit.
    explicit stop_link(job& j)
        : by_user_(link(j.settings().given->stop, j)), by_outer_task_(link(j.settings().outer, j)),
          by_deadline_(has_deadline(j) ? std::make_unique<deadline_watch>(j) : nullptr) {}

    /// A call that ends late was too long, however fast the watching thread is.
    static void check_deadline(job& j) noexcept {
        if (has_deadline(j) && stop_alarm::clock::now() >= j.settings().deadline) j.stop(true);
    }

private:
    struct stopper {
        job* target;
        void operator()() const noexcept { target->stop(); }
    };
    using callback = std::stop_callback<stopper>;

    static bool has_deadline(const job& j) noexcept {
        return j.settings().deadline != stop_alarm::clock::time_point::max();
    }
    static std::unique_ptr<callback> link(const std::stop_token& token, job& j) {
        return token.stop_possible() ? std::make_unique<callback>(token, stopper{&j}) : nullptr;
    }

    // on the heap, as most calls have none
    std::unique_ptr<callback> by_user_;
    std::unique_ptr<callback> by_outer_task_;
    std::unique_ptr<deadline_watch> by_deadline_;
};

} // namespace joblot::detail
