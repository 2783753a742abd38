// SPDX-License-Identifier: BSL-1.0
// The batch-size policy: durations in, sizes out; no threads, no clock.
#include <joblot/dispatch/batching.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <chrono>
#include <cstddef>
#include <vector>

using joblot::detail::batch_sizer;
using std::chrono::nanoseconds;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t plenty = 1'000'000'000;

/// The sizes that a lone worker takes of `n` tasks whose duration is a function of their index.
template <class Duration>
std::vector<std::size_t> sizes_of(std::size_t n, std::size_t workers, Duration duration_of) {
    batch_sizer sizer(0, workers);
    std::vector<std::size_t> sizes;
    for (std::size_t done = 0; done != n;) {
        const std::size_t size = sizer.next(n - done);
        nanoseconds took{0};
        for (std::size_t i = done; i != done + size; ++i) took += duration_of(i);
        sizer.measured(size, took);
        sizes.push_back(size);
        done += size;
    }
    return sizes;
}

} // namespace

TEST_CASE("a fixed size is kept, and cut off at the end") {
    batch_sizer sizer(7, 4);
    REQUIRE(sizer.next(100) == 7);
    sizer.measured(7, 1h);
    REQUIRE(sizer.next(100) == 7);
    REQUIRE(sizer.next(3) == 3);
    REQUIRE(sizer.next(0) == 1);
    REQUIRE_FALSE(sizer.adapts());
}

TEST_CASE("the first batch is one task, whatever comes") {
    REQUIRE(batch_sizer(0, 1).next(plenty) == 1);
    REQUIRE(batch_sizer(0, 64).next(plenty) == 1);
    REQUIRE(batch_sizer(0, 64).next(1) == 1);
}

TEST_CASE("batches of short tasks grow to the target and no further") {
    for (const nanoseconds each : {1ns, 10ns, 100ns, 1000ns, 10000ns}) {
        batch_sizer sizer(0, 2);
        std::size_t size = 0;
        for (int i = 0; i != 20; ++i) {
            const std::size_t next = sizer.next(plenty);
            REQUIRE(next <= std::max<std::size_t>(1, size) * batch_sizer::max_growth);
            size = next;
            sizer.measured(size, each * static_cast<nanoseconds::rep>(size));
        }
        const auto lasts = each * static_cast<nanoseconds::rep>(size);
        CAPTURE(each.count(), size);
        REQUIRE(lasts <= batch_sizer::target_of_threads);
        REQUIRE(lasts + each > batch_sizer::target_of_threads);
    }
}

TEST_CASE("tasks longer than the target are taken one by one") {
    for (const std::size_t size : sizes_of(50, 2, [](std::size_t) { return nanoseconds(100ms); })) REQUIRE(size == 1);
}

TEST_CASE("a batch that was too long is followed by shorter ones at once") {
    batch_sizer sizer(0, 2);
    for (int i = 0; i != 10; ++i)
        sizer.measured(sizer.next(plenty), nanoseconds(10) * static_cast<nanoseconds::rep>(sizer.next(plenty)));
    REQUIRE(sizer.next(plenty) > 100);
    sizer.measured(sizer.next(plenty), 1s);
    REQUIRE(sizer.next(plenty) == 1);
}

TEST_CASE("no worker takes more than half of its share of what is left") {
    batch_sizer sizer(0, 4);
    for (int i = 0; i != 10; ++i) {
        const std::size_t size = sizer.next(plenty);
        sizer.measured(size, nanoseconds(500) * static_cast<nanoseconds::rep>(size));
    }
    REQUIRE(sizer.next(400) == 50); // 400 / (2 * 4)
    REQUIRE(sizer.next(80) == 10);
    REQUIRE(sizer.next(8) == 1);
    REQUIRE(sizer.next(1) == 1);
}

TEST_CASE("tasks of nanoseconds are not dealt out one by one at the end, but nobody takes more than a share") {
    batch_sizer sizer(0, 4);
    for (int i = 0; i != 10; ++i) {
        const std::size_t size = sizer.next(plenty);
        sizer.measured(size, nanoseconds(10) * static_cast<nanoseconds::rep>(size));
    }
    REQUIRE(sizer.next(800) == 100);
    REQUIRE(sizer.next(300) == 50); // 500 ns
    REQUIRE(sizer.next(80) == 20);  // 80 / 4
    REQUIRE(sizer.next(3) == 1);
}

TEST_CASE("who comes later goes on from what others have measured") {
    batch_sizer first(0, 2);
    for (int i = 0; i != 3; ++i) {
        const std::size_t size = first.next(plenty);
        first.measured(size, nanoseconds(10) * static_cast<nanoseconds::rep>(size));
    }
    batch_sizer second(0, 2);
    REQUIRE(second.next(plenty) == 1);
    second.begin_with(first.so_far());
    REQUIRE(second.next(plenty) == first.next(plenty));
    REQUIRE(second.next(40) == first.next(40));
}

TEST_CASE("trials are single tasks, however short") {
    batch_sizer sizer(0, 2, 5);
    for (int i = 0; i != 5; ++i) {
        REQUIRE(sizer.next(plenty) == 1);
        sizer.measured(1, 1ns);
    }
    REQUIRE(sizer.next(plenty) == batch_sizer::max_growth);
}

TEST_CASE("the last batches are short however the durations are spread") {
    const std::size_t n = 100'000;
    const auto spread = GENERATE(0, 1, 2);
    const auto duration_of = [&](std::size_t i) {
        const bool is_long = spread == 0 ? i % 100 == 0 : spread == 1 ? i < n / 100 : i >= n - n / 100;
        return is_long ? nanoseconds(10us) : nanoseconds(100ns);
    };
    const auto sizes = sizes_of(n, 2, duration_of);
    // the time of the last tenth of the batches, each on its own
    std::size_t first = n;
    for (auto size = sizes.rbegin(); size != sizes.rend() && first > n - n / 1000; ++size) {
        first -= *size;
        nanoseconds lasts{0};
        for (std::size_t i = first; i != first + *size; ++i) lasts += duration_of(i);
        REQUIRE(lasts < 1ms); // of a call of 10 ms for each of the two workers at least
    }
}

TEST_CASE("absurd measures do no harm") {
    batch_sizer sizer(0, 2);
    sizer.measured(0, 0ns);
    REQUIRE(sizer.next(plenty) >= 1);
    sizer.measured(static_cast<std::size_t>(-1), nanoseconds::max());
    REQUIRE(sizer.next(plenty) >= 1);
    sizer.measured(static_cast<std::size_t>(-1), -5ns);
    REQUIRE(sizer.next(plenty) >= 1);
    REQUIRE(sizer.next(static_cast<std::size_t>(-1)) >= 1);
}

TEST_CASE("no batch is made so short that its cost would show, except where fewer tasks are left") {
    batch_sizer sizer(0, 4, 1, 200ms, 2ms);
    REQUIRE(sizer.next(plenty) == 1);
    for (int i = 0; i != 20; ++i) {
        const std::size_t size = sizer.next(plenty);
        sizer.measured(size, nanoseconds(1us) * static_cast<nanoseconds::rep>(size));
    }
    REQUIRE(sizer.next(plenty) == 200'000); // of 1 us each
    constexpr std::size_t smallest = 10'000;
    REQUIRE(sizer.next(400'000) == 50'000);
    REQUIRE(sizer.next(8 * smallest) == smallest);
    REQUIRE(sizer.next(3 * smallest) == smallest);
    REQUIRE(sizer.next(smallest / 2) == smallest / 2);
    REQUIRE(sizer.next(1) == 1);
    sizer.measured(smallest, nanoseconds(10ms) * smallest); // long ones, all of a sudden
    REQUIRE(sizer.next(plenty) == 20);
    REQUIRE(sizer.next(16) == 2);
    REQUIRE(sizer.next(8) == 1);
}

TEST_CASE("a first measure that was a lucky one does no harm where batches are costly, either") {
    batch_sizer sizer(0, 2, 1, 200ms, 2ms);
    sizer.measured(1, 1us);
    REQUIRE(sizer.next(plenty) == batch_sizer::max_growth);
}

TEST_CASE("a hundred thousand trivial tasks are a few dozen costly batches") {
    batch_sizer sizer(0, 4, 1, 200ms, 2ms);
    std::size_t batches = 0;
    for (std::size_t left = 100'000; left != 0; ++batches) {
        const std::size_t size = sizer.next(left);
        sizer.measured(size, nanoseconds(100ns) * static_cast<nanoseconds::rep>(size));
        left -= size;
    }
    REQUIRE(batches < 40);
}

TEST_CASE("fair shares are those of the workers that there are now") {
    batch_sizer sizer(0, 2, 1, 200ms, 2ms);
    for (int i = 0; i != 20; ++i) {
        const std::size_t size = sizer.next(plenty);
        sizer.measured(size, nanoseconds(100ns) * static_cast<nanoseconds::rep>(size));
    }
    REQUIRE(sizer.next(4'000'000) == 1'000'000);
    sizer.workers_are(20);
    REQUIRE(sizer.next(8'000'000) == 200'000);
}
