// SPDX-License-Identifier: BSL-1.0
// One call's options after every default, guard and backend has had its say.
#pragma once

#include <joblot/core/scope.hpp>
#include <joblot/options.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <stop_token>
#include <string>

namespace joblot::detail {

/// What the dispatcher needs to know of a call. Refers to the call's options, which must outlive it.
struct call_settings {
    static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

    const options* given = nullptr;          // checked; for what needs no backend or guard to be resolved
    int requested_n_jobs = -1;               // as the user wrote it; shown in progress lines
    int workers = 1;                         // in effect, >= 1
    bool in_caller = false;                  // the backend runs everything on the calling thread
    std::chrono::nanoseconds batch_target{}; // how long an adapted batch is meant to last
    std::chrono::nanoseconds batch_cost{};   // what it costs by itself; 0: next to nothing
    int verbose = 0;
    std::string backend_name{}; // only where progress is shown
    scope inside{};             // what is in force inside this call's tasks
    std::stop_token outer{};    // of the task that makes the call, if a task does
    std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max(); // max: none
    bool remote = false;            // tasks run on other machines
    bool persists_results = false;  // they stay where they are made, as handles of type `persisted` say,
    bool persists_messages = false; // in a form that nobody else can read

    /// Tasks per batch, or 0 to adapt.
    [[nodiscard]] std::size_t batch_size() const noexcept {
        // Each result is persisted, or kept on a stop, by itself. What has ended of a batch under way would be lost
        // where it is taken back.
        if (remote && (persists_results || keeps_on_stop())) return 1;
        return static_cast<std::size_t>(given->batch_size.tasks().value_or(0));
    }

    /// How many tasks may be read and not yet done (generators: not yet taken) when batches hold `batch` tasks.
    /// @param now How many workers there are now.
    [[nodiscard]] std::size_t ahead(std::size_t batch, int now) const noexcept {
        const pre_dispatch_option& p = given->pre_dispatch;
        if (p.is_everything()) return unlimited;
        if (p.tasks()) return static_cast<std::size_t>(*p.tasks());
        const auto batches = static_cast<std::size_t>(std::clamp(p.batches_per_job() * now, 1.0, 1e15));
        return batch > unlimited / batches ? unlimited : batches * batch;
    }

    /// Largest batch that leaves every worker its share of what may be read ahead.
    [[nodiscard]] std::size_t largest_batch() const noexcept {
        const auto tasks = given->pre_dispatch.tasks();
        if (!tasks) return unlimited;
        return std::max<std::size_t>(1, static_cast<std::size_t>(*tasks) / static_cast<std::size_t>(workers));
    }

    /// Whether it is to end before it has begun: was stopped, or its time is up.
    [[nodiscard]] bool is_over() const {
        using clock = std::chrono::steady_clock;
        return given->stop.stop_requested() || outer.stop_requested() ||
               (deadline != clock::time_point::max() && clock::now() >= deadline);
    }

    /// The name that the user gave the call, or "".
    [[nodiscard]] const std::string& label() const noexcept { return given->label; }

    /// Whether a stop leaves the call with what is there.
    [[nodiscard]] bool keeps_on_stop() const noexcept { return given->on_stop == on_stop::keep; }

    [[nodiscard]] bool observed() const noexcept { return verbose > 0 || static_cast<bool>(given->progress); }
};

} // namespace joblot::detail
