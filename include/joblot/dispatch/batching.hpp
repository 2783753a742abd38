// SPDX-License-Identifier: BSL-1.0
// How many tasks a worker takes at a time: a pure policy, durations in, sizes out.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace joblot::detail {

/// Chooses the sizes of one worker's batches. Each worker has its own, so nothing here is shared.
///
/// A batch is meant to last `target`: long against the cost of taking one (some 50 ns on threads, some 100 us from
/// another process), short against the call. The first ones are single tasks, whatever an earlier call measured: this
/// call's tasks may be different ones. No batch is more than a fair share of what is left, as in guided self-scheduling
/// (Polychronopoulos, Kuck: "Guided self-scheduling", IEEE Trans. Computers 1987): also where the first tasks were not
/// like the others, no worker is left with most of the work, and the last batches are short: but not so short that what
/// they cost would show.
class batch_sizer {
public:
    using duration = std::chrono::nanoseconds;
    static constexpr duration target_of_threads = std::chrono::microseconds(30);
    static constexpr std::size_t max_growth = 8; // from one batch to the next; a first measure may be a lucky one
    static constexpr int shortest = 5;           // times its cost, where that is known
    // Where a batch costs next to nothing: what the cache lines cost that workers pass to each other, some 100 ns.
    static constexpr duration shortest_of_threads = std::chrono::nanoseconds(500);

    /// @param fixed   The size asked for, or 0 to adapt.
    /// @param workers Workers of the call, >= 1.
    /// @param trials  How many single tasks come first.
    /// @param target  How long a batch is meant to last.
    /// @param cost    What a batch costs by itself; 0: next to nothing.
    batch_sizer(std::size_t fixed, std::size_t workers, int trials = 1, duration target = target_of_threads,
                duration cost = {}) noexcept
        : batch_sizer(rules{fixed, target, cost, static_cast<int>(workers), trials}) {}

    /// What is the same for all workers of a call: the parameters above.
    struct rules {
        std::size_t fixed;
        duration target, cost;
        int workers, trials;
    };
    explicit batch_sizer(const rules& r) noexcept
        : fixed_(r.fixed), workers_(static_cast<std::size_t>(r.workers)), trials_(r.trials), target_(r.target),
          cost_(r.cost) {}

    /// Some have come, or left.
    void workers_are(std::size_t workers) noexcept { workers_ = workers; }

    /// Size of the next batch, 1 to `remaining` (but `remaining` of 0 gives 1, and a fixed size is only cut off).
    [[nodiscard]] std::size_t next(std::size_t remaining) const noexcept {
        if (fixed_) return std::max<std::size_t>(1, std::min(fixed_, remaining));
        // Where a batch costs next to nothing, no worker takes more than a share for its sake: the short tasks may have
        // been the first ones only.
        const std::size_t worth_it = cost_.count() ? smallest_ : std::min(smallest_, remaining / workers_);
        const std::size_t fair = std::max(std::min(size_, remaining / (2 * workers_)), worth_it);
        return std::max<std::size_t>(1, std::min(fair, remaining));
    }

    /// A batch of `tasks` tasks took `took`.
    void measured(std::size_t tasks, duration took) noexcept {
        if (trials_ > 1) {
            --trials_;
            return;
        }
        // in floating point: tasks * target overflows only for absurd sizes, but it costs nothing to be safe
        const double done = static_cast<double>(std::max<std::size_t>(1, tasks));
        const double per_task = static_cast<double>(std::max<duration::rep>(1, took.count())) / done;
        const double wanted = std::min(static_cast<double>(target_.count()) / per_task, done * max_growth);
        size_ = static_cast<std::size_t>(std::clamp(wanted, 1.0, 1e18));
        const duration least = cost_.count() ? shortest * cost_ : shortest_of_threads;
        const double worth_it = std::min(static_cast<double>(least.count()) / per_task, 1e18);
        smallest_ = std::min(size_, static_cast<std::size_t>(worth_it));
    }

    /// What others have measured of the same call.
    struct sizes {
        std::size_t usual = 1;    ///< what lasts for the target, as far as is known
        std::size_t smallest = 1; ///< what is worth its cost
    };
    [[nodiscard]] sizes so_far() const noexcept { return {size_, smallest_}; }
    void begin_with(sizes s) noexcept {
        size_ = s.usual;
        smallest_ = s.smallest;
    }
    /// Whether the size adapts, so that batches must be timed.
    [[nodiscard]] bool adapts() const noexcept { return fixed_ == 0; }

private:
    std::size_t fixed_;
    std::size_t workers_;
    int trials_;
    duration target_;
    duration cost_;
    std::size_t size_ = 1; // see `sizes`
    std::size_t smallest_ = 1;
};

} // namespace joblot::detail
