// SPDX-License-Identifier: BSL-1.0
// The queue between a session's thread and a call's.
#include <joblot/dask/session/inbox.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using joblot::dask::engine::inbox;
using joblot::dask::engine::task_end;
using namespace std::chrono_literals;

task_end end_of(std::string key) {
    task_end end;
    end.key = std::move(key);
    end.how = task_end::kind::result;
    return end;
}

} // namespace

TEST_CASE("what has come is taken in its order, once", "[dask][inbox]") {
    inbox box;
    box.task_ended(end_of("a"));
    box.task_ended(end_of("b"));
    const inbox::content first = box.wait(1h);
    REQUIRE(first.ends.size() == 2);
    CHECK(first.ends[0].key == "a");
    CHECK(first.ends[1].key == "b");
    CHECK_FALSE(first.workers_changed);
    CHECK_FALSE(first.woken);
    CHECK(box.wait(0s).empty());
}

TEST_CASE("being woken and a change of workers are no ends", "[dask][inbox]") {
    inbox box;
    box.wake();
    const inbox::content woken = box.wait(1h);
    CHECK(woken.woken);
    CHECK(woken.ends.empty());
    box.workers_changed();
    const inbox::content changed = box.wait(1h);
    CHECK(changed.workers_changed);
    CHECK_FALSE(changed.woken);
    CHECK_FALSE(changed.empty());
}

TEST_CASE("who waits is woken by whatever comes from another thread", "[dask][inbox]") {
    constexpr int many = 1000;
    inbox box;
    std::jthread sender([&] {
        for (int i = 0; i != many; ++i) {
            box.task_ended(end_of(std::to_string(i)));
            if (i % 10 == 0) box.wake();
        }
    });
    int next = 0;
    while (next != many) {
        for (const task_end& end : box.wait(1h).ends) {
            REQUIRE(end.key == std::to_string(next));
            ++next;
        }
    }
}
