// SPDX-License-Identifier: BSL-1.0
// How many tasks a worker takes at a time: a pure policy, durations in, sizes out.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>

namespace joblot::detail {

/// Chooses the sizes of one worker's batches. Each worker has its own, so nothing here is shared.
///
/// A batch is meant to last `target`: long against the cost of taking one (some 50 ns), short against the call. The
/// first one is a single task, whatever an earlier call measured: this call's tasks may be different ones. Towards the
/// end batches shrink, as in guided self-scheduling (Polychronopoulos, Kuck: "Guided self-scheduling", IEEE Trans.
/// Computers 1987), down to what `negligible` time is worth, since no straggler shorter than that is noticed.
class batch_sizer {
public:
    using duration = std::chrono::nanoseconds;
    static constexpr duration target = std::chrono::microseconds(30);
    static constexpr duration negligible = std::chrono::microseconds(1);
    static constexpr std::size_t max_growth = 8; // from one batch to the next; a first measure may be a lucky one

    /// @param fixed   The size asked for, or 0 to adapt.
    /// @param workers Workers of the call, >= 1.
    batch_sizer(std::size_t fixed, std::size_t workers) noexcept : fixed_(fixed), workers_(workers) {}

    /// Size of the next batch, 1 to `remaining` (but `remaining` of 0 gives 1, and a fixed size is only cut off).
    [[nodiscard]] std::size_t next(std::size_t remaining) const noexcept {
        if (fixed_) return std::max<std::size_t>(1, std::min(fixed_, remaining));
        const std::size_t fair = remaining / (2 * workers_);
        return std::max<std::size_t>(1, std::min({size_, std::max(fair, negligible_), remaining}));
    }

    /// A batch of `tasks` tasks took `took`.
    void measured(std::size_t tasks, duration took) noexcept {
        const auto ns = static_cast<std::size_t>(std::max<duration::rep>(1, took.count()));
        const std::size_t largest = tasks > std::numeric_limits<std::size_t>::max() / max_growth
                                        ? std::numeric_limits<std::size_t>::max()
                                        : tasks * max_growth;
        // in floating point: tasks * target overflows only for absurd sizes, but it costs nothing to be safe
        const double per_task = static_cast<double>(ns) / static_cast<double>(std::max<std::size_t>(1, tasks));
        size_ = std::clamp<std::size_t>(worth(target, per_task), 1, std::max<std::size_t>(1, largest));
        negligible_ = std::min(size_, worth(negligible, per_task));
    }

    /// Whether the size adapts, so that batches must be timed.
    [[nodiscard]] bool adapts() const noexcept { return fixed_ == 0; }

private:
    static std::size_t worth(duration time, double per_task) noexcept {
        return static_cast<std::size_t>(static_cast<double>(time.count()) / per_task);
    }

    std::size_t fixed_;
    std::size_t workers_;
    std::size_t size_ = 1;
    std::size_t negligible_ = 0;
};

} // namespace joblot::detail
