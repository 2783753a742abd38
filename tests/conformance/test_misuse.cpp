// SPDX-License-Identifier: BSL-1.0
// Options that make no sense are refused before anything runs, with a message that names the field and the value.

#include "../support/backends.hpp"
#include "../support/messages.hpp"

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <limits>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace views = std::views;
using namespace std::chrono_literals;
using joblot::delayed;
using joblot::options;
using joblot::Parallel;
using joblot::parallel_backend;
using support::mentions;
using support::refusal;

struct bad_options {
    options given;
    std::string field;
    std::string value;
};

std::vector<bad_options> all_bad() {
    return {
        {{.n_jobs = 0}, "n_jobs", "0"},
        {{.verbose = -1}, "verbose", "-1"},
        {{.verbose = std::numeric_limits<int>::min()}, "verbose", "-2147483648"},
        {{.batch_size = 0}, "batch_size", "0"},
        {{.batch_size = -1}, "batch_size", "-1"},
        {{.pre_dispatch = 0}, "pre_dispatch", "0"},
        {{.pre_dispatch = -7}, "pre_dispatch", "-7"},
        {{.pre_dispatch = joblot::per_job(0)}, "pre_dispatch", "0"},
        {{.pre_dispatch = joblot::per_job(-1.5)}, "pre_dispatch", "-1.5"},
        {{.pre_dispatch = joblot::per_job(std::numeric_limits<double>::quiet_NaN())}, "pre_dispatch", "nan"},
        {{.timeout = 0s}, "timeout", "0"},
        {{.timeout = -3s}, "timeout", ""},
        {{.retries = -1}, "retries", "-1"},
    };
}

} // namespace

TEST_CASE("[J13] [J14] [J49] [J52] bad options are refused by the constructor, naming field and value", "[misuse]") {
    for (const bad_options& bad : all_bad()) {
        INFO(bad.field << " = " << bad.value);
        const std::string message = refusal([&] { const Parallel refused(bad.given); });
        CHECK(mentions(message, {bad.field.c_str(), bad.value.c_str()}));
    }
}

TEST_CASE("[J49] an unknown backend name is refused, listing the known ones", "[misuse]") {
    const auto lists_names = [](const std::string& message) {
        return mentions(message, {"no_such_backend", "sequential", "threads", "threading"});
    };
    CHECK(lists_names(refusal([] { const parallel_backend guard("no_such_backend"); })));
    CHECK(lists_names(refusal([] { Parallel({.backend = "no_such_backend"})(delayed([] { return 1; })()); })));
    CHECK_THROWS_AS(parallel_backend(""), std::invalid_argument);
}

TEST_CASE("a guard refuses bad defaults and then changes nothing", "[misuse]") {
    const int before = joblot::effective_n_jobs(-1);
    CHECK(mentions(refusal([] { const parallel_backend g("threads", {.n_jobs = 0}); }), {"n_jobs", "0"}));
    CHECK(mentions(refusal([] { const parallel_backend g("threads", {.verbose = -4}); }), {"verbose", "-4"}));
    CHECK(mentions(refusal([] { const parallel_backend g(joblot::threads{.n_jobs = 0}); }), {"n_jobs", "0"}));
    CHECK(mentions(refusal([] { const parallel_backend g("threads", {.inner_max_num_threads = 0}); }),
                   {"inner_max_num_threads", "0"}));
    CHECK(joblot::effective_n_jobs(-1) == before);
}

TEST_CASE("effective_n_jobs refuses zero", "[misuse]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    CHECK_THROWS_AS(joblot::effective_n_jobs(0), std::invalid_argument);
}

TEST_CASE("this_task outside of a task is a logic_error, but stop_requested is false", "[misuse]") {
    CHECK_THROWS_AS(joblot::this_task::index(), std::logic_error);
    CHECK_THROWS_AS(joblot::this_task::worker_id(), std::logic_error);
    CHECK_THROWS_AS(joblot::this_task::seed(1), std::logic_error);
    CHECK_FALSE(joblot::this_task::stop_requested());
    Parallel({.n_jobs = 2})(views::iota(0, 10) | views::transform(delayed([](int i) { return i; })));
    CHECK_THROWS_AS(joblot::this_task::index(), std::logic_error);
    try {
        Parallel({.n_jobs = 2})(views::iota(0, 10) | views::transform(delayed([](int) { throw 1; })));
    } catch (int) {
        CHECK_THROWS_AS(joblot::this_task::index(), std::logic_error);
    }
}

TEST_CASE("retries need tasks that can be copied", "[misuse]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    int ran = 0;
    const auto make = [&ran](int i) {
        return delayed([&ran](std::unique_ptr<int> p) { ran += *p; })(std::make_unique<int>(i));
    };
    const Parallel parallel({.n_jobs = n_jobs, .retries = 1});
    CHECK(mentions(refusal([&] { parallel(views::iota(1, 5) | views::transform(make)); }), {"retries", "1"}));
    CHECK(ran == 0);
}

TEST_CASE("contradicting hints are refused", "[misuse]") {
    CHECK_THROWS_AS(Parallel({.require = joblot::sharedmem, .prefer = joblot::prefer::processes}),
                    std::invalid_argument);
}
