// SPDX-License-Identifier: BSL-1.0
// Random numbers for tasks: `this_task::rng`, and distributions that give the same bits with every standard library.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/random/philox.hpp>
#include <joblot/random/ziggurat_tables.hpp>
#include <joblot/this_task.hpp>

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace joblot {

/// Engines of 64 random bits: `philox4x64`, `std::mt19937_64`.
template <class G>
concept random_bits_64 = std::invocable<G&> && std::same_as<std::invoke_result_t<G&>, std::uint64_t> && G::min() == 0 &&
                         G::max() == std::numeric_limits<std::uint64_t>::max(); // not <random>'s: that header is dear

namespace this_task {

/// The random numbers of this task: a function of `seed` and the task's index alone, hence the same on every backend,
/// for any `n_jobs`, in any batch and at any attempt. Those of tasks do not overlap. Each call begins anew: make one,
/// and draw from it. For a call inside of a task, give its tasks another seed, or an engine that was split off:
/// `rng.split(k)`. @throws std::logic_error outside of a task.
[[nodiscard]] inline philox4x64 rng(std::uint64_t seed) {
    return {philox4x64::key_type{seed, 0}, {0, 0, 0, detail::require_task("rng").index}};
}

/// The same, in a task of a call that was given an engine of the task around it: `this_task::rng(outer.split(3))`.
[[nodiscard]] inline philox4x64 rng(const philox4x64& of_call) {
    return of_call.split(detail::require_task("rng").index);
}

} // namespace this_task

// All distributions give the same bits for the same engine wherever they are compiled, whereas those of the standard
// differ between libraries. (`normal` and `exponential` use `std::exp` to decide in 1 % of the draws; another one, that
// rounds otherwise, might decide otherwise once in 10^17 draws.) They keep no state. Thread-safe for different engines.

/// A number in [0, 1): a multiple of 2^-53.
template <random_bits_64 G>
[[nodiscard]] double uniform01(G& g) {
    return static_cast<double>(g() >> 11) * 0x1p-53;
}

namespace detail {

/// A product, rounded: no compiler may make one instruction, with other bits, of it and of what is added to it.
inline double rounded(double x) noexcept {
#if defined(__x86_64__)
    asm("" : "+x"(x));
    return x;
#elif defined(__aarch64__)
    asm("" : "+w"(x));
    return x;
#else
    volatile double kept = x;
    return kept;
#endif
}

/// A value under one half of a density that falls from 0 on.
/// @param density What was tabled. @param beyond Gives a value of its tail.
template <class G, class Density, class Beyond>
double draw_by_ziggurat(const ziggurat& table, G& g, bool& is_negative, Density density, Beyond beyond) {
    for (;;) {
        const std::uint64_t bits = g();
        const std::size_t layer = bits % ziggurat::layers;
        is_negative = (bits & ziggurat::layers) != 0;
        const std::uint64_t along = bits >> 11; // not the bits above
        const double x = static_cast<double>(along) * table.width[layer];
        if (along < table.inside[layer]) return x;
        if (layer == 0) return beyond();
        const double up = uniform01(g);
        const double y = table.height[layer] + rounded(up * (table.height[layer + 1] - table.height[layer]));
        if (y < density(x)) return x;
    }
}

/// A number below `n`; all are equally likely.
/// Lemire: "Fast random integer generation in an interval", ACM TOMACS 29 (2019).
template <class G>
std::uint64_t below(G& g, std::uint64_t n) {
    wide_product product = multiplied(g(), n);
    if (product.low < n) {
        const std::uint64_t refused = (0 - n) % n; // draws below it would favour some results
        while (product.low < refused) product = multiplied(g(), n);
    }
    return product.high;
}

} // namespace detail

/// An integer from `low` to `high`, both included; all are equally likely.
/// @throws std::invalid_argument where `high` is less than `low`.
template <std::integral T, random_bits_64 G>
    requires(sizeof(T) <= sizeof(std::uint64_t) && !std::same_as<T, bool>)
[[nodiscard]] T uniform_int(G& g, T low, std::type_identity_t<T> high) {
    if (high < low)
        throw std::invalid_argument("joblot: uniform_int from " + std::to_string(low) + " to " + std::to_string(high) +
                                    ": the first must not be more than the second");
    const std::uint64_t last = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
    const std::uint64_t drawn = last == std::numeric_limits<std::uint64_t>::max() ? g() : detail::below(g, last + 1);
    return static_cast<T>(static_cast<std::uint64_t>(low) + drawn);
}

/// A number of the exponential distribution with that rate: its mean is `1 / rate`.
/// Ziggurat: Marsaglia, Tsang, J. Stat. Softw. 5 (2000); its tail is the distribution again.
template <random_bits_64 G>
[[nodiscard]] double exponential(G& g, double rate = 1) {
    double tails = 0;
    bool is_in_tail = false;
    for (;;) {
        is_in_tail = false;
        bool sign = false;
        const double x = detail::draw_by_ziggurat(
            detail::exponential_ziggurat, g, sign, [](double at) { return std::exp(-at); },
            [&] {
                is_in_tail = true;
                return 0.0;
            });
        if (!is_in_tail) return (tails + detail::rounded(x)) / rate;
        tails += detail::exponential_ziggurat.edge;
    }
}

/// A number of the normal distribution. Ziggurat, as above; tail: Marsaglia, Technometrics 6 (1964).
/// @param deviation The standard deviation.
template <random_bits_64 G>
[[nodiscard]] double normal(G& g, double mean = 0, double deviation = 1) {
    bool is_negative = false;
    const double x = detail::draw_by_ziggurat(
        detail::normal_ziggurat, g, is_negative, [](double at) { return std::exp(-0.5 * at * at); },
        [&] {
            constexpr double edge = detail::normal_ziggurat.edge;
            for (;;) {
                const double more = exponential(g) / edge;
                if (2 * exponential(g) > detail::rounded(more * more)) return edge + more;
            }
        });
    return mean + detail::rounded(deviation * (is_negative ? -x : x));
}

/// Puts the elements of a range into random order; all orders are equally likely (Fisher, Yates).
template <std::ranges::random_access_range R, random_bits_64 G>
    requires std::permutable<std::ranges::iterator_t<R>>
void shuffle(R&& range, G& g) {
    const auto begin = std::ranges::begin(range);
    for (auto left = static_cast<std::uint64_t>(std::ranges::distance(range)); left > 1; --left) {
        using difference = std::ranges::range_difference_t<R>;
        std::ranges::iter_swap(begin + static_cast<difference>(left - 1),
                               begin + static_cast<difference>(detail::below(g, left)));
    }
}

} // namespace joblot
