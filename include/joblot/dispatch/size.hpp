// SPDX-License-Identifier: BSL-1.0
// How many tasks a range has: sizes wider than a machine word, and negative ones, are seen for what they are.
#pragma once

#include <cstddef>
#include <iterator>
#include <limits>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace joblot::detail {

/// The largest size of a range that counts as one: the largest number stands for "not known" elsewhere.
inline constexpr std::size_t largest_size = std::numeric_limits<std::size_t>::max() - 1;

/// An integer of any width, also of a class that only behaves like one.
template <class N>
std::string in_digits(N n) {
    const bool negative = n < N(0);
    std::string text;
    do { // digit by digit: the smallest number has no positive counterpart
        const int digit = static_cast<int>(n % N(10));
        text.insert(text.begin(), static_cast<char>('0' + (digit < 0 ? -digit : digit)));
        n = static_cast<N>(n / N(10));
    } while (n != N(0));
    return negative ? "-" + text : text;
}

template <class N>
[[noreturn, gnu::cold]] void refuse_negative_size(N n) {
    throw std::invalid_argument("joblot: the size of the range is " + in_digits(n) + ": does it end before it begins?");
}

/// The size of a range, or nothing where it is more than `largest_size`.
/// @throws std::invalid_argument where it is negative.
template <std::ranges::sized_range R>
std::optional<std::size_t> size_that_fits(R& range) {
    if constexpr (std::ranges::random_access_range<R> &&
                  std::sized_sentinel_for<std::ranges::sentinel_t<R>, std::ranges::iterator_t<R>>) {
        // views::iota(10, 0) says that it has some 2^32 elements
        using length_type = std::ranges::range_difference_t<R>;
        const length_type length = std::ranges::end(range) - std::ranges::begin(range);
        if (length < length_type(0)) refuse_negative_size(length);
    }
    const auto n = std::ranges::size(range);
    using size_type = std::remove_cv_t<decltype(n)>;
    if constexpr (size_type(-1) < size_type(0)) {
        if (n < size_type(0)) refuse_negative_size(n);
    }
    if constexpr (sizeof(size_type) > sizeof(std::size_t)) {
        if (n > static_cast<size_type>(largest_size)) return std::nullopt;
    } else if (static_cast<std::size_t>(n) > largest_size) {
        return std::nullopt;
    }
    return static_cast<std::size_t>(n);
}

/// The size of a range all of whose tasks are to run in one call.
/// @param most How many a call can have.
/// @throws std::length_error where it is more, std::invalid_argument where it is negative.
template <std::ranges::sized_range R>
std::size_t number_of_tasks(R& range, std::size_t most) {
    const std::optional<std::size_t> n = size_that_fits(range);
    if (!n || *n > most)
        throw std::length_error("joblot: the range has " + in_digits(std::ranges::size(range)) +
                                " elements, more than one call can have results for (" + in_digits(most) +
                                "): take fewer, or read the results by a generator");
    return *n;
}

} // namespace joblot::detail
