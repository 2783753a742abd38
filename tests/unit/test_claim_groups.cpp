// SPDX-License-Identifier: BSL-1.0
// Claims of many workers: each index once, and few writes to the line that all share.
#include <joblot/dispatch/claim_groups.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

using joblot::detail::batch_sizer;
using joblot::detail::claim_groups;
using namespace std::chrono_literals;

namespace {

/// Workers that take turns, with tasks of one length.
struct turns {
    turns(std::size_t workers, std::size_t tasks, std::chrono::nanoseconds each)
        : groups(workers, tasks), sizers(workers, batch_sizer(0, workers)), taken(tasks), length(each) {}

    /// Whether the worker got something.
    bool claim(std::size_t worker) {
        const auto c = groups.claim(counter, worker / claim_groups::of_group, sizers[worker]);
        if (c.count == 0) return false;
        ++claims;
        writes += c.wrote_counter ? 1 : 0;
        for (std::size_t i = c.first; i != c.first + c.count; ++i) ++taken.at(i);
        sizers[worker].measured(c.count, length * static_cast<int>(c.count));
        return true;
    }
    void until_nothing_is_left() {
        for (bool some = true; some;) {
            some = false;
            for (std::size_t w = 0; w != sizers.size(); ++w) some = claim(w) || some;
        }
    }
    [[nodiscard]] bool each_once() const {
        return std::ranges::all_of(taken, [](int n) { return n == 1; });
    }

    claim_groups groups;
    std::atomic<std::size_t> counter{0};
    std::vector<batch_sizer> sizers;
    std::vector<int> taken;
    std::chrono::nanoseconds length;
    std::size_t claims = 0, writes = 0;
};

} // namespace

TEST_CASE("groups of workers get each index once", "[claims]") {
    const auto workers = GENERATE(as<std::size_t>{}, 17, 24, 64, 100);
    const auto tasks = GENERATE(as<std::size_t>{}, 1, 7, 100, 12'345, 200'000);
    turns all(workers, tasks, 100ns);
    all.until_nothing_is_left();
    CHECK(all.each_once());
    CHECK(all.groups.in_hand() == 0);
}

TEST_CASE("a call of 64 workers seldom writes to the line that all share", "[claims]") {
    turns all(64, 1'000'000, 100ns); // 1.6 ms for each
    all.until_nothing_is_left();
    REQUIRE(all.each_once());
    CHECK(all.claims > 2000);
    CHECK(all.writes < all.claims / 5);
}

TEST_CASE("long tasks are not kept from others by a group", "[claims]") {
    turns all(64, 128, 1s);
    for (std::size_t w = 0; w != 64; ++w) CHECK(all.claim(w));
    CHECK(all.claims == 64);
    CHECK(std::ranges::count(all.taken, 1) == 64); // one each
    all.until_nothing_is_left();
    CHECK(all.each_once());
}

TEST_CASE("what a group has in hand is taken by others when nothing else is left", "[claims]") {
    turns all(24, 100'000, 100ns);
    do REQUIRE(all.claim(0));
    while (all.groups.in_hand() == 0); // nobody else of the group comes for it
    for (bool some = true; some;) some = all.claim(20);
    CHECK(all.each_once());
}

TEST_CASE("threads of several groups claim at the same time", "[claims][stress]") {
    constexpr std::size_t threads = 24, tasks = 300'000;
    claim_groups groups(threads, tasks);
    std::atomic<std::size_t> counter{0};
    std::vector<std::atomic<int>> taken(tasks);
    std::vector<std::thread> workers;
    for (std::size_t w = 0; w != threads; ++w) {
        workers.emplace_back([&, w] {
            batch_sizer sizer(0, threads);
            for (;;) {
                const auto c = groups.claim(counter, w / claim_groups::of_group, sizer);
                if (c.count == 0) return;
                for (std::size_t i = c.first; i != c.first + c.count; ++i)
                    taken[i].fetch_add(1, std::memory_order_relaxed);
                sizer.measured(c.count, 300ns * static_cast<int>(c.count));
            }
        });
    }
    for (std::thread& w : workers) w.join();
    CHECK(std::ranges::all_of(taken, [](const std::atomic<int>& n) { return n.load() == 1; }));
}

TEST_CASE("a few workers, or more tasks than a line can hold, have one counter", "[claims]") {
    CHECK_FALSE(claim_groups::pay(16, 1'000'000));
    CHECK(claim_groups::pay(17, 1'000'000));
    CHECK_FALSE(claim_groups::pay(64, claim_groups::most_tasks));
}
