// SPDX-License-Identifier: BSL-1.0
// How many workers claim tasks without all of them writing to one cache line: each group of workers takes several
// batches at a time from the counter that all share, and hands them out among its own.
#pragma once

#include <joblot/dispatch/batching.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace joblot::detail {

/// Where the indices of a call come from when it has many workers.
///
/// A worker takes from what its group has in hand, on a line that only this group writes. Where that is nothing, it
/// takes the group's next share from the counter: `of_group` batches, but no more than half of what is fair, so that
/// little is in hand when the counter runs out; then workers take from what other groups still have. The workers of a
/// group should share a cache. Indices come nearly in order. Thread-safe.
class claim_groups {
public:
    static constexpr std::size_t of_group = 8;                          ///< workers
    static constexpr std::size_t most_tasks = std::size_t{1} << 40;     ///< of a call
    static constexpr bool pay(std::size_t workers, std::size_t tasks) { ///< One line is right for a few workers.
        return workers > 2 * of_group && tasks < most_tasks;
    }

    claim_groups(std::size_t workers, std::size_t tasks)
        : groups_((workers + of_group - 1) / of_group), tasks_(tasks), lines_(new line[groups_]) {}

    struct claimed {
        std::size_t first = 0, count = 0;
        bool wrote_counter = false; ///< for counting
    };

    /// @param counter Of what was handed out; written to by this alone.
    claimed claim(std::atomic<std::size_t>& counter, std::size_t group, const batch_sizer& sizer) {
        line& own = lines_[group % groups_];
        for (;;) {
            const std::size_t left = tasks_ - std::min(tasks_, counter.load(std::memory_order_relaxed));
            const std::size_t in_hand = count_of(own.in_hand.load(std::memory_order_relaxed));
            const std::size_t wanted = sizer.next(left + in_hand * groups_);
            if (const claimed c = take(own, wanted); c.count != 0) return c;
            if (left == 0) return take_from_others(group, wanted);
            if (const claimed c = take_from_counter(counter, own, wanted, left); c.count != 0) return c;
        }
    }

    /// Tasks that groups have in hand.
    [[nodiscard]] std::size_t in_hand() const noexcept {
        std::size_t sum = 0;
        for (std::size_t g = 0; g != groups_; ++g) sum += count_of(lines_[g].in_hand.load(std::memory_order_relaxed));
        return sum;
    }

private:
    // Of what a group has in hand: how many (23 bits), whether one of it is on its way to the counter, index of the
    // first.
    static constexpr std::uint64_t most_in_hand = (std::uint64_t{1} << 23) - 1;
    static constexpr std::uint64_t on_its_way = std::uint64_t{1} << 23;
    static constexpr std::size_t count_of(std::uint64_t word) noexcept { return word & most_in_hand; }
    static constexpr std::size_t first_of(std::uint64_t word) noexcept { return word >> 24; }
    static constexpr std::uint64_t word_of(std::size_t first, std::size_t count) noexcept {
        return first << 24 | count;
    }

    // relaxed, all of it: indices are handed out and nothing else.
    struct alignas(64) line {
        std::atomic<std::uint64_t> in_hand{0};
    };

    static claimed take(line& from, std::size_t wanted) noexcept {
        std::uint64_t word = from.in_hand.load(std::memory_order_relaxed);
        while (count_of(word) != 0) {
            const std::size_t n = std::min(wanted, count_of(word));
            if (from.in_hand.compare_exchange_weak(word, word_of(first_of(word) + n, count_of(word) - n),
                                                   std::memory_order_relaxed))
                return {first_of(word), n};
        }
        return {};
    }

    claimed take_from_others(std::size_t group, std::size_t wanted) noexcept {
        for (std::size_t k = 1; k != groups_; ++k) {
            if (const claimed c = take(lines_[(group + k) % groups_], wanted); c.count != 0) return c;
        }
        return {};
    }

    /// No worker waits for the one that fetches the group's share: meanwhile the others take single batches.
    claimed take_from_counter(std::atomic<std::size_t>& counter, line& own, std::size_t wanted,
                              std::size_t left) noexcept {
        const std::size_t share = std::min({wanted * of_group, left / (2 * groups_), std::size_t{most_in_hand}});
        std::uint64_t word = own.in_hand.load(std::memory_order_relaxed);
        const bool fetches = share > wanted && count_of(word) == 0 && (word & on_its_way) == 0 &&
                             own.in_hand.compare_exchange_strong(word, on_its_way, std::memory_order_relaxed);
        const std::size_t asked = fetches ? share : wanted;
        const std::size_t first = counter.fetch_add(asked, std::memory_order_relaxed);
        const std::size_t got = std::min(asked, tasks_ - std::min(tasks_, first));
        const std::size_t n = std::min(wanted, got);
        if (fetches) own.in_hand.store(word_of(first + n, got - n), std::memory_order_relaxed);
        return {first, n, true};
    }

    std::size_t groups_;
    std::size_t tasks_;
    std::unique_ptr<line[]> lines_;
};

} // namespace joblot::detail
