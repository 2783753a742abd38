// SPDX-License-Identifier: BSL-1.0
// options: an aggregate whose fields convert from what users write, and are checked.

#include "../support/messages.hpp"

#include <joblot/options.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace {

using namespace std::chrono_literals;
using joblot::auto_batch;
using joblot::batch_size_option;
using joblot::everything;
using joblot::options;
using joblot::per_job;
using joblot::pre_dispatch_option;
using joblot::time_limit;

// Whether checking the options fails with a message that names field and value.
bool refused_for(const options& given, const char* field, const char* value) {
    return support::mentions(support::refusal([&] { joblot::detail::check(given); }), {field, value});
}

} // namespace

TEST_CASE("options are an aggregate with every field optional", "[options]") {
    static_assert(std::is_aggregate_v<options>);
    const options none;
    CHECK_NOTHROW(joblot::detail::check(none));
    CHECK_FALSE(none.n_jobs.has_value());
    CHECK(none.backend.empty());
    CHECK_FALSE(none.verbose.has_value());
    CHECK_FALSE(none.progress);
    CHECK_FALSE(none.batch_size.tasks().has_value());
    CHECK_FALSE(none.pre_dispatch.tasks().has_value());
    CHECK_FALSE(none.pre_dispatch.is_everything());
    CHECK(none.pre_dispatch.batches_per_job() == 2);
    CHECK_FALSE(none.timeout.limit().has_value());
    CHECK(none.retries == 0);
    CHECK_FALSE(none.stop.stop_possible());
}

TEST_CASE("the order of the fields is the interface's", "[options]") {
    const std::stop_source source;
    const options all{.n_jobs = 2,
                      .backend = "threads",
                      .verbose = 10,
                      .progress = [](const joblot::progress_event&) {},
                      .batch_size = 7,
                      .pre_dispatch = per_job(3),
                      .timeout = 5s,
                      .retries = 1,
                      .stop = source.get_token(),
                      .require = joblot::sharedmem,
                      .prefer = joblot::prefer::threads,
                      .label = "all"};
    CHECK_NOTHROW(joblot::detail::check(all));
    CHECK(all.backend.name() == "threads");
    CHECK(all.batch_size.tasks() == 7);
    CHECK(all.pre_dispatch.batches_per_job() == 3);
    CHECK(all.timeout.limit() == 5s);
}

TEST_CASE("batch sizes and read-ahead take any integer type", "[options]") {
    CHECK(batch_size_option{std::size_t{5}}.tasks() == 5);
    CHECK(batch_size_option{std::int8_t{5}}.tasks() == 5);
    CHECK(batch_size_option{std::numeric_limits<std::uint64_t>::max()}.tasks() ==
          std::numeric_limits<long long>::max());
    CHECK_FALSE(batch_size_option{auto_batch}.tasks().has_value());
    CHECK(pre_dispatch_option{std::size_t{5}}.tasks() == 5);
    CHECK(pre_dispatch_option{everything}.is_everything());
    static_assert(!std::is_convertible_v<double, batch_size_option>); // 1.42 tasks make no sense
    static_assert(!std::is_convertible_v<double, pre_dispatch_option>);
    static_assert(!std::is_convertible_v<const char*, pre_dispatch_option>);
}

TEST_CASE("time limits take any duration and saturate", "[options]") {
    CHECK(time_limit{1500us}.limit() == 1500us);
    CHECK(time_limit{2h}.limit() == 2h);
    CHECK(time_limit{std::chrono::duration<double>(0.25)}.limit() == 250ms);
    CHECK(time_limit{std::chrono::duration<double, std::pico>(1)}.limit() == 1ns); // positive stays positive
    CHECK(time_limit{std::chrono::hours::max()}.limit() == std::chrono::nanoseconds::max());
    CHECK(time_limit{std::chrono::duration<double>(std::numeric_limits<double>::infinity())}.limit() ==
          std::chrono::nanoseconds::max());
    const auto refused = [](time_limit limit) {
        try {
            joblot::detail::check(options{.timeout = limit});
        } catch (const std::invalid_argument&) {
            return true;
        }
        return false;
    };
    CHECK(refused(0s));
    CHECK(refused(-1s));
    CHECK(refused(std::chrono::nanoseconds::min()));
    CHECK(refused(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())));
    CHECK_FALSE(refused(1ns));
}

TEST_CASE("nonsense is refused with field and value", "[options]") {
    using joblot::detail::check;
    CHECK(refused_for({.n_jobs = 0}, "n_jobs", "0"));
    CHECK(refused_for({.verbose = -2}, "verbose", "-2"));
    CHECK(refused_for({.batch_size = 0}, "batch_size", "0"));
    CHECK(refused_for({.batch_size = -9}, "batch_size", "-9"));
    CHECK(refused_for({.batch_size = std::numeric_limits<long long>::min()}, "batch_size", "-9223372036854775808"));
    CHECK(refused_for({.pre_dispatch = 0}, "pre_dispatch", "0"));
    CHECK(refused_for({.pre_dispatch = per_job(-2)}, "pre_dispatch", "-2"));
    CHECK(refused_for({.timeout = 0ms}, "timeout", "0"));
    CHECK(refused_for({.retries = -3}, "retries", "-3"));
    for (const int n : {-1000, -2, -1, 1, 5, 100'000}) CHECK_NOTHROW(check(options{.n_jobs = n}));
    CHECK_NOTHROW(check(options{.pre_dispatch = per_job(std::numeric_limits<double>::infinity())}));
}
