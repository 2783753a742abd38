// SPDX-License-Identifier: BSL-1.0
// Payloads beyond what 32 bits can count. Hidden, as they take some 7 GB and a while: scripts/slow_tests.sh runs them.

#include "../support/backends.hpp"

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <ranges>
#include <span>
#include <vector>

namespace {

using joblot::delayed;
using joblot::Parallel;

constexpr std::size_t three_gigabytes = std::size_t{3} << 30;

std::uint64_t sum_of_bytes(std::span<const std::uint8_t> bytes) {
    std::uint64_t sum = 0;
    for (const std::uint8_t b : bytes) sum += b;
    return sum;
}
std::vector<std::uint8_t> filled(std::size_t size, std::uint8_t with) { return std::vector<std::uint8_t>(size, with); }

} // namespace

TEST_CASE("an argument of 3 GB arrives whole", "[.slow]") {
    std::vector<std::uint8_t> bytes(three_gigabytes, 1);
    bytes.back() = 101;
    const auto [sum] = Parallel({.n_jobs = 1, .backend = "processes"})(delayed(sum_of_bytes)(std::cref(bytes)));
    CHECK(sum == three_gigabytes + 100);
}

TEST_CASE("a result of 3 GB arrives whole", "[.slow]") {
    const auto [bytes] =
        Parallel({.n_jobs = 1, .backend = "processes"})(delayed(filled)(three_gigabytes, std::uint8_t{7}));
    REQUIRE(bytes.size() == three_gigabytes);
    CHECK(sum_of_bytes(bytes) == 7 * three_gigabytes);
}

TEST_CASE("a broadcast value of 3 GB is read in place", "[.slow]") {
    const auto table = joblot::broadcast(std::vector<std::uint8_t>(three_gigabytes, 3));
    const auto task = [&table](int) { return delayed(sum_of_bytes)(table); };
    for (const std::uint64_t sum :
         Parallel({.n_jobs = 2, .backend = "processes"})(std::views::iota(0, 2) | std::views::transform(task)))
        CHECK(sum == 3 * three_gigabytes);
}
