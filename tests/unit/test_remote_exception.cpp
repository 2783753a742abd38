// SPDX-License-Identifier: BSL-1.0
// Exceptions from one process to another: what they are there.

#include "support/wire.hpp"

#include <joblot/wire/remote_exception.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <any>
#include <cerrno>
#include <chrono>
#include <exception>
#include <functional>
#include <ios>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <typeinfo>
#include <variant>
#include <vector>

namespace {

using joblot::remote_error;
using joblot::detail::decode_exception;
using joblot::detail::encode_exception;
using namespace std::chrono_literals;

/// What an exception is where it arrives.
std::exception_ptr arrived(const std::exception_ptr& error) {
    support::outgoing message;
    support::encoder to(message);
    encode_exception(to, error);
    support::decoder from(support::incoming(message.stream, message.blocks));
    std::exception_ptr got = decode_exception(from, "process 4711");
    CHECK(from.message().remaining() == 0);
    return got;
}

/// Sends an exception that must arrive as the type that it is, and no derived one.
template <class E>
E same_type(const E& sent) {
    try {
        std::rethrow_exception(arrived(std::make_exception_ptr(sent)));
    } catch (const E& got) {
        if constexpr (std::is_polymorphic_v<E>) CHECK(typeid(got) == typeid(E));
        return got;
    }
}
template <class E>
remote_error as_remote(const E& sent) {
    return [&]() -> remote_error {
        try {
            std::rethrow_exception(arrived(std::make_exception_ptr(sent)));
        } catch (const remote_error& got) {
            return got;
        }
    }();
}

struct by_text : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct by_values {
    int code = 0;
    std::string text;
};
struct by_serialize : std::exception {
    by_serialize() = default;
    explicit by_serialize(int c) : code(c) {}
    const char* what() const noexcept override { return "by_serialize"; }
    template <class Archive>
    void serialize(Archive& archive) {
        archive(code);
    }
    int code = 0;
};
struct throws_when_written {
    int code = 0;
    template <class Archive>
    void serialize(Archive&) {
        throw std::logic_error("not this one");
    }
};
struct unknown : std::runtime_error {
    explicit unknown(int) : std::runtime_error("unknown to the others") {}
};
struct unknown_thing {
    int* p = nullptr;
};

class own_category final : public std::error_category {
public:
    const char* name() const noexcept override { return "own"; }
    std::string message(int) const override { return "own message"; }
};
const own_category category;

} // namespace

TEMPLATE_TEST_CASE("standard exceptions made from a text", "[wire][exceptions]", std::logic_error, std::domain_error,
                   std::invalid_argument, std::length_error, std::out_of_range, std::runtime_error, std::range_error,
                   std::overflow_error, std::underflow_error, joblot::error, joblot::backend_error) {
    CHECK(std::string(same_type(TestType("what happened")).what()) == "what happened");
    CHECK(std::string(same_type(TestType(std::string(10'000, 'x'))).what()).size() == 10'000);
    CHECK(std::string(same_type(TestType("")).what()).empty());
}

TEMPLATE_TEST_CASE("standard exceptions without a text of their own", "[wire][exceptions]", std::bad_alloc,
                   std::bad_array_new_length, std::bad_cast, std::bad_typeid, std::bad_function_call,
                   std::bad_optional_access, std::bad_variant_access, std::bad_weak_ptr, std::bad_exception,
                   std::bad_any_cast, std::exception) {
    CHECK(std::string(same_type(TestType()).what()) == TestType().what());
}

TEST_CASE("system errors keep code, category and text", "[wire][exceptions]") {
    for (const std::string text : {"open x", "a: b"}) {
        const std::system_error sent(ENOENT, std::generic_category(), text);
        const std::system_error got = same_type(sent);
        CHECK(got.code() == sent.code());
        CHECK(std::string(got.what()) == sent.what());
    }
    const std::system_error plain(EACCES, std::system_category());
    CHECK(same_type(plain).code() == plain.code());
    CHECK(std::string(same_type(plain).what()) == plain.what());
    const std::ios_base::failure stream("read", std::io_errc::stream);
    CHECK(same_type(stream).code() == stream.code());
    CHECK(std::string(same_type(stream).what()) == stream.what());
}

TEST_CASE("a code of a category that is not known here would mean something else", "[wire][exceptions]") {
    const remote_error got = as_remote(std::system_error(2, category, "connect"));
    CHECK(got.type_name() == "std::system_error");
    CHECK(got.text() == "connect: own message");
}

TEST_CASE("system errors of a category that is registered arrive as themselves", "[wire][exceptions]") {
    struct registered final : std::error_category {
        [[nodiscard]] const char* name() const noexcept override { return "registered"; }
        [[nodiscard]] std::string message(int) const override { return "registered message"; }
    };
    static const registered one;
    static const registered other;
    CHECK(as_remote(std::system_error(2, one)).text() == "registered message");
    joblot::register_error_category(one);
    joblot::register_error_category(one); // again: no harm
    CHECK(same_type(std::system_error(2, one, "text")).code() == std::error_code(2, one));
    CHECK(same_type(std::ios_base::failure("text", {3, one})).code() == std::error_code(3, one));
    CHECK(as_remote(std::system_error(2, other)).text() == "registered message");
    CHECK_THROWS_WITH(joblot::register_error_category(other),
                      Catch::Matchers::ContainsSubstring("two error categories with the name \"registered\""));
    CHECK_THROWS_AS(joblot::register_error_category(other), std::invalid_argument);
}

TEST_CASE("a code of a category that is registered there but not here is described", "[wire][exceptions]") {
    const auto names = {typeid(std::system_error).name(), typeid(std::ios_base::failure).name()};
    for (const std::string type : names) {
        support::outgoing message;
        support::encoder to(message);
        to.passing([&] {
            for (const char* const text : {type.c_str(), "of there", "text"})
                joblot::detail::encode(to, std::string(text));
            joblot::detail::encode(to, false);
            joblot::detail::encode(to, std::tuple(std::string("only there"), 5, std::string("text")));
        });
        support::decoder from(support::incoming(message.stream, message.blocks));
        try {
            std::rethrow_exception(decode_exception(from, "here"));
        } catch (const remote_error& e) {
            CHECK((e.type_name() == "of there" && e.text() == "text"));
        }
        CHECK(from.message().remaining() == 0);
    }
}

TEST_CASE("joblot's own exceptions keep what they carry", "[wire][exceptions]") {
    const auto late = same_type(joblot::timeout_error({7, "simulate"}, 1500ms));
    CHECK((late.index() == 7 && late.label() == "simulate" && late.limit() == 1500ms));
    const auto over = same_type(joblot::timeout_error(2500ms, 9));
    CHECK((over.of_call() && over.limit() == 2500ms && over.completed() == 9));
    CHECK(same_type(joblot::cancelled(12)).completed() == 12);
    const joblot::worker_crashed crash({3, "f"}, {.signal = 11}, "last words\n");
    const auto crashed = same_type(crash);
    CHECK((crashed.index() == 3 && crashed.label() == "f" && crashed.signal() == 11 && !crashed.exit_status()));
    CHECK(crashed.stderr_tail() == "last words\n");
    CHECK(std::string(crashed.what()) == crash.what());
    CHECK(same_type(joblot::worker_crashed({3, "f"}, {.exit_status = 2}, "")).exit_status() == 2);
    const auto broken = same_type(joblot::serialization_error("broken", "a type", 9));
    CHECK((broken.type_name() == "a type" && broken.offset() == 9 && std::string(broken.what()) == "broken"));
    const remote_error far("a::b", "text", "process 1");
    const auto remote = same_type(far); // from a worker's own worker
    CHECK((remote.type_name() == "a::b" && remote.text() == "text" && remote.worker() == "process 1"));
    CHECK(std::string(remote.what()) == far.what());
}

TEST_CASE("registered exceptions arrive as what they are", "[wire][exceptions]") {
    joblot::register_exception<by_text>();
    joblot::register_exception<by_values>();
    joblot::register_exception<by_serialize>();
    joblot::register_exception<by_serialize>(); // again: no harm
    CHECK(std::string(same_type(by_text("text")).what()) == "text");
    const by_values got = same_type(by_values{4, "text"});
    CHECK((got.code == 4 && got.text == "text"));
    CHECK(same_type(by_serialize(5)).code == 5);
}

TEST_CASE("others are described", "[wire][exceptions]") {
    const remote_error got = as_remote(unknown(1));
    CHECK(got.type_name().ends_with("unknown"));
    CHECK(got.text() == "unknown to the others");
    CHECK(got.worker() == "process 4711");
    CHECK_THAT(got.what(), Catch::Matchers::ContainsSubstring("unknown to the others") &&
                               Catch::Matchers::ContainsSubstring("process 4711"));
    CHECK(as_remote(42L).type_name() == "long");
    CHECK(as_remote(42L).text().empty());
    CHECK(as_remote(unknown_thing{}).type_name().ends_with("unknown_thing"));
    const std::string literal = as_remote("text").type_name();
    CHECK(literal == "char const*");
}

TEST_CASE("an exception whose own functions throw is the writer's problem", "[wire][exceptions]") {
    joblot::register_exception<throws_when_written>();
    support::outgoing message;
    support::encoder to(message);
    CHECK_THROWS_AS(encode_exception(to, std::make_exception_ptr(throws_when_written{})), std::logic_error);
}

struct unheard_of : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct known_and_mixed : std::runtime_error, std::nested_exception {
    using std::runtime_error::runtime_error;
};
/// The texts of an exception and of those in it, and their types where these are known.
std::vector<std::string> chain(const std::exception_ptr& error) {
    std::vector<std::string> all;
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        const auto* const remote = dynamic_cast<const remote_error*>(&e);
        all.push_back(remote ? "remote " + remote->type_name() + " " + remote->text() : e.what());
        if (const auto* const nested = dynamic_cast<const std::nested_exception*>(&e); nested && nested->nested_ptr()) {
            const auto inner = chain(nested->nested_ptr());
            all.insert(all.end(), inner.begin(), inner.end());
        }
    }
    return all;
}
template <class E>
std::exception_ptr around(const std::exception_ptr& inner, E outer) {
    try {
        try {
            std::rethrow_exception(inner);
        } catch (...) {
            std::throw_with_nested(outer);
        }
    } catch (...) {
        return std::current_exception();
    }
}

TEST_CASE("nested exceptions arrive nested", "[wire][exceptions]") {
    joblot::register_exception<known_and_mixed>();
    std::exception_ptr e = std::make_exception_ptr(std::out_of_range("a"));
    e = around(e, std::runtime_error("b"));
    try {
        std::rethrow_exception(arrived(e));
    } catch (const std::runtime_error& outer) {
        CHECK_THROWS_AS(std::rethrow_if_nested(outer), std::out_of_range);
    }
    e = around(e, unheard_of("c"));
    try {
        std::rethrow_exception(e);
    } catch (...) {
        e = std::make_exception_ptr(known_and_mixed("d")); // takes what is being handled
    }
    CHECK_THROWS_AS(std::rethrow_exception(arrived(e)), known_and_mixed);
    const auto texts = chain(arrived(arrived(e)));
    REQUIRE(texts.size() == 4);
    CHECK((texts[0] == "d" && texts[2] == "b" && texts[3] == "a"));
    CHECK_THAT(texts[1], Catch::Matchers::StartsWith("remote ") && Catch::Matchers::EndsWith("unheard_of c"));
}

TEST_CASE("exceptions in more others than are sent arrive without the innermost", "[wire][exceptions]") {
    std::exception_ptr e = std::make_exception_ptr(std::logic_error("0"));
    for (int i = 1; i != 100; ++i) e = around(e, std::logic_error(std::to_string(i)));
    const auto texts = chain(arrived(e));
    CHECK(texts.size() == 33);
    CHECK(texts.front() == "99");
}

/// As other libraries have them: by a name that the standard library uses, too.
struct other_category final : std::error_category {
    [[nodiscard]] const char* name() const noexcept override { return "generic"; }
    [[nodiscard]] std::string message(int) const override { return "something else"; }
};

TEST_CASE("a code of another category of the same name is described", "[wire][exceptions]") {
    static const other_category other;
    CHECK_THROWS_AS(std::rethrow_exception(arrived(std::make_exception_ptr(std::system_error(1, other)))),
                    remote_error);
}

TEST_CASE("exceptions in broken messages", "[wire][exceptions][hostile]") {
    for (const std::exception_ptr& e :
         {std::make_exception_ptr(std::out_of_range("x")),
          std::make_exception_ptr(joblot::worker_crashed({3, "f"}, {.signal = 11}, "tail")),
          std::make_exception_ptr(42)}) {
        support::outgoing message;
        support::encoder to(message);
        encode_exception(to, e);
        for (std::size_t n = 0; n != message.stream.size(); ++n) {
            support::decoder from(support::incoming(std::span(message.stream).first(n), {}));
            CHECK_THROWS_AS(decode_exception(from, "here"), joblot::serialization_error);
        }
    }
}

TEST_CASE("a type that is registered there but not here is described", "[wire][exceptions]") {
    support::outgoing message;
    support::encoder to(message);
    joblot::detail::encode(to, std::string("4nowhere"));
    joblot::detail::encode(to, std::string("nowhere"));
    joblot::detail::encode(to, std::string("text"));
    joblot::detail::encode(to, false);
    support::decoder from(support::incoming(message.stream, message.blocks));
    try {
        std::rethrow_exception(decode_exception(from, "here"));
    } catch (const remote_error& e) {
        CHECK((e.type_name() == "nowhere" && e.text() == "text"));
    }
}
