// SPDX-License-Identifier: BSL-1.0
// One call's options after every default, guard and backend has had its say.
#pragma once

#include <joblot/options.hpp>
#include <joblot/scope.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
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
    std::string backend_name{};  // only where progress is shown
    scope inside{};              // what is in force inside this call's tasks
    bool remote = false;         // tasks run on other machines
    bool keeps_results = false;  // of type `persisted`: they stay where they are made,
    bool keeps_messages = false; // in a form that nobody else can read

    /// Tasks per batch, or 0 to adapt.
    [[nodiscard]] std::size_t batch_size() const noexcept {
        if (remote && keeps_results) return 1; // each result is kept by itself
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

    [[nodiscard]] bool observed() const noexcept { return verbose > 0 || given->progress; }
};

} // namespace joblot::detail
