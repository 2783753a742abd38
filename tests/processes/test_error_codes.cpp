// SPDX-License-Identifier: BSL-1.0
// Error codes between real processes: as values, and in exceptions, also in those around others.

#include "../support/backends.hpp"
#include "start_methods.hpp"

#include <joblot/std_exceptions.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <exception>
#include <future>
#include <ios>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <typeinfo>
#include <utility>
#include <vector>

namespace {

using Catch::Matchers::ContainsSubstring;
using joblot::delayed;
using joblot::Parallel;

template <char Letter>
struct codes_of final : std::error_category {
    [[nodiscard]] const char* name() const noexcept override { return name_.c_str(); }
    [[nodiscard]] std::string message(int n) const override { return name_ + " says " + std::to_string(n); }
    std::string name_ = std::string("codes of ") + Letter;
};
const codes_of<'a'> known_codes;
const codes_of<'b'> unknown_codes;

struct bad_code : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Worker processes come by here, too.
[[maybe_unused]] const bool categories_registered = [] {
    joblot::register_std_exceptions();
    joblot::register_error_category(known_codes);
    joblot::register_exception<bad_code>();
    return true;
}();

struct answer_with_codes {
    int number = 0;
    std::error_code code{};
    std::vector<std::error_condition> conditions{};
    std::string text{};
};

const std::error_category& category_of(int i) {
    switch (i) {
    case 0:
        return std::generic_category();
    case 1:
        return std::system_category();
    case 2:
        return std::iostream_category();
    case 3:
        return std::future_category();
    case 4:
        return known_codes;
    default:
        return unknown_codes;
    }
}

answer_with_codes hand_back(std::error_code code, answer_with_codes more) {
    more.conditions.push_back(code.default_error_condition());
    std::swap(more.code, code);
    more.text = code.message();
    return more;
}

std::optional<std::error_code> code_of(int i) {
    if (i < 0) return std::nullopt;
    return std::error_code(7, category_of(i));
}

int throw_code(int i) { throw std::system_error(7, category_of(i), "thrown"); }

int throw_nested(int) {
    try {
        try {
            try {
                throw_code(4);
            } catch (...) {
                std::throw_with_nested(bad_code("inside"));
            }
        } catch (...) {
            std::throw_with_nested(std::ios_base::failure("around", {3, known_codes}));
        }
    } catch (...) {
        std::throw_with_nested(std::out_of_range("outside"));
    }
    return 0;
}

/// The next one inside.
std::exception_ptr nested_inside(const std::exception& e) {
    const auto* const nested = dynamic_cast<const std::nested_exception*>(&e);
    return nested ? nested->nested_ptr() : nullptr;
}

} // namespace

TEST_CASE("error codes and conditions travel by category and number", "[exceptions]") {
    const Parallel p({.n_jobs = 2, .backend = support::spawned_or_forked()});
    for (int i = 0; i != 5; ++i) {
        const std::error_code sent(7, category_of(i));
        const std::error_code other(8, known_codes);
        const auto [got] = p(delayed(hand_back)(sent, answer_with_codes{.number = i, .code = other}));
        CHECK(got.number == i);
        CHECK(got.code == sent);
        REQUIRE(got.conditions.size() == 1);
        CHECK(got.conditions[0] == sent.default_error_condition());
        CHECK(got.text == "codes of a says 8");
        const auto [maybe, none] = p(delayed(code_of)(i), delayed(code_of)(-1));
        CHECK((maybe == sent && !none));
    }
}

TEST_CASE("a code of a category that nobody registered is refused by its name", "[exceptions]") {
    const Parallel p({.n_jobs = 2, .backend = support::spawned_or_forked()});
    CHECK_THROWS_AS(p(delayed(code_of)(5)), joblot::serialization_error);
    CHECK_THROWS_WITH(p(delayed(code_of)(5)),
                      ContainsSubstring("\"codes of b\"") && ContainsSubstring("joblot::register_error_category"));
    const Parallel sends({.n_jobs = 2, .backend = "processes"});
    CHECK_THROWS_WITH(sends(delayed(hand_back)(std::error_code(1, unknown_codes), answer_with_codes{})),
                      ContainsSubstring("\"codes of b\"") && ContainsSubstring("joblot::register_error_category"));
}

TEST_CASE("a system error arrives as one where its category is known", "[exceptions]") {
    const Parallel p({.n_jobs = 2, .backend = support::spawned_or_forked()});
    for (int i = 0; i != 5; ++i) {
        try {
            static_cast<void>(p(delayed(throw_code)(i)));
            FAIL("the call throws nothing");
        } catch (const std::system_error& e) {
            CHECK(typeid(e) == typeid(std::system_error));
            CHECK(e.code() == std::error_code(7, category_of(i)));
            CHECK(std::string(e.what()) == std::system_error(7, category_of(i), "thrown").what());
        }
    }
    try {
        static_cast<void>(p(delayed(throw_code)(5)));
        FAIL("the call throws nothing");
    } catch (const joblot::remote_error& e) {
        CHECK((e.type_name() == "std::system_error" && e.text() == "thrown: codes of b says 7"));
    }
}

TEST_CASE("nested exceptions arrive from real processes, each as its own type", "[exceptions]") {
    const Parallel p({.n_jobs = 2, .backend = support::spawned_or_forked()});
    std::exception_ptr next;
    try {
        static_cast<void>(p(delayed(throw_nested)(0)));
        FAIL("the call throws nothing");
    } catch (const std::out_of_range& e) {
        CHECK(std::string(e.what()) == "outside");
        next = nested_inside(e);
    }
    REQUIRE(next);
    try {
        std::rethrow_exception(next);
    } catch (const std::ios_base::failure& e) {
        CHECK(e.code() == std::error_code(3, known_codes));
        next = nested_inside(e);
    }
    REQUIRE(next);
    try {
        std::rethrow_exception(next);
    } catch (const bad_code& e) {
        CHECK(std::string(e.what()) == "inside");
        next = nested_inside(e);
    }
    REQUIRE(next);
    try {
        std::rethrow_exception(next);
    } catch (const std::system_error& e) {
        CHECK(e.code() == std::error_code(7, known_codes));
        CHECK_FALSE(nested_inside(e));
    }
}
