// SPDX-License-Identifier: BSL-1.0
// Decides after which completions a verbose line is due: joblib's two filters in closed form, on counts alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace joblot::detail {

/// The largest root whose square is at most `x`.
constexpr std::uint64_t integer_sqrt(std::uint64_t x) noexcept {
    std::uint64_t root = 0;
    for (std::uint64_t bit = std::uint64_t{1} << 31; bit != 0; bit >>= 1) {
        const std::uint64_t candidate = root | bit;
        if (candidate * candidate <= x) root = candidate;
    }
    return root;
}

/// Which completions print a line, counted in tasks as though every batch held one.
///
/// While tasks are being dispatched, lines come further and further apart (joblib's filter on the number of
/// dispatched tasks); once the input is exhausted they are evenly spaced, about `verbose` over the whole call.
/// The last completion is the closing line's and never due here. Not thread-safe; cheap to copy.
class verbosity {
public:
    static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

    verbosity() = default;

    /// `pre_dispatch` is a number of tasks, 0 meaning everything; `total` the number of tasks if known beforehand.
    verbosity(int verbose, std::size_t pre_dispatch, bool sequential,
              std::optional<std::size_t> total = std::nullopt) noexcept
        : verbose_(verbose), sequential_(sequential), pre_dispatch_(bounded(pre_dispatch)) {
        if (total) set_total(*total, 0);
    }

    /// Tells that the input ended after `total` tasks, noticed when `done` tasks were complete.
    void set_total(std::size_t total, std::size_t done) noexcept {
        total_ = bounded(total);
        if (sequential_) return; // joblib's sequential loop never knows that it drains
        if (pre_dispatch_ == 0) {
            drain_from_ = bounded(done) + 1;
            return;
        }
        // A full pipeline is refilled by each completion; the first refill that finds nothing is this one.
        drain_from_ = std::max<std::int64_t>({bounded(done) + 1, total_ - pre_dispatch_ + 2, 2});
    }

    /// The smallest count above `done` at which a line is due, `never` if there is none.
    std::size_t next(std::size_t done) const noexcept {
        if (verbose_ <= 0 || done >= static_cast<std::size_t>(limit)) return never;
        std::int64_t count = static_cast<std::int64_t>(done) + 1;
        if (count < drain_from_) count = next_dispatching(count);
        if (count >= drain_from_) count = next_draining(std::max(drain_from_, static_cast<std::int64_t>(done) + 1));
        return count < total_ ? static_cast<std::size_t>(count) : never;
    }

    /// Whether a line is due at any count of (`done_before`, `done_now`], and the call is not complete by then.
    bool should_print(std::size_t done_before, std::size_t done_now) const noexcept {
        return next(done_before) <= done_now && bounded(done_now) < total_;
    }

private:
    // Counts are kept far enough below 2^63 that no sum or square here overflows.
    static constexpr std::int64_t limit = std::int64_t{1} << 60;

    static constexpr std::int64_t bounded(std::size_t count) noexcept {
        return count < static_cast<std::size_t>(limit) ? static_cast<std::int64_t>(count) : limit;
    }

    /// joblib looks at the number of tasks dispatched: with a full pipeline, what it holds beyond those done.
    std::int64_t ahead() const noexcept { return sequential_ ? 0 : std::min(pre_dispatch_, total_) - 1; }

    /// Due where floor(sqrt((i + 1) / s)) > floor(sqrt(i / s)) for i dispatched tasks and s = (11 - verbose)^2 / 2,
    /// that is at i = ceil(s * m * m) - 1 for m = 1, 2, 3..., and at i = 0. Above level 10, everywhere.
    std::int64_t next_dispatching(std::int64_t count) const noexcept {
        const std::int64_t dispatched = count + ahead();
        if (verbose_ > 10 || dispatched <= 0) return count;
        const auto step = static_cast<std::uint64_t>(11 - verbose_);
        // ceil(x / 2) - 1 >= i  <=>  x >= 2 * i + 1; x is the square of a multiple of step.
        const std::uint64_t root = integer_sqrt(2 * static_cast<std::uint64_t>(dispatched)) + 1;
        const std::uint64_t multiple = (root + step - 1) / step * step;
        return static_cast<std::int64_t>((multiple * multiple + 1) / 2) - 1 - ahead();
    }

    /// Due where total - count + 1 - pre_dispatch is a multiple of the period, but not just before the end.
    std::int64_t next_draining(std::int64_t count) const noexcept {
        const std::int64_t period = total_ / verbose_ + 1;
        const std::int64_t phase = (total_ + 1 - pre_dispatch_) % period;
        std::int64_t due = count + (phase - count % period + 2 * period) % period;
        if (due == total_ - 1) due += period;
        return due;
    }

    int verbose_ = 0;
    bool sequential_ = false;
    std::int64_t pre_dispatch_ = 0;
    std::int64_t total_ = limit;
    std::int64_t drain_from_ = limit;
};

} // namespace joblot::detail
