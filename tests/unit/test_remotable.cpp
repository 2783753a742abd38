// SPDX-License-Identifier: BSL-1.0
// Which tasks can run in another process; what they are called with there, and what comes back.

#include "support/wire.hpp"

#include <joblot/wire/remote_task.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using joblot::delayed;
using joblot::is_remotable_v;
using joblot::detail::encoder;
using joblot::detail::outgoing;

template <class Task>
constexpr bool remotable(const Task&) {
    return is_remotable_v<Task>;
}

struct no_listener final : joblot::detail::result_listener {
    bool refuses() override { return false; }
    void result_stands() override { ++written; }
    joblot::detail::any_partial& partial() override { std::terminate(); }
    int written = 0;
};

/// Runs a task as a worker would.
template <class Task>
auto run_as_remote(const Task& task) {
    using form = joblot::detail::remote_form_t<Task>;
    static_assert(form::possible);
    outgoing request;
    encoder to(request);
    form::write(to, task);
    const support::message_copy arrived(request);
    joblot::detail::decoder from(joblot::detail::incoming(arrived.stream, arrived.blocks));
    outgoing answer;
    encoder answer_to(answer);
    no_listener listener;
    joblot::detail::runner_entry::at(form::entry().location()).run(from, answer_to, listener);
    CHECK(listener.written == 1);
    CHECK(from.message().remaining() == 0);
    joblot::detail::decoder back(joblot::detail::incoming(answer.stream, answer.blocks));
    return form::read_result(back);
}

int twice(int i) { return 2 * i; }
int quick(int i) noexcept { return i + 1; }
double sum(std::span<const double> values, int more) {
    return std::accumulate(values.begin(), values.end(), static_cast<double>(more));
}
std::size_t length(std::string_view text) { return text.size(); }
std::size_t total(const std::vector<int>& v, const std::string& s) { return v.size() + s.size(); }
int of_pointer(const int* p) { return *p; }
int set(int& i) { return i = 3; }
const char* names(int) { return "x"; }
std::span<const double> part(const std::vector<double>& v) { return v; }
void nothing(int) {}
const std::string& passed_on(const std::string& s) { return s; }
int consume(std::unique_ptr<int> p) { return *p; }
std::unique_ptr<int> produce(int i) { return std::make_unique<int>(i); }

struct scaler {
    double factor = 1;
    double operator()(double x) const { return factor * x; }
    double member(double x) const { return factor * x + 1; }
};
struct holds_reference {
    int& target;
    int operator()(int i) const { return target + i; }
};
struct hears {
    virtual ~hears() = default;
    virtual int call(int i) const { return i; }
    int state = 0;
};
struct spans {
    std::size_t operator()(std::span<const int> v) const { return v.size(); }
};

} // namespace

TEST_CASE("functions and functors are remotable", "[wire][remotable]") {
    STATIC_REQUIRE(is_remotable_v<decltype(delayed(twice)(1))>);
    STATIC_REQUIRE(is_remotable_v<decltype(delayed(quick)(1))>);
    STATIC_REQUIRE(is_remotable_v<decltype(delayed(nothing)(1))>);
    STATIC_REQUIRE(is_remotable_v<decltype(delayed(twice, "label")(1))>);
    STATIC_REQUIRE(is_remotable_v<decltype(delayed(scaler{2})(1.0))>);
    STATIC_REQUIRE(is_remotable_v<decltype(delayed(&scaler::member)(scaler{2}, 1.0))>);
    STATIC_REQUIRE(is_remotable_v<decltype(delayed(&scaler::factor)(scaler{2}))>);
    STATIC_REQUIRE(is_remotable_v<decltype(delayed(std::plus<>())(1, 2))>);
    STATIC_REQUIRE(is_remotable_v<decltype(delayed(passed_on)(std::string()))>);
    STATIC_REQUIRE(is_remotable_v<decltype(delayed(produce)(1))>);
    STATIC_REQUIRE(is_remotable_v<decltype(delayed(consume)(std::unique_ptr<int>()))>);
    STATIC_REQUIRE_FALSE(is_remotable_v<decltype(delayed(std::declval<holds_reference>())(1))>);
    STATIC_REQUIRE_FALSE(is_remotable_v<decltype(delayed(std::declval<std::function<int(int)>>())(1))>);
    STATIC_REQUIRE_FALSE(is_remotable_v<decltype(delayed(&hears::call)(hears(), 1))>);
}

TEST_CASE("lambdas are remotable if they capture nothing", "[wire][remotable]") {
    int k = 1;
    CHECK(remotable(delayed([](int i) { return i; })(1)));
    CHECK(remotable(delayed([](auto x) { return x; })(1)));
    CHECK_FALSE(remotable(delayed([k](int i) { return i + k; })(1)));
    CHECK_FALSE(remotable(delayed([&k](int i) { return i + k; })(1)));
    CHECK_FALSE(remotable(delayed([&](int i) { return i + k; }, "label")(1)));
}

TEST_CASE("arguments and results decide too", "[wire][remotable]") {
    [[maybe_unused]] int i = 0;
    const std::vector<int> numbers;
    CHECK_FALSE(remotable(delayed(of_pointer)(&i)));
    CHECK_FALSE(remotable(delayed(set)(std::ref(i))));
    std::vector<int> to_change;
    CHECK_FALSE(remotable(delayed([](std::vector<int>& x) { x.clear(); })(std::ref(to_change))));
    CHECK(remotable(delayed(total)(std::cref(numbers), std::string())));
    CHECK_FALSE(remotable(delayed(names)(1)));
    CHECK_FALSE(remotable(delayed(part)(std::vector<double>())));
    CHECK_FALSE(remotable(delayed(length)(std::string_view("x"))));
    CHECK_FALSE(remotable(delayed(length)("a literal is a pointer")));
    CHECK(remotable(delayed(length)(std::string("x"))));
    CHECK_FALSE(remotable(delayed(sum)(std::span<const double>(), 1)));
    CHECK(remotable(delayed(sum)(std::vector<double>(), 1)));
    CHECK(remotable(delayed(spans())(std::vector<int>())));
}

TEST_CASE("tasks give elsewhere what they give here", "[wire][remotable]") {
    CHECK(run_as_remote(delayed(twice)(21)) == 42);
    CHECK(run_as_remote(delayed(quick, "label")(1)) == 2);
    CHECK(run_as_remote(delayed(scaler{2})(1.5)) == 3);
    CHECK(run_as_remote(delayed(&scaler::member)(scaler{2}, 1.5)) == 4);
    CHECK(run_as_remote(delayed(&scaler::factor)(scaler{2})) == 2);
    CHECK(run_as_remote(delayed([](int a, auto b) { return a + static_cast<int>(b.size()); })(1, std::string("xy"))) ==
          3);
    CHECK(run_as_remote(delayed(passed_on)(std::string("text"))) == "text");
    CHECK(run_as_remote(delayed(consume)(std::make_unique<int>(5))) == 5);
    CHECK(*run_as_remote(delayed(produce)(6)) == 6);
    run_as_remote(delayed(nothing)(1));
}

TEST_CASE("a span parameter reads the elements where they have arrived", "[wire][remotable]") {
    CHECK(run_as_remote(delayed(sum)(std::vector<double>(10, 1.0), 5)) == 15);
    CHECK(run_as_remote(delayed(sum)(std::vector<double>(10'000, 1.0), 5)) == 10'005);
    CHECK(run_as_remote(delayed(sum)(std::vector<double>(), 5)) == 5);
    CHECK(run_as_remote(delayed(spans())(std::vector<int>(3))) == 3);
    using form = joblot::detail::remote_form_t<decltype(delayed(sum)(std::vector<double>(), 1))>;
    STATIC_REQUIRE(std::is_same_v<form::arrival<0, std::vector<double>>::value, std::span<const double>>);
}

TEST_CASE("std::cref writes the original", "[wire][remotable]") {
    const std::vector<int> numbers(5'000, 1);
    CHECK(run_as_remote(delayed(total)(std::cref(numbers), std::string("abc"))) == 5'003);
    outgoing message;
    encoder to(message);
    const auto task = delayed(total)(std::cref(numbers), std::string("abc"));
    joblot::detail::remote_form_t<decltype(task)>::write(to, task);
    REQUIRE(message.blocks.size() == 1);
    CHECK(static_cast<const void*>(message.blocks[0].data()) == numbers.data());
}
