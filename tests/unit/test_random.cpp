// SPDX-License-Identifier: BSL-1.0
// The random engine gives the published numbers, and the distributions have the moments that they must have, and bits
// that do not depend on the standard library.

#include <joblot/random.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <ranges>
#include <set>
#include <stdexcept>
#include <vector>

namespace {

using Catch::Matchers::WithinAbs;
using joblot::philox4x64;

static_assert(std::uniform_random_bit_generator<philox4x64>);
static_assert(joblot::random_bits_64<philox4x64> && joblot::random_bits_64<std::mt19937_64>);
static_assert(!joblot::random_bits_64<std::mt19937>);
static_assert(std::is_trivially_copyable_v<philox4x64>);

struct highest_bits {
    using result_type = std::uint64_t;
    static constexpr std::uint64_t min() { return 0; }
    static constexpr std::uint64_t max() { return std::numeric_limits<std::uint64_t>::max(); }
    std::uint64_t operator()() const { return max(); }
};

/// Mean, variance, skewness and excess kurtosis of what `draw()` gives.
struct moments {
    double mean, variance, skewness, kurtosis;
};
template <class Draw>
moments moments_of(Draw draw, int n = 2'000'000) {
    std::vector<double> all(static_cast<std::size_t>(n));
    std::ranges::generate(all, draw);
    const auto mean_of = [&](auto f) {
        double sum = 0;
        for (const double x : all) sum += f(x);
        return sum / n;
    };
    const double mean = mean_of([](double x) { return x; });
    const double variance = mean_of([&](double x) { return (x - mean) * (x - mean); });
    const double deviation = std::sqrt(variance);
    return {mean, variance, mean_of([&](double x) { return std::pow((x - mean) / deviation, 3); }),
            mean_of([&](double x) { return std::pow((x - mean) / deviation, 4); }) - 3};
}

/// The largest distance of the distribution of `n` draws from what `cdf` says, times sqrt(n) (Kolmogorov, Smirnov).
template <class Draw, class Cdf>
double distance(Draw draw, Cdf cdf, int n = 500'000) {
    std::vector<double> all(static_cast<std::size_t>(n));
    std::ranges::generate(all, draw);
    std::ranges::sort(all);
    double most = 0;
    for (std::size_t k = 0; k != all.size(); ++k) {
        const double expected = cdf(all[k]);
        most = std::max({most, std::abs(expected - static_cast<double>(k) / n),
                         std::abs(expected - static_cast<double>(k + 1) / n)});
    }
    return most * std::sqrt(n);
}
constexpr double one_in_ten_thousand = 2.23; // such a distance is exceeded so rarely

std::uint64_t digest(std::uint64_t h, double x) { return joblot::detail::mix64(h ^ std::bit_cast<std::uint64_t>(x)); }

} // namespace

TEST_CASE("Philox4x64-10 gives the published numbers", "[random]") {
    // Random123's kat_vectors
    constexpr auto ones = std::numeric_limits<std::uint64_t>::max();
    struct known {
        philox4x64::block counter;
        philox4x64::key_type key;
        philox4x64::block numbers;
    };
    const std::vector<known> all{
        {{0, 0, 0, 0}, {0, 0}, {0x16554d9eca36314c, 0xdb20fe9d672d0fdc, 0xd7e772cee186176b, 0x7e68b68aec7ba23b}},
        {{ones, ones, ones, ones},
         {ones, ones},
         {0x87b092c3013fe90b, 0x438c3c67be8d0224, 0x9cc7d7c69cd777b6, 0xa09caebf594f0ba0}},
        {{0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89},
         {0x452821e638d01377, 0xbe5466cf34e90c6c},
         {0xa528f45403e61d95, 0x38c72dbd566e9788, 0xa5a1610e72fd18b5, 0x57bd43b5e52b7fe6}}};
    for (const known& k : all) {
        philox4x64 g(k.key, k.counter);
        for (const std::uint64_t number : k.numbers) CHECK(g() == number);
    }
    // [rand.predef] of C++26
    philox4x64 standard;
    standard.discard(9999);
    CHECK(standard() == 3409172418970261260);
}

TEST_CASE("The counter carries, and numbers can be left out", "[random]") {
    constexpr auto ones = std::numeric_limits<std::uint64_t>::max();
    philox4x64 before({1, 2}, {ones, ones, 6, 7});
    philox4x64 after({1, 2}, {0, 0, 7, 7});
    before.discard(4);
    for (int k = 0; k != 8; ++k) CHECK(before() == after());
    for (unsigned drawn = 0; drawn != 6; ++drawn) {
        for (unsigned long long n = 0; n != 20; ++n) {
            philox4x64 one_by_one(3);
            philox4x64 at_once(3);
            for (unsigned k = 0; k != drawn; ++k) CHECK(one_by_one() == at_once());
            for (unsigned long long k = 0; k != n; ++k) static_cast<void>(one_by_one());
            at_once.discard(n);
            CHECK(one_by_one() == at_once());
            CHECK(one_by_one == at_once);
        }
    }
}

TEST_CASE("Engines that are split off have numbers of their own", "[random]") {
    philox4x64 g(42);
    const philox4x64 first = g.split(0);
    static_cast<void>(g());
    CHECK(g.split(0) == first);
    std::set<std::uint64_t> seen;
    const auto look = [&](philox4x64 x) {
        for (int k = 0; k != 100; ++k) CHECK(seen.insert(x()).second);
    };
    look(g);
    for (std::uint64_t k = 0; k != 20; ++k) {
        look(g.split(k));
        look(g.split(k).split(0));
        look(philox4x64(k).split(3));
    }
}

TEST_CASE("uniform01 is uniform", "[random]") {
    philox4x64 g(1);
    const auto draw = [&] { return joblot::uniform01(g); };
    const moments m = moments_of(draw);
    CHECK_THAT(m.mean, WithinAbs(0.5, 0.001));
    CHECK_THAT(m.variance, WithinAbs(1.0 / 12, 0.001));
    CHECK_THAT(m.kurtosis, WithinAbs(-1.2, 0.01));
    CHECK(distance(draw, [](double x) { return x; }) < one_in_ten_thousand);
    highest_bits highest;
    CHECK(joblot::uniform01(highest) < 1);
}

TEST_CASE("normal has the moments and the distribution", "[random]") {
    philox4x64 g(2);
    const auto draw = [&] { return joblot::normal(g); };
    const moments m = moments_of(draw);
    CHECK_THAT(m.mean, WithinAbs(0, 0.004));
    CHECK_THAT(m.variance, WithinAbs(1, 0.005));
    CHECK_THAT(m.skewness, WithinAbs(0, 0.01));
    CHECK_THAT(m.kurtosis, WithinAbs(0, 0.02));
    CHECK(distance(draw, [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }) < one_in_ten_thousand);
    // the tail, where it is another algorithm: P(|x| > 3.7) = 2.156e-4
    int beyond = 0;
    constexpr int n = 20'000'000;
    for (int k = 0; k != n; ++k) beyond += std::abs(draw()) > 3.7;
    CHECK_THAT(beyond, WithinAbs(2.1559e-4 * n, 5 * std::sqrt(2.1559e-4 * n)));
    const moments scaled = moments_of([&] { return joblot::normal(g, 10, 3); }, 100'000);
    CHECK_THAT(scaled.mean, WithinAbs(10, 0.06));
    CHECK_THAT(scaled.variance, WithinAbs(9, 0.3));
}

TEST_CASE("exponential has the moments and the distribution", "[random]") {
    philox4x64 g(3);
    const auto draw = [&] { return joblot::exponential(g); };
    const moments m = moments_of(draw);
    CHECK_THAT(m.mean, WithinAbs(1, 0.005));
    CHECK_THAT(m.variance, WithinAbs(1, 0.01));
    CHECK_THAT(m.skewness, WithinAbs(2, 0.05));
    CHECK(distance(draw, [](double x) { return -std::expm1(-x); }) < one_in_ten_thousand);
    int beyond = 0;
    constexpr int n = 10'000'000;
    for (int k = 0; k != n; ++k) beyond += draw() > 8;
    CHECK_THAT(beyond, WithinAbs(std::exp(-8) * n, 5 * std::sqrt(std::exp(-8) * n)));
    CHECK_THAT(moments_of([&] { return joblot::exponential(g, 4.0); }, 100'000).mean, WithinAbs(0.25, 0.006));
}

TEST_CASE("uniform_int gives each number equally often, over any range of any type", "[random]") {
    philox4x64 g(4);
    std::array<int, 7> counts{};
    constexpr int n = 700'000;
    for (int k = 0; k != n; ++k) ++counts.at(static_cast<std::size_t>(joblot::uniform_int(g, -3, 3) + 3));
    double chi = 0;
    for (const int c : counts) chi += (c - n / 7.0) * (c - n / 7.0) / (n / 7.0);
    CHECK(chi < 33); // 6 degrees of freedom: more than that is one in 100 000
    CHECK(joblot::uniform_int(g, 5, 5) == 5);
    const auto stays = [&]<class T>(T low, T high) {
        bool in_lower = false;
        bool in_upper = false;
        for (int k = 0; k != 200; ++k) {
            const T x = joblot::uniform_int(g, low, high);
            CHECK((low <= x && x <= high));
            (x < low / 2 + high / 2 ? in_lower : in_upper) = true;
        }
        CHECK((in_lower && in_upper));
    };
    stays(std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max());
    stays(std::uint64_t{0}, std::numeric_limits<std::uint64_t>::max());
    stays(std::numeric_limits<std::int8_t>::min(), std::numeric_limits<std::int8_t>::max());
    stays(std::numeric_limits<std::int32_t>::min(), std::int32_t{0});
    // two thirds of all 64 bits: without refusing draws, the lower half would come twice as often
    constexpr std::uint64_t wide = std::numeric_limits<std::uint64_t>::max() / 3 * 2;
    int lower = 0;
    for (int k = 0; k != 30'000; ++k) lower += joblot::uniform_int(g, std::uint64_t{0}, wide) <= wide / 2;
    CHECK_THAT(lower, WithinAbs(15'000, 450));
    try {
        static_cast<void>(joblot::uniform_int(g, 3, 2));
        FAIL("nothing was thrown");
    } catch (const std::invalid_argument& e) {
        CHECK(std::string(e.what()) == "joblot: uniform_int from 3 to 2: the first must not be more than the second");
    }
}

TEST_CASE("shuffle gives each order equally often", "[random]") {
    philox4x64 g(5);
    std::map<std::array<int, 4>, int> seen;
    constexpr int n = 240'000;
    for (int k = 0; k != n; ++k) {
        std::array<int, 4> all{1, 2, 3, 4};
        joblot::shuffle(all, g);
        ++seen[all];
    }
    REQUIRE(seen.size() == 24);
    double chi = 0;
    for (const auto& [order, count] : seen) chi += (count - n / 24.0) * (count - n / 24.0) / (n / 24.0);
    CHECK(chi < 63); // 23 degrees of freedom: more than that is one in 100 000
    std::vector<int> none;
    joblot::shuffle(none, g);
    CHECK(none.empty());
}

// These are the bits on every compiler, with every standard library, and whatever the compiler may contract: this file
// is compiled by all of them.
TEST_CASE("The distributions have the same bits everywhere", "[random]") {
    philox4x64 g(6);
    std::uint64_t h = 0;
    for (int k = 0; k != 100'000; ++k) {
        h = digest(h, joblot::uniform01(g));
        h = digest(h, joblot::normal(g, 1.5, 0.1));
        h = digest(h, joblot::exponential(g, 0.3));
        h = digest(h, joblot::uniform_int(g, -1000, 1000));
    }
    std::vector<int> order(1000);
    std::ranges::copy(std::views::iota(0, 1000), order.begin());
    joblot::shuffle(order, g);
    for (const int x : order) h = digest(h, x);
    CHECK(h == 0x7f2ea165a930b5b9);
}
