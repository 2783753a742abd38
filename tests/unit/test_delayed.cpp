// SPDX-License-Identifier: BSL-1.0
// delayed: what it captures, what may be called, and the task_range concept.

#include <joblot/delayed.hpp>

#include <catch2/catch_test_macros.hpp>

#include <functional>
#include <list>
#include <memory>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using joblot::delayed;
using joblot::task;
using joblot::task_range;
using joblot::task_result_t;

int add(int a, int b) { return a + b; }
std::string consume(std::string s) { return s; }
// Only its type is.
[[maybe_unused]] void nothing() {}

struct point {
    int x;
    int plus(int y) const { return x + y; }
};

// Says through which kind of object it was called.
struct qualified {
    int operator()() const& { return 1; }
    int operator()() && { return 2; }
};

template <class R>
constexpr bool accepts = task_range<R>;

} // namespace

TEST_CASE("delayed captures and does not call", "[delayed]") {
    int calls = 0;
    auto later = delayed([&calls](int i) { return calls += i; })(5);
    CHECK(calls == 0);
    CHECK(std::as_const(later)() == 5);
    CHECK(std::move(later)() == 10);
}

TEST_CASE("arguments are decayed copies", "[delayed]") {
    std::string text = "before";
    const auto task_of_text = delayed(consume)(text);
    text = "after";
    CHECK(task_of_text() == "before");
    static_assert(
        std::is_same_v<decltype(delayed(add)(1, std::declval<const int&>())), task<int (*)(int, int), int, int>>);
    static_assert(std::is_same_v<std::remove_cvref_t<decltype(delayed(consume)("literal").arguments())>,
                                 std::tuple<const char*>>);
    CHECK(delayed(consume)("literal")() == "literal");
}

TEST_CASE("std::ref passes the object itself, std::cref reads it when the call is made", "[delayed]") {
    int target = 1;
    delayed([](int& x) { ++x; })(std::ref(target))();
    CHECK(target == 2);
    std::string text = "before";
    const auto size = delayed([](const std::string& s) { return s; })(std::cref(text));
    text = "after";
    CHECK(size() == "after");
}

TEST_CASE("a call through an rvalue moves the arguments, through an lvalue it keeps them", "[delayed]") {
    auto t = delayed(consume)(std::string(50, 'x'));
    CHECK(t() == std::string(50, 'x'));
    CHECK(std::as_const(t)() == std::string(50, 'x'));
    CHECK(std::move(t)() == std::string(50, 'x'));
    CHECK(delayed([](std::unique_ptr<int> p) { return *p; })(std::make_unique<int>(3))() == 3);
    CHECK(delayed([](std::string&& s) { return std::move(s); })(std::string("taken"))() == "taken");
    auto q = delayed(qualified{})();
    CHECK(std::as_const(q)() == 1);
    CHECK(std::move(q)() == 2);
}

TEST_CASE("anything that std::invoke takes can be delayed", "[delayed]") {
    CHECK(delayed(add)(1, 2)() == 3);
    CHECK(delayed(&add)(1, 2)() == 3);
    CHECK(delayed(&point::plus)(point{4}, 5)() == 9);
    CHECK(delayed(&point::x)(point{4})() == 4);
    const point p{6};
    CHECK(delayed(&point::plus)(&p, 1)() == 7);
    CHECK(delayed(&point::plus)(std::cref(p), 2)() == 8);
    CHECK(delayed(std::plus<>{})(2.5, 2)() == 4.5);
    CHECK(delayed(std::function<int()>{[] { return 1; }})()() == 1);
    CHECK(delayed([captured = std::make_unique<int>(8)] { return *captured; })()() == 8); // a closure that only moves
    CHECK(delayed(std::bind_front(add, 1))(2)() == 3);
}

TEST_CASE("one delayed function makes many tasks", "[delayed]") {
    const auto later = delayed(add);
    CHECK(later(1, 2)() == 3);
    CHECK(later(3, 4)() == 7);
}

TEST_CASE("result types decay", "[delayed]") {
    static_assert(std::is_same_v<task_result_t<decltype(delayed(add)(1, 2))>, int>);
    static_assert(std::is_same_v<task_result_t<decltype(delayed(nothing)())>, void>);
    static_assert(std::is_same_v<task_result_t<const decltype(delayed(add)(1, 2))&>, int>);
    static int target = 0;
    const auto reference = []() -> const int& { return target; };
    static_assert(std::is_same_v<task_result_t<decltype(delayed(reference)())>, int>);
    const auto constant = []() -> const std::string { return {}; };
    static_assert(std::is_same_v<task_result_t<decltype(delayed(constant)())>, std::string>);
    SUCCEED();
}

TEST_CASE("a label changes neither calls nor results", "[delayed]") {
    const auto named = delayed(add, "sum");
    static_assert(std::is_same_v<task_result_t<decltype(named(1, 2))>, int>);
    auto t = named(1, 2);
    CHECK(t() == 3);
    CHECK(std::as_const(t)() == 3);
    CHECK(std::move(t)() == 3);
    CHECK(delayed([p = std::make_unique<int>(5)](int i) { return *p + i; }, "moves only")(1)() == 6);
    CHECK(delayed(&point::plus, "member")(point{1}, 2)() == 3);
    auto q = delayed(qualified{}, "qualified")();
    CHECK(std::as_const(q)() == 1);
    CHECK(std::move(q)() == 2);
}

TEST_CASE("tasks are values: copied where their parts are, never larger than those", "[delayed]") {
    static_assert(std::copyable<decltype(delayed(add)(1, 2))>);
    using move_only = decltype(delayed([](std::unique_ptr<int>) {})(std::unique_ptr<int>{}));
    static_assert(std::move_constructible<move_only> && !std::copy_constructible<move_only>);
    static_assert(sizeof(delayed([](int) {})(1)) == sizeof(int)); // an empty function takes no room
    SUCCEED();
}

TEST_CASE("delayed and its tasks work in constant expressions", "[delayed]") {
    static_assert(delayed([](int a, int b) { return a * b; })(6, 7)() == 42);
    SUCCEED();
}

TEST_CASE("task_range: input ranges whose elements are tasks", "[delayed]") {
    namespace views = std::views;
    using t = decltype(delayed(add)(1, 2));
    static_assert(accepts<std::vector<t>>);
    static_assert(accepts<std::vector<t>&>);
    static_assert(accepts<const std::list<t>&>);
    static_assert(accepts<decltype(views::iota(0, 3) | views::transform(delayed([](int) {})))>);
    static_assert(accepts<decltype(views::iota(0) | views::transform(delayed([](int) {})))>);
    static_assert(!accepts<std::vector<int>>);
    static_assert(!accepts<t>);
    static_assert(!accepts<std::vector<std::function<int()>>>);
    SUCCEED();
}
