// SPDX-License-Identifier: BSL-1.0
// outcome: a value or a failure, for every kind of value.

#include <joblot/outcome.hpp>

#include <catch2/catch_test_macros.hpp>

#include <any>
#include <concepts>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace {

using joblot::outcome;
using joblot::detail::failure;

failure failed(std::size_t index = 3) {
    return {std::make_exception_ptr(std::runtime_error{"the failure"}), {index, "label"}};
}

} // namespace

TEST_CASE("an outcome with a value", "[outcome]") {
    outcome<std::string> o{std::in_place, "text"};
    CHECK(o.has_value());
    CHECK(static_cast<bool>(o));
    CHECK(o.error() == nullptr);
    CHECK(o.value() == "text");
    o.value() += "!";
    CHECK(std::as_const(o).value() == "text!");
    CHECK(std::move(o).value() == "text!");
    static_assert(std::is_same_v<decltype(std::declval<outcome<int>&>().value()), int&>);
    static_assert(std::is_same_v<decltype(std::declval<const outcome<int>&>().value()), const int&>);
    static_assert(std::is_same_v<decltype(std::declval<outcome<int>&&>().value()), int&&>);
    static_assert(!std::convertible_to<outcome<int>, bool>); // explicit only
}

TEST_CASE("an outcome without a value rethrows the same object", "[outcome]") {
    const failure f = failed();
    outcome<int> o{f};
    CHECK_FALSE(o.has_value());
    CHECK_FALSE(o);
    CHECK(o.error() == f.error);
    CHECK_THROWS_AS(o.value(), std::runtime_error);
    CHECK_THROWS_AS(std::as_const(o).value(), std::runtime_error);
    try {
        (void)std::move(o).value();
    } catch (const std::runtime_error&) {
        CHECK(std::current_exception() == f.error);
    }
}

TEST_CASE("failed_task knows an outcome's task, by error() and by value()", "[outcome]") {
    const outcome<int> third{failed(3)};
    const outcome<int> fifth{failed(5)};
    CHECK(joblot::failed_task(third.error())->index == 3);
    CHECK(joblot::failed_task(fifth.error())->index == 5);
    try {
        (void)third.value();
    } catch (const std::exception& e) {
        REQUIRE(joblot::failed_task(e).has_value());
        CHECK(joblot::failed_task(e)->index == 3);
        CHECK(joblot::failed_task(e)->label == "label");
    }
}

TEST_CASE("outcomes of void, of move-only values, and of values that convert from anything", "[outcome]") {
    outcome<void> done{std::in_place, std::monostate{}};
    CHECK(done.has_value());
    CHECK_NOTHROW(done.value());
    CHECK_NOTHROW(std::move(done).value());
    outcome<void> broken{failed()};
    CHECK_THROWS_AS(broken.value(), std::runtime_error);
    CHECK_THROWS_AS(std::move(broken).value(), std::runtime_error);

    outcome<std::unique_ptr<int>> box{std::in_place, std::make_unique<int>(4)};
    outcome<std::unique_ptr<int>> moved = std::move(box);
    CHECK(*std::move(moved).value() == 4);
    static_assert(!std::copyable<outcome<std::unique_ptr<int>>>);

    const outcome<std::any> any{std::in_place, std::any{7}};
    CHECK(std::any_cast<int>(any.value()) == 7);
    const outcome<std::exception_ptr> harmless{std::in_place, failed().error};
    CHECK(harmless.has_value());
    CHECK(harmless.value() != nullptr);
    const outcome<failure> nested{std::in_place, failed()};
    CHECK(nested.has_value());
}

TEST_CASE("outcomes are values", "[outcome]") {
    static_assert(std::copyable<outcome<std::string>>);
    outcome<std::string> a{std::in_place, "a"};
    outcome<std::string> b = a;
    CHECK(b.value() == "a");
    a = outcome<std::string>{failed()};
    CHECK_FALSE(a);
    CHECK(b.has_value());
    std::vector<outcome<int>> many(3, outcome<int>{std::in_place, 1});
    CHECK(many.back().value() == 1);
}
