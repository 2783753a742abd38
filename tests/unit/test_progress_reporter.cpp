// SPDX-License-Identifier: BSL-1.0
// What a call reports and when, on a clock that the test moves, with a recording sink.
#include <joblot/progress/reporter.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace joblot;
using namespace joblot::detail;
using namespace std::chrono_literals;

namespace {

/// A reporter's surroundings: its lines and events, and its time.
struct recording {
    std::vector<std::string> lines;
    std::vector<progress_event> events;
    std::vector<std::string> labels, event_lines; // the views of the events, kept
    std::chrono::steady_clock::time_point time{1h};

    progress_config config(int verbose, std::optional<std::size_t> total) {
        progress_config c;
        c.n_jobs = 2;
        c.workers = 2;
        c.backend = "ThreadingBackend";
        c.verbose = verbose;
        c.pre_dispatch = 4;
        c.total = total;
        c.sink = [this](std::string_view line) { lines.emplace_back(line); };
        c.clock = [this] { return time; };
        return c;
    }
    std::function<void(const progress_event&)> callback() {
        return [this](const progress_event& e) {
            events.push_back(e);
            labels.emplace_back(e.label);
            event_lines.emplace_back(e.line);
        };
    }
};

constexpr auto prefix = "[Parallel(n_jobs=2)]: ";

std::string line(const std::string& text) { return prefix + text + "\n"; }

/// The `done` of every progress line.
std::vector<std::size_t> counts(const std::vector<std::string>& lines) {
    std::vector<std::size_t> out;
    for (const auto& l : lines)
        if (const auto at = l.find("Done "); at != std::string::npos) out.push_back(std::stoul(l.substr(at + 5)));
    return out;
}

} // namespace

TEST_CASE("the lines of a call of known length", "[progress]") {
    recording r;
    progress_reporter reporter(r.config(10, 10));
    reporter.start();
    for (int i = 0; i < 10; ++i) {
        r.time += 100ms;
        reporter.add(1);
    }
    reporter.finish(progress_state::finished);
    CHECK(r.lines == std::vector{
                         line("Using backend ThreadingBackend with 2 concurrent workers."),
                         line("Done  1 out of 10 | elapsed:    0.1s remaining:    0.9s"),
                         line("Done  4 out of 10 | elapsed:    0.4s remaining:    0.6s"),
                         line("Done 10 out of 10 | elapsed:    1.0s finished"),
                     });
    CHECK(reporter.done() == 10);
}

TEST_CASE("the mission's example: a total found on the way", "[progress]") {
    recording r;
    progress_reporter reporter(r.config(100, std::nullopt));
    reporter.start();
    r.time += 300ms;
    reporter.add(1);
    r.time += 100ms;
    reporter.total_known(10);
    reporter.add(3);
    r.time += 100ms;
    reporter.add(6);
    reporter.finish(progress_state::finished);
    CHECK(r.lines == std::vector{
                         line("Using backend ThreadingBackend with 2 concurrent workers."),
                         line("Done   1 tasks      | elapsed:    0.3s"),
                         line("Done   4 out of  10 | elapsed:    0.4s remaining:    0.6s"),
                         line("Done  10 out of  10 | elapsed:    0.5s finished"),
                     });
}

TEST_CASE("a call ends with one line, whatever happened", "[progress]") {
    recording r;
    SECTION("failed") {
        progress_reporter reporter(r.config(1, 10));
        reporter.add(4);
        reporter.finish(progress_state::failed);
        reporter.finish(progress_state::finished);
        reporter.add(1);
        CHECK(r.lines == std::vector{line("Done  4 out of 10 | elapsed:    0.0s failed")});
    }
    SECTION("cancelled, total unknown") {
        progress_reporter reporter(r.config(1, std::nullopt));
        reporter.add(4);
        reporter.finish(progress_state::cancelled);
        CHECK(r.lines == std::vector{line("Done   4 tasks      | elapsed:    0.0s cancelled")});
    }
    SECTION("failed, total found after the last completion") {
        progress_reporter reporter(r.config(1, std::nullopt));
        reporter.add(4);
        reporter.total_known(5);
        reporter.finish(progress_state::failed);
        CHECK(r.lines == std::vector{line("Done   4 out of   5 | elapsed:    0.0s failed")});
    }
    SECTION("one task") {
        progress_reporter reporter(r.config(1, 1));
        reporter.add(1);
        reporter.finish(progress_state::finished);
        CHECK(r.lines == std::vector{line("Done 1 out of 1 | elapsed:    0.0s finished")});
    }
    SECTION("no task") {
        progress_reporter reporter(r.config(1, std::nullopt));
        reporter.total_known(0);
        reporter.finish(progress_state::finished);
        CHECK(r.lines == std::vector{line("Done   0 out of   0 | elapsed:    0.0s finished")});
    }
}

TEST_CASE("a silent reporter counts and nothing else", "[progress]") {
    recording r;
    progress_reporter reporter(r.config(0, 10));
    progress_reporter bare;
    for (auto* one : {&reporter, &bare}) {
        one->start();
        one->add(3);
        one->total_known(5);
        one->add(2);
        one->finish(progress_state::finished);
        CHECK(one->done() == 5);
    }
    CHECK(r.lines.empty());
}

TEST_CASE("the callback sees the start, every batch and the end", "[progress]") {
    recording r;
    auto config = r.config(0, std::nullopt);
    config.callback = r.callback();
    int asked = 0;
    config.label = [&asked] { return ++asked == 1 ? "" : "simulate"; }; // not known before the first task is read
    progress_reporter reporter(std::move(config));
    reporter.start();
    r.time += 1s;
    reporter.add(2);
    reporter.total_known(8);
    r.time += 1s;
    reporter.add(2);
    reporter.add(4);
    reporter.finish(progress_state::finished);
    REQUIRE(r.events.size() == 5);
    CHECK(r.lines.empty());
    CHECK(r.labels == std::vector<std::string>{"", "simulate", "simulate", "simulate", "simulate"});
    CHECK(asked == 2);
    CHECK(r.events[0].done == 0);
    CHECK_FALSE(r.events[0].remaining);
    CHECK(r.events[1].done == 2);
    CHECK_FALSE(r.events[1].total);
    CHECK(r.events[1].elapsed == 1s);
    CHECK(r.events[2].total == 8);
    CHECK(r.events[2].remaining == 2s);
    CHECK(r.events[3].done == 8);
    CHECK(r.events[3].state == progress_state::running);
    CHECK(r.events[4].state == progress_state::finished);
    CHECK(r.events[4].remaining == 0s);
}

TEST_CASE("events carry the line that is printed", "[progress]") {
    recording r;
    auto config = r.config(10, 3);
    config.callback = r.callback();
    progress_reporter reporter(std::move(config));
    reporter.start();
    reporter.add(1);
    reporter.add(1);
    reporter.add(1);
    reporter.finish(progress_state::finished);
    REQUIRE(r.event_lines.size() == 5);
    CHECK(r.event_lines[0] == r.lines[0]);
    CHECK(r.event_lines[2].empty()); // the last but one
    CHECK(r.event_lines[4] == line("Done 3 out of 3 | elapsed:    0.0s finished"));
}

TEST_CASE("progress_text takes the lines elsewhere", "[progress]") {
    recording r;
    std::ostringstream log;
    auto config = r.config(100, 2);
    config.callback = progress_text(log);
    SECTION("at the call's level") { CHECK(config.verbose == 100); }
    SECTION("at level 10 where none is set") { config.verbose = 0; }
    progress_reporter reporter(std::move(config));
    reporter.start();
    reporter.add(2);
    reporter.finish(progress_state::finished);
    CHECK(r.lines.empty());
    CHECK(log.str() == line("Using backend ThreadingBackend with 2 concurrent workers.") +
                           line("Done 2 out of 2 | elapsed:    0.0s finished"));
}

TEST_CASE("nothing that a sink, a callback or a label throws comes out", "[progress]") {
    recording r;
    auto config = r.config(100, 3);
    std::size_t calls = 0;
    config.sink = [](std::string_view) { throw std::runtime_error("sink"); };
    config.callback = [&](const progress_event&) {
        ++calls;
        throw 42;
    };
    config.label = []() -> std::string { throw std::runtime_error("label"); };
    progress_reporter reporter(std::move(config));
    reporter.start();
    reporter.add(1);
    reporter.add(2);
    reporter.finish(progress_state::finished);
    CHECK(calls == 4);
    CHECK(reporter.done() == 3);
}

TEST_CASE("a broken clock loses lines, not tasks", "[progress]") {
    recording r;
    auto config = r.config(100, 3);
    bool broken = false;
    config.clock = [&] {
        if (broken) throw std::runtime_error("clock");
        return r.time;
    };
    progress_reporter reporter(std::move(config));
    broken = true;
    reporter.start();
    reporter.add(1);
    broken = false;
    reporter.add(1);
    CHECK(reporter.done() == 2);
}

TEST_CASE("a time that goes backwards is no time", "[progress]") {
    recording r;
    progress_reporter reporter(r.config(100, 3));
    r.time -= 10s;
    reporter.add(1);
    CHECK(r.lines == std::vector{line("Done 1 out of 3 | elapsed:    0.0s remaining:    0.0s")});
}

TEST_CASE("a flood of batches does not become a flood of lines", "[progress]") {
    recording r;
    constexpr std::size_t total = 1'000'000;
    progress_reporter reporter(r.config(100, std::nullopt));
    for (std::size_t i = 0; i < total; ++i) {
        reporter.add(1);
        if (i % 1000 == 999) r.time += 1ms; // a million a second
    }
    reporter.finish(progress_state::finished);
    CHECK(r.lines.size() >= 1000 + 98);
    CHECK(r.lines.size() <= 1000 + 102);
    CHECK(r.lines.back() == line("Done 1000000 out of 1000000 | elapsed:    1.0s finished"));
}

TEST_CASE("after batches of many tasks lines are paced from the second on", "[progress]") {
    recording many, single;
    progress_reporter reporter(many.config(10, 10'000'000)), one_by_one(single.config(10, 10'000'000));
    for (int i = 0; i != 2000; ++i) {
        reporter.add(1000);
        many.time += 20us; // 40 ms in all
        one_by_one.add(1);
    }
    CHECK(many.lines.size() >= 4);
    CHECK(many.lines.size() <= 5);
    CHECK(single.lines.size() > 50); // as many as the level asks for, in no time
}

TEST_CASE("a total found while lines are paced is still noticed", "[progress]") {
    recording r;
    progress_reporter reporter(r.config(100, std::nullopt));
    for (int i = 0; i < 2000; ++i) reporter.add(1);
    reporter.total_known(10'000);
    reporter.add(1);
    r.time += 1s;
    reporter.add(1000);
    CHECK(r.lines.back() == line("Done 3001 out of 10000 | elapsed:    1.0s remaining:    2.3s"));
}

TEST_CASE("sixteen threads: whole lines, rising counts, every batch counted and called back", "[progress]") {
    constexpr std::size_t threads = 16, batches = 500;
    recording r;
    const bool with_callback = GENERATE_COPY(false, true);
    const int verbose = GENERATE_COPY(3, 100);
    auto config = r.config(verbose, threads * batches * 3);
    std::atomic<int> inside{0};
    bool overlapped = false;
    const auto sink = config.sink;
    config.sink = [&](std::string_view text) {
        overlapped = overlapped || inside.fetch_add(1) != 0;
        sink(text);
        inside.fetch_sub(1);
    };
    if (with_callback) config.callback = r.callback();
    progress_reporter reporter(std::move(config));
    reporter.start();
    std::vector<std::thread> pool;
    for (std::size_t t = 0; t < threads; ++t)
        pool.emplace_back([&] {
            for (std::size_t b = 0; b < batches; ++b) reporter.add(3);
        });
    for (auto& t : pool) t.join();
    reporter.finish(progress_state::finished);
    CHECK_FALSE(overlapped);
    CHECK(reporter.done() == threads * batches * 3);
    const auto shown = counts(r.lines);
    CHECK(std::ranges::is_sorted(shown));
    CHECK(shown.back() == threads * batches * 3);
    if (with_callback) {
        CHECK(r.events.size() == threads * batches + 2);
        CHECK(std::ranges::is_sorted(r.events, {}, &progress_event::done));
    }
}

TEST_CASE("a total found by one thread while others complete tasks", "[progress]") {
    for (int round = 0; round < 200; ++round) {
        recording r;
        progress_reporter reporter(r.config(10, std::nullopt));
        std::thread other([&] {
            for (int i = 0; i < 50; ++i) reporter.add(1);
        });
        for (int i = 0; i < 25; ++i) reporter.add(1);
        reporter.total_known(100);
        for (int i = 0; i < 25; ++i) reporter.add(1);
        other.join();
        reporter.finish(progress_state::finished);
        REQUIRE(r.lines.back().find("Done 100 out of 100 |") != std::string::npos);
        REQUIRE(std::ranges::is_sorted(counts(r.lines)));
    }
}
