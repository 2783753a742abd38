// SPDX-License-Identifier: BSL-1.0
// options: an aggregate whose fields convert from what users write, and are checked.

#include "../support/messages.hpp"

#include <joblot/options.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
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

// A class of a user that is as good as a token, as `stop_on_signal` is.
struct token_holder {
    std::stop_source source;
    operator std::stop_token() const { return source.get_token(); }
};

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
    CHECK_FALSE(none.deadline.limit().has_value());
    CHECK(none.on_stop == joblot::on_stop::raise);
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
                      .deadline = 1h,
                      .retries = 1,
                      .stop = source.get_token(),
                      .on_stop = joblot::keep,
                      .require = joblot::sharedmem,
                      .prefer = joblot::prefer::threads,
                      .label = "all"};
    CHECK_NOTHROW(joblot::detail::check(all));
    CHECK(all.backend.name() == "threads");
    CHECK(all.batch_size.tasks() == 7);
    CHECK(all.pre_dispatch.batches_per_job() == 3);
    CHECK(all.timeout.limit() == 5s);
    CHECK(all.deadline.limit() == 1h);
}

TEST_CASE("batch sizes and read-ahead take any integer type", "[options]") {
    CHECK(batch_size_option{std::size_t{5}}.tasks() == 5);
    CHECK(batch_size_option{std::int8_t{5}}.tasks() == 5);
    CHECK(batch_size_option{std::numeric_limits<std::uint64_t>::max()}.tasks() ==
          std::numeric_limits<long long>::max());
    CHECK_FALSE(batch_size_option{auto_batch}.tasks().has_value());
    CHECK(pre_dispatch_option{std::size_t{5}}.tasks() == 5);
    CHECK(pre_dispatch_option{everything}.is_everything());
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
        return refused_for({.timeout = limit}, "timeout", " s") && refused_for({.deadline = limit}, "deadline", " s");
    };
    CHECK(refused(0s));
    CHECK(refused(-1s));
    CHECK(refused(std::chrono::nanoseconds::min()));
    CHECK(refused(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())));
    CHECK_FALSE(refused(1ns));
}

TEST_CASE("a time limit that is refused is named as it was given", "[options]") {
    const auto named = [](time_limit limit, const char* value) {
        return refused_for({.timeout = limit}, "timeout", value) && refused_for({.deadline = limit}, "deadline", value);
    };
    CHECK(named(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN()), "= nan s"));
    CHECK(named(0s, "= 0.0"));
    CHECK(named(-5ns, "= -5 ns"));
    CHECK(named(-2ms, "= -0.002"));
    CHECK(named(-3s, "= -3.0"));
    CHECK(named(std::chrono::hours::min(), "= -9223372036.85"));
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
    CHECK(refused_for({.deadline = -2s}, "deadline", "-2"));
    CHECK(refused_for({.retries = -3}, "retries", "-3"));
    for (const int n : {-1000, -2, -1, 1, 5, 100'000}) CHECK_NOTHROW(check(options{.n_jobs = n}));
    CHECK_NOTHROW(check(options{.pre_dispatch = per_job(std::numeric_limits<double>::infinity())}));
}

TEST_CASE("texts are whatever is one, but no null pointer", "[options]") {
    const std::string_view view = "fit", name = "threads";
    options o{.backend = name, .label = view};
    CHECK(o.backend.name() == "threads");
    CHECK(o.label == "fit");
    o.label = std::string("other");
    CHECK(o.label == "other");
    const char* const unset = nullptr; // as getenv gives it
    CHECK(support::mentions(support::refusal([&] { o.label = unset; }), {"label", "null pointer"}));
    CHECK(support::mentions(support::refusal([&] { o.backend = unset; }), {"backend", "null pointer"}));
    CHECK(support::mentions(support::refusal([&] { static_cast<void>(joblot::backend_options{.address = unset}); }),
                            {"address"}));
}

TEST_CASE("a progress callback is there or not", "[options]") {
    options o;
    CHECK_FALSE(o.progress);
    int calls = 0;
    o.progress = [&calls](auto&&) { ++calls; };
    CHECK(o.progress);
    const std::function<void(const joblot::progress_event&)> copy = o.progress;
    copy({});
    CHECK(calls == 1);
    o.progress = std::function<void(const joblot::progress_event&)>();
    CHECK_FALSE(o.progress); // and not one that wraps nothing
    o.progress = nullptr;
    CHECK_FALSE(o.progress);
}

TEST_CASE("the token may be what converts to one", "[options]") {
    const token_holder holder;
    options o{.stop = holder};
    CHECK(o.stop == holder.source.get_token());
    o.stop = std::stop_token();
    CHECK_FALSE(o.stop.stop_possible());
    o.stop = holder;
    CHECK(o.stop == holder.source.get_token());
    const options copy = o;
    CHECK(copy.stop == o.stop);
}

TEST_CASE("numbers are taken as std::optional takes them", "[options]") {
    options o{.n_jobs = std::optional<int>(), .verbose = 3};
    CHECK_FALSE(o.n_jobs.has_value());
    o.n_jobs = 2;
    o.verbose = std::nullopt;
    CHECK(o.n_jobs == 2);
    CHECK_FALSE(o.verbose.has_value());
    o.n_jobs = o.verbose;
    CHECK_FALSE(o.n_jobs.has_value());
}

TEST_CASE("numbers that an int cannot hold become the nearest one", "[options]") {
    constexpr int most = std::numeric_limits<int>::max(), least = std::numeric_limits<int>::min();
    const options o{.n_jobs = std::size_t{1} << 32, .verbose = (1LL << 32) + 1, .retries = 3'000'000'000U};
    CHECK(o.n_jobs == most); // and not 0
    CHECK(o.verbose == most);
    CHECK(o.retries == most);
    CHECK(options{.n_jobs = std::int64_t{-5'000'000'000}}.n_jobs == least);
    CHECK(options{.verbose = true}.verbose == 1);
    CHECK(refused_for({.retries = std::numeric_limits<long>::min()}, "retries", "-2147483648"));
}
