// SPDX-License-Identifier: BSL-1.0
// Progress as a user of Parallel sees it: the lines on stderr and the callback's events.

#include "../support/backends.hpp"
#include "../support/inputs.hpp"
#include "../support/sanitizers.hpp"
#include "../support/stderr_capture.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <ranges>
#include <regex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using joblot::delayed;
using joblot::Parallel;
using joblot::progress_event;
using joblot::progress_state;
using support::identity;
using strings = std::vector<std::string>;

const std::regex& line_shape() {
    static const std::regex shape{R"(\[Parallel\(n_jobs=-?\d+\)\]: ()"
                                  R"(Using backend \w+ with \d+ concurrent workers\.)"
                                  R"(|Done +\d+ tasks {6}\| elapsed: +\d+\.\d(s|min)( failed| cancelled)?)"
                                  R"(|Done +\d+ out of +\d+ \| elapsed: +\d+\.\d(s|min))"
                                  R"(( remaining: +\d+\.\d(s|min)| finished| failed| cancelled)?)"
                                  R"()\n)"};
    return shape;
}

bool well_formed(const strings& writes) {
    return std::ranges::all_of(writes, [](const std::string& w) { return std::regex_match(w, line_shape()); });
}

int done_of(const std::string& line) {
    std::smatch match;
    return std::regex_search(line, match, std::regex{R"(Done +(\d+) )"}) ? std::stoi(match[1]) : -1;
}

std::size_t count_ending(const strings& lines, const std::string& end) {
    return static_cast<std::size_t>(
        std::ranges::count_if(lines, [&](const std::string& line) { return line.ends_with(end); }));
}

template <class F>
strings stderr_of(F call) {
    support::stderr_capture capture;
    call();
    return capture.writes();
}

} // namespace

TEST_CASE("verbose = 0 writes nothing", "[progress]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    CHECK(stderr_of([&] { parallel(views::iota(0, 100) | views::transform(delayed(identity))); }).empty());
}

TEST_CASE("[J1] [J4] [J71] a successful call: the backend first, finished last and once, one write for each line",
          "[progress]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int verbose = GENERATE(1, 2, 10, 11, 49, 50, 100);
    const int n = backend.fewer(GENERATE(1, 10, 100));
    const strings lines = stderr_of([&] {
        Parallel({.n_jobs = n_jobs, .verbose = verbose, .batch_size = 1})(views::iota(0, n) |
                                                                          views::transform(delayed(identity)));
    });
    CAPTURE(lines);
    REQUIRE(lines.size() >= 2);
    CHECK(well_formed(lines));
    const std::string prefix = "[Parallel(n_jobs=" + std::to_string(n_jobs) + ")]: ";
    CHECK(lines.front() == prefix + "Using backend " + backend.line_name + " with " +
                               std::to_string(joblot::effective_n_jobs(n_jobs)) + " concurrent workers.\n");
    CHECK_THAT(lines.back(), EndsWith(" finished\n"));
    CHECK(done_of(lines.back()) == n);
    CHECK(count_ending(lines, " finished\n") == 1);
    CHECK(std::ranges::is_sorted(lines | views::drop(1), {}, done_of));
    CHECK(std::ranges::all_of(lines, [&](const std::string& line) { return line.starts_with(prefix); }));
    if (verbose > 10) CHECK(lines.size() >= static_cast<std::size_t>(std::min(n, 2)) + 1);
}

TEST_CASE("a failing and a cancelled call end with one line that says so", "[progress][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int verbose = GENERATE(1, 100);
    const int at = GENERATE(0, 3);
    const strings failed = stderr_of([&] {
        try {
            Parallel({.n_jobs = n_jobs, .verbose = verbose})(views::iota(0, 10) | views::transform(delayed([at](int i) {
                                                                 if (i == at) throw i;
                                                             })));
        } catch (int) {
        }
    });
    CAPTURE(failed);
    CHECK(well_formed(failed));
    CHECK_THAT(failed.back(), EndsWith(" failed\n"));
    CHECK(count_ending(failed, " failed\n") == 1);
    CHECK(count_ending(failed, " finished\n") == 0);
    std::stop_source source;
    const strings cancelled = stderr_of([&] {
        try {
            Parallel({.n_jobs = n_jobs, .verbose = verbose, .stop = source.get_token()})(
                views::iota(0, 10) | views::transform(delayed([&](int i) {
                    if (i == at) source.request_stop();
                })));
        } catch (const joblot::cancelled&) {
        }
    });
    CAPTURE(cancelled);
    CHECK(well_formed(cancelled));
    CHECK_THAT(cancelled.back(), EndsWith(" cancelled\n"));
    CHECK(count_ending(cancelled, " cancelled\n") == 1);
}

TEST_CASE("generators, outcomes and the tuple form have their lines, too", "[progress]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend), .verbose = 100});
    const auto tasks = views::iota(0, 10) | views::transform(delayed(identity));
    const auto ends_well = [](const strings& lines, int n) {
        return well_formed(lines) && count_ending(lines, " finished\n") == 1 && lines.back().ends_with(" finished\n") &&
               done_of(lines.back()) == n;
    };
    CHECK(ends_well(stderr_of([&] { (void)parallel.outcomes(tasks); }), 10));
    CHECK(ends_well(stderr_of([&] { parallel(delayed(identity)(1), delayed(identity)(2)); }), 2));
    CHECK(ends_well(stderr_of([&] {
                        for ([[maybe_unused]] auto&& value : parallel.generator(tasks)) {
                        }
                    }),
                    10));
    CHECK(ends_well(stderr_of([&] { parallel(support::numbers(10) | views::transform(delayed(identity))); }), 10));
    CHECK(ends_well(stderr_of([&] { parallel(views::iota(0, 0) | views::transform(delayed(identity))); }), 0));
}

TEST_CASE("[J73] lines of sixteen calls at once do not run into each other", "[progress][stress]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const strings lines = stderr_of([&] {
        std::vector<std::jthread> callers;
        for (int caller = 0; caller < 16; ++caller)
            callers.emplace_back([&] {
                Parallel({.n_jobs = 2, .backend = backend.choose(), .verbose = 100, .batch_size = 1})(
                    views::iota(0, support::rounds(100)) | views::transform(delayed(identity)));
            });
    });
    CHECK(well_formed(lines));
    CHECK(count_ending(lines, " finished\n") == 16);
}

TEST_CASE("a guard's verbosity holds for the calls below it", "[progress][guard]") {
    const auto tasks = views::iota(0, 3) | views::transform(delayed(identity));
    const joblot::parallel_backend guard{"threads", {.n_jobs = 2, .verbose = 100}};
    CHECK(count_ending(stderr_of([&] { Parallel{}(tasks); }), " finished\n") == 1);
    CHECK(stderr_of([&] { Parallel({.verbose = 0})(tasks); }).empty());
    const joblot::parallel_backend inner{{.n_jobs = 3}};
    CHECK_THAT(stderr_of([&] { Parallel{}(tasks); }).front(), StartsWith("[Parallel(n_jobs=3)]: Using backend"));
}

TEST_CASE("the callback sees a start, counts that never go down, one end, and one call at a time", "[progress]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(GENERATE(0, 1, 100));
    const int how = GENERATE(0, 1);     // ends well, fails
    std::vector<progress_event> events; // unguarded: the calls must be serialised
    std::string label;
    std::atomic<int> inside{0};
    std::atomic<int> overlaps{0};
    const auto record = [&](const progress_event& e) {
        if (++inside != 1) ++overlaps;
        events.push_back(e);
        if (!e.label.empty()) label = e.label;
        --inside;
    };
    const auto task = [&](int i) {
        if (how == 1 && i == n - 1) throw i;
        return i;
    };
    try {
        Parallel({.n_jobs = n_jobs, .progress = record, .label = "the call"})(views::iota(0, n) |
                                                                              views::transform(delayed(task)));
    } catch (int) {
    }
    REQUIRE(events.size() >= 2);
    CHECK(overlaps == 0);
    CHECK(events.front().done == 0);
    CHECK(events.front().state == progress_state::running);
    CHECK(std::ranges::is_sorted(events, {}, &progress_event::done));
    CHECK(std::ranges::is_sorted(events, {}, [](const progress_event& e) { return e.elapsed.count(); }));
    CHECK(std::ranges::count_if(events, [](const progress_event& e) { return e.state != progress_state::running; }) ==
          1);
    const bool fails = how == 1 && n > 0;
    CHECK(events.back().state == (fails ? progress_state::failed : progress_state::finished));
    CHECK(events.back().total == static_cast<std::size_t>(n));
    if (!fails) CHECK(events.back().done == static_cast<std::size_t>(n));
    if (n > 0) CHECK(label == "the call");
}

TEST_CASE("[J26] [J74] what a callback throws is swallowed", "[progress][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const Parallel parallel(
        {.n_jobs = n_jobs, .progress = [](const progress_event&) { throw std::runtime_error{"no"}; }});
    CHECK(std::ranges::equal(parallel(views::iota(0, 50) | views::transform(delayed(identity))), views::iota(0, 50)));
    CHECK(std::ranges::equal(parallel.generator(views::iota(0, 50) | views::transform(delayed(identity))),
                             views::iota(0, 50)));
    CHECK_THROWS_AS(parallel(views::iota(0, 50) | views::transform(delayed([](int i) {
                                 if (i == 20) throw std::domain_error{"the task's own"};
                             }))),
                    std::domain_error);
}

TEST_CASE("[J26] a failing task's error comes out whatever the verbosity", "[progress][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int at = GENERATE(0, 1, 9);
    bool right = false;
    stderr_of([&] {
        try {
            Parallel({.n_jobs = n_jobs, .verbose = 100})(views::iota(0, 10) | views::transform(delayed([at](int i) {
                                                             if (i == at) throw std::domain_error{"own"};
                                                         })));
        } catch (const std::domain_error&) {
            right = true;
        }
    });
    CHECK(right);
}
