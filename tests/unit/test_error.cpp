// SPDX-License-Identifier: BSL-1.0
// The exceptions, and failed_task on this thread.

#include <joblot/error.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>

namespace {

using namespace std::chrono_literals;
using joblot::failed_task;
using joblot::detail::failure;
using joblot::detail::throw_failure;

template <class E>
failure failure_of(E error, std::size_t index) {
    return {std::make_exception_ptr(std::move(error)), {index, "task " + std::to_string(index)}};
}

struct left {
    virtual ~left() = default;
    int a = 1;
};
struct right {
    virtual ~right() = default;
    int b = 2;
};
struct both : left, right {};

} // namespace

TEST_CASE("the family tree", "[error]") {
    static_assert(std::is_base_of_v<std::runtime_error, joblot::error>);
    static_assert(std::is_base_of_v<joblot::error, joblot::timeout_error>);
    static_assert(std::is_base_of_v<joblot::error, joblot::cancelled>);
    static_assert(std::is_base_of_v<joblot::error, joblot::backend_error>);
    static_assert(std::is_nothrow_copy_constructible_v<joblot::timeout_error>);
    static_assert(std::is_nothrow_copy_constructible_v<joblot::cancelled>);
    SUCCEED();
}

TEST_CASE("messages name what happened", "[error]") {
    const joblot::timeout_error late{{7, "simulate"}, 1500ms};
    CHECK(late.index() == 7);
    CHECK(late.label() == "simulate");
    CHECK(late.limit() == 1500ms);
    const std::string what = late.what();
    CHECK(what.find("7") != std::string::npos);
    CHECK(what.find("simulate") != std::string::npos);
    CHECK(what.find("1.5") != std::string::npos);
    CHECK_FALSE(late.of_call());
    CHECK(late.completed() == 0);
    const joblot::timeout_error over{2500ms, 9};
    CHECK((over.of_call() && over.limit() == 2500ms && over.completed() == 9 && over.label().empty()));
    CHECK(over.index() == joblot::timeout_error::no_task);
    CHECK(over.what() == std::string("joblot: the call took longer than its deadline of 2.5 s; it was stopped after 9 "
                                     "completed tasks"));
    const joblot::cancelled stopped{12};
    CHECK(stopped.completed() == 12);
    CHECK(std::string{stopped.what()}.find("12") != std::string::npos);
}

TEST_CASE("failed_task finds the failure that was thrown last on this thread", "[error]") {
    const failure f = failure_of(std::runtime_error{"x"}, 4);
    try {
        throw_failure(f);
    } catch (const std::runtime_error& e) {
        CHECK(std::current_exception() == f.error);
        REQUIRE(failed_task(e).has_value());
        CHECK(failed_task(e)->index == 4);
        CHECK(failed_task(e)->label == "task 4");
        CHECK(failed_task(static_cast<const std::exception&>(e))->index == 4);
        CHECK(failed_task()->index == 4);
        CHECK(failed_task(std::current_exception())->index == 4);
    }
    CHECK(failed_task(f.error)->index == 4);
    CHECK_FALSE(failed_task().has_value());
}

TEST_CASE("failed_task by any base, and by values that are no classes", "[error]") {
    try {
        throw_failure(failure_of(both{}, 1));
    } catch (const right& e) {
        CHECK(failed_task(e)->index == 1);
    }
    try {
        throw_failure(failure_of(42, 2));
    } catch (const int& e) {
        CHECK(failed_task(e)->index == 2);
        const int copy = e;
        CHECK_FALSE(failed_task(copy).has_value());
    }
}

TEST_CASE("failed_task answers nothing for strangers", "[error]") {
    const std::runtime_error stranger{"x"};
    CHECK_FALSE(failed_task(stranger).has_value());
    CHECK_FALSE(failed_task(std::exception_ptr{}).has_value());
    try {
        throw_failure(failure_of(std::runtime_error{"x"}, 1));
    } catch (const std::exception&) {
        CHECK_FALSE(failed_task(stranger).has_value());
        CHECK_FALSE(failed_task(42).has_value());
    }
    for (int i = 0; i < 10; ++i) {
        try {
            throw std::runtime_error{"x"};
        } catch (const std::exception& e) {
            CHECK_FALSE(failed_task(e).has_value());
        }
    }
}

TEST_CASE("each thread has its own last failure", "[error]") {
    const failure mine = failure_of(std::runtime_error{"mine"}, 1);
    try {
        throw_failure(mine);
    } catch (const std::runtime_error&) {
    }
    std::thread{[] {
        try {
            throw_failure(failure_of(std::runtime_error{"theirs"}, 2));
        } catch (const std::runtime_error&) {
        }
    }}.join();
    CHECK(failed_task(mine.error)->index == 1);
}
