// SPDX-License-Identifier: BSL-1.0
// The workers that a call has on its cluster at the moment, and how many batches are to be there for them.
#pragma once

#include <joblot/dask/call/placement.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <map>
#include <optional>
#include <string>

namespace joblot::dask::engine {

/// Pure bookkeeping, for one thread at a time; what time it is, is said by the caller.
class workforce {
public:
    using clock = std::chrono::steady_clock;

    /// @param least    Batches on the cluster at once, at least, as long as there are tasks.
    /// @param most     The same, at most; unset: no such limit.
    /// @param patience How long a call goes on without any worker.
    workforce(int least, std::optional<int> most, std::chrono::milliseconds patience)
        : least_(least), most_(most.value_or(std::numeric_limits<int>::max())), patience_(patience) {}

    /// Takes note of which workers there are: {address: threads}.
    void update(const std::map<std::string, int>& workers, clock::time_point now) {
        places_.update(workers);
        if (places_.threads() > 0)
            deserted_since_.reset();
        else if (!deserted_since_)
            deserted_since_ = now;
    }
    /// Whether there is no worker at the moment,
    [[nodiscard]] bool deserted() const noexcept { return deserted_since_.has_value(); }
    /// and has been none for too long.
    [[nodiscard]] bool given_up(clock::time_point now) const noexcept {
        return deserted_since_ && now - *deserted_since_ >= patience_;
    }

    /// A batch has come back after its tasks ran for so long.
    void batch_took(std::chrono::nanoseconds took) noexcept { row_ = took >= shortest && took < short_batch ? 4 : 2; }

    /// How many threads share the tasks, those that are to come included; at least 1.
    [[nodiscard]] int sharers() const noexcept { return std::clamp(std::max(places_.threads(), least_ / 2), 1, most_); }
    /// How many batches are to be on the cluster: so that each thread has one and the next one. Never 0: a cluster
    /// that adapts to its work is to see some.
    [[nodiscard]] std::size_t capacity() const noexcept {
        return static_cast<std::size_t>(std::clamp(std::max(row_ * places_.threads(), least_), 1, most_));
    }
    [[nodiscard]] const placement& places() const noexcept { return places_; }

private:
    // The way to a worker and back is some milliseconds long: batches that hardly last longer wait in longer rows.
    // Those of the beginning, which are far shorter, soon grow.
    static constexpr std::chrono::milliseconds shortest{4}, short_batch{20};

    const int least_, most_;
    const std::chrono::milliseconds patience_;
    placement places_;
    std::optional<clock::time_point> deserted_since_;
    int row_ = 2; // batches for each thread
};

} // namespace joblot::dask::engine
