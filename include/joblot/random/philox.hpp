// SPDX-License-Identifier: BSL-1.0
// The counter-based random engine Philox: its numbers are a function of a key and a counter, and of nothing else.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/travel.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace joblot {

namespace detail {

/// A number of 128 bits.
struct wide_product {
    std::uint64_t high, low;
};
constexpr wide_product multiplied(std::uint64_t a, std::uint64_t b) noexcept {
    __extension__ using wide = unsigned __int128;
    const wide all = static_cast<wide>(a) * b;
    return {static_cast<std::uint64_t>(all >> 64), static_cast<std::uint64_t>(all)};
}

} // namespace detail

/// Philox4x64-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011), the engine that
/// C++26 calls `std::philox4x64`: the same numbers for the same seed.
///
/// A random bit generator for everything that takes one. A plain value: it can be copied, stored, and sent to tasks as
/// an argument. Not synchronised: each task has one of its own, see `this_task::rng`.
class philox4x64 {
public:
    using result_type = std::uint64_t;
    using block = std::array<std::uint64_t, 4>;
    using key_type = std::array<std::uint64_t, 2>;
    static constexpr result_type default_seed = 20111115;

    explicit constexpr philox4x64(result_type seed = default_seed) noexcept : philox4x64(key_type{seed, 0}, {}) {}
    /// @param counter Where it begins; its lowest word comes first.
    constexpr philox4x64(const key_type& key, const block& counter) noexcept : key_(key), counter_(counter) {}

    [[nodiscard]] static constexpr result_type min() noexcept { return 0; }
    [[nodiscard]] static constexpr result_type max() noexcept { return std::numeric_limits<result_type>::max(); }

    /// The next 64 random bits.
    constexpr result_type operator()() noexcept {
        if (used_ == drawn_.size()) {
            drawn_ = encrypted(key_, counter_);
            count_up(1);
            used_ = 0;
        }
        return drawn_[used_++];
    }

    /// Leaves out the next `n` numbers, in no time.
    constexpr void discard(unsigned long long n) noexcept {
        const auto left = static_cast<unsigned long long>(drawn_.size() - used_);
        if (n <= left) {
            used_ += static_cast<std::uint32_t>(n);
            return;
        }
        count_up((n - left - 1) / 4);
        used_ = static_cast<std::uint32_t>(drawn_.size());
        for (n = (n - left - 1) % 4 + 1; n != 0; --n) static_cast<void>((*this)());
    }

    /// An engine with numbers of its own, for part `k` of what this one's user does: for calls inside of a task. The
    /// same one however many numbers were drawn. Engines that are split off can be split, too.
    [[nodiscard]] constexpr philox4x64 split(std::uint64_t k) const noexcept {
        const block mixed = encrypted(key_, {k, splits, counter_[2], counter_[3]});
        return {key_type{mixed[0], mixed[1]}, {0, 0, 0, mixed[2]}};
    }

    friend constexpr bool operator==(const philox4x64& a, const philox4x64& b) noexcept {
        return a.key_ == b.key_ && a.counter_ == b.counter_ && a.used_ == b.used_;
    }

private:
    static constexpr std::uint64_t splits = std::uint64_t{1} << 63; // a counter that draws do not reach

    static constexpr block encrypted(key_type key, block x) noexcept {
        for (int round = 0; round != 10; ++round) {
            const detail::wide_product a = detail::multiplied(x[0], 0xD2E7470EE14C6C93U);
            const detail::wide_product b = detail::multiplied(x[2], 0xCA5A826395121157U);
            x = {b.high ^ x[1] ^ key[0], b.low, a.high ^ x[3] ^ key[1], a.low};
            key[0] += 0x9E3779B97F4A7C15U;
            key[1] += 0xBB67AE8584CAA73BU;
        }
        return x;
    }

    constexpr void count_up(std::uint64_t by) noexcept {
        for (std::uint64_t& word : counter_) {
            word += by;
            if (word >= by) return;
            by = 1;
        }
    }

    key_type key_;
    block counter_; // of the next block
    block drawn_{};
    std::uint32_t used_ = 4;                    // numbers of `drawn_` that were given
    [[maybe_unused]] std::uint32_t unused_ = 0; // no padding: that would be sent as it is
};

/// It has no pointers, which cannot be seen from outside.
template <>
struct travel<philox4x64> : travels_as_bytes {};

} // namespace joblot
