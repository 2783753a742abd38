// SPDX-License-Identifier: BSL-1.0
// Which paused workers do nothing any more, by what the scheduler says of them again and again.
#include "captured.hpp"

#include <joblot/dask/call/paused_workers.hpp>

#include <catch2/catch_test_macros.hpp>

#include <map>
#include <string>

namespace {

using joblot::dask::engine::json;
using joblot::dask::engine::paused_workers;
using joblot::dask::engine::reports_of;
using joblot::dask::engine::worker_report;
using namespace std::chrono_literals;
constexpr paused_workers::clock::time_point start{};

worker_report idle(double heard) {
    return {.paused = true, .heard = heard, .memory = 450'000'000, .limit = 400'000'000};
}
worker_report busy(double heard) { return {.paused = true, .busy = true, .heard = heard}; }
worker_report running(double heard) { return {.heard = heard}; }

} // namespace

TEST_CASE("a paused worker is stuck when it has said for so long that it does nothing", "[dask][paused]") {
    paused_workers p(10s);
    p.update({{"a", idle(1)}}, start); // this may have been said before the pause
    p.update({{"a", idle(2)}}, start + 2s);
    p.update({{"a", idle(11)}}, start + 11s);
    CHECK_FALSE(p.any_stuck());
    p.update({{"a", idle(12)}}, start + 12s);
    CHECK(p.is_stuck("a"));
    CHECK(p.all_stuck());
    CHECK(p.in_words() == "a uses 450 MB of its limit of 400 MB");
    p.forget();
    CHECK_FALSE(p.any_stuck());
}

TEST_CASE("a paused worker that says nothing is not stuck", "[dask][paused]") {
    paused_workers p(10s);
    p.update({{"a", idle(1)}}, start);
    p.update({{"a", idle(2)}}, start + 1s);
    p.update({{"a", idle(2)}}, start + 60s);
    CHECK_FALSE(p.any_stuck());
}

TEST_CASE("a paused worker that does something begins anew", "[dask][paused]") {
    paused_workers p(10s);
    const auto look = [&](const worker_report& r) { p.update({{"a", r}}, start + std::chrono::seconds(int(r.heard))); };
    look(idle(1));
    look(idle(2));
    look(busy(8)); // runs a task
    look(idle(9));
    look(idle(18));
    CHECK_FALSE(p.any_stuck());
    look(running(19));
    look(idle(20));
    look(idle(29));
    CHECK_FALSE(p.any_stuck());
    worker_report spilling = idle(38);
    spilling.spilled = 1;
    look(spilling);
    spilling.heard = 47;
    look(spilling);
    CHECK_FALSE(p.any_stuck());
    spilling.heard = 57;
    look(spilling);
    CHECK(p.any_stuck());
}

TEST_CASE("a worker that may run something keeps all from being stuck", "[dask][paused]") {
    paused_workers p(10s);
    for (const int second : {1, 2, 12})
        p.update({{"a", idle(second)}, {"b", running(second)}, {"c", busy(second)}},
                 start + std::chrono::seconds(second));
    CHECK(p.is_stuck("a"));
    CHECK_FALSE(p.is_stuck("b"));
    CHECK_FALSE(p.is_stuck("c"));
    CHECK_FALSE(p.all_stuck());
    p.update({{"a", idle(13)}}, start + 13s); // the others have gone
    CHECK(p.all_stuck());
    p.update({}, start + 14s);
    CHECK_FALSE(p.all_stuck());
}

TEST_CASE("many stuck workers are named in part", "[dask][paused]") {
    paused_workers p(0s);
    for (const int second : {1, 2}) {
        std::map<std::string, worker_report> all;
        for (const char* name : {"a", "b", "c", "d", "e", "f"}) all.emplace(name, idle(second));
        p.update(all, start + std::chrono::seconds(second));
    }
    CHECK(p.in_words().ends_with("d uses 450 MB of its limit of 400 MB, and 2 more"));
}

TEST_CASE("what schedulers say of workers is understood", "[dask][paused]") {
    const json facts = json::parse(R"({"status": "paused", "memory_limit": 400000000, "last_seen": 2.5, "metrics":
        {"memory": 450000000, "spilled_bytes": {"memory": 1, "disk": 118}, "task_counts": {"memory": 1, "ready": 2}}})");
    const auto read = [&](const char* state) {
        json worker = facts;
        if (*state) worker["metrics"]["task_counts"][state] = 1;
        return reports_of({{"workers", {{"tcp://a", worker}}}}).at("tcp://a");
    };
    CHECK(read("").paused);
    CHECK(read("").heard == 2.5);
    CHECK(read("").memory == 450'000'000);
    CHECK(read("").limit == 400'000'000);
    CHECK(read("").spilled == 118);
    for (const char* state : {"executing", "long-running", "flight", "cancelled"}) CHECK(read(state).busy);
    for (const char* state : {"", "waiting", "error", "other"}) CHECK_FALSE(read(state).busy);
    CHECK(reports_of(json()).empty());
    CHECK_FALSE(reports_of({{"workers", {{"tcp://a", json::object()}}}}).at("tcp://a").paused);
    for (const char* version : captured::versions) {
        for (const auto& [address, report] : reports_of(captured::read(version, "identity-used").head)) {
            CHECK_FALSE(report.paused);
            CHECK(report.heard > 0);
            CHECK(report.memory > 0);
        }
    }
}
