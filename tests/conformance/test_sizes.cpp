// SPDX-License-Identifier: BSL-1.0
// Ranges whose size does not fit a machine word, or a vector, or is negative: refused by number, never cut off.

#include "../support/backends.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <ranges>
#include <stdexcept>
#include <vector>

namespace {

namespace views = std::views;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using joblot::delayed;
using joblot::Parallel;

__extension__ typedef __int128 wide;
constexpr wide two_to_64 = wide{1} << 64;

int low_digit(wide n) { return static_cast<int>(n % 10); }
void ignore(wide) {}
int same(int n) { return n; }
int of_big(std::uint64_t n) { return static_cast<int>(n % 10); }
int both(wide n, std::uint64_t m) { return static_cast<int>(n + static_cast<wide>(m)) % 10; }

/// Elements 0, 1, 2, ... that are read one by one, and a size that it is told to give.
template <class Size>
struct says_size : std::ranges::view_interface<says_size<Size>> {
    Size told{};
    says_size() = default;
    explicit says_size(Size n) : told(n) {}
    [[nodiscard]] auto begin() const { return views::iota(0).begin(); }
    [[nodiscard]] auto end() const { return std::unreachable_sentinel; }
    [[nodiscard]] Size size() const { return told; }
};

template <class E, class Call>
void check_refused(const char* number, Call call) {
    CHECK_THROWS_MATCHES(call(), E, MessageMatches(ContainsSubstring(number)));
}

} // namespace

TEST_CASE("a range of more than 2^64 elements is refused, and its number is named", "[inputs][sizes]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = 2});
    const auto numbers = views::iota(wide{0}, two_to_64 + 3);
    const char* const n = "18446744073709551619";
    const auto check = [&](const auto& tasks) {
        check_refused<std::length_error>(n, [&] { (void)parallel(tasks); });
        check_refused<std::length_error>(n, [&] { (void)parallel.outcomes(tasks); });
        check_refused<std::length_error>(n, [&] { (void)parallel.persist(tasks); });
    };
    check(numbers | views::transform(delayed(low_digit)));
    check(numbers | views::transform([](wide i) { return delayed(low_digit)(i); })); // read one by one
    check_refused<std::length_error>(n, [&] { parallel(numbers | views::transform(delayed(ignore))); });
    check_refused<std::length_error>(n, [&] { (void)parallel.map(low_digit, numbers); });
    check_refused<std::length_error>(n, [&] { (void)parallel.map(both, numbers, numbers); });
}

TEST_CASE("the shortest range counts for map, beside one of more than 2^64 elements", "[inputs][sizes][map]") {
    const Parallel parallel({.n_jobs = 2});
    const auto numbers = views::iota(wide{0}, two_to_64 + 3);
    CHECK(parallel.map(both, numbers, views::iota(std::uint64_t{0}, std::uint64_t{4})) == std::vector{0, 2, 4, 6});
}

TEST_CASE("a range of a wide type that is short is a range like others", "[inputs][sizes]") {
    const Parallel parallel({.n_jobs = 2});
    const auto tasks = views::iota(two_to_64, two_to_64 + 3) | views::transform(delayed(low_digit));
    CHECK(parallel(tasks) == std::vector{6, 7, 8});
}

TEST_CASE("a generator reads a range of more than 2^64 elements like an endless one", "[inputs][sizes][generators]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = 2});
    const auto tasks =
        views::iota(wide{0}, two_to_64 + 3) | views::transform(low_digit) | views::transform(delayed(same));
    std::vector<int> got;
    for (int r : parallel.generator(tasks) | views::take(5)) got.push_back(r);
    CHECK(got == std::vector{0, 1, 2, 3, 4});
}

TEST_CASE("a range with more elements than a vector can hold is refused, and its number is named", "[inputs][sizes]") {
    const Parallel parallel({.n_jobs = 2});
    const auto all = views::iota(std::uint64_t{0}, std::numeric_limits<std::uint64_t>::max());
    const char* const n = "18446744073709551615";
    check_refused<std::length_error>(n, [&] { (void)parallel(all | views::transform(delayed(of_big))); });
    check_refused<std::length_error>(n, [&] { (void)parallel.outcomes(all | views::transform(delayed(of_big))); });
    check_refused<std::length_error>(n, [&] { (void)parallel.map(of_big, all); });
    const auto half = views::iota(std::uint64_t{0}, std::uint64_t{1} << 62);
    check_refused<std::length_error>("4611686018427387904",
                                     [&] { (void)parallel(half | views::transform(delayed(of_big))); });
}

TEST_CASE("a range that says its size is negative is refused, and the number is named", "[inputs][sizes]") {
    const Parallel parallel({.n_jobs = 2});
    const auto tasks = says_size<int>(-3) | views::transform([](int i) { return delayed(same)(i); });
    check_refused<std::invalid_argument>("-3", [&] { (void)parallel(tasks); });
    check_refused<std::invalid_argument>("-3", [&] { (void)parallel.generator(tasks); });
#ifndef _GLIBCXX_ASSERTIONS // or making it ends the program
    const int from = 10;    // not constant, or the compiler sees it
    const auto backwards = views::iota(from, 0) | views::transform(delayed(same));
    check_refused<std::invalid_argument>("-10", [&] { (void)parallel(backwards); });
#endif
}
