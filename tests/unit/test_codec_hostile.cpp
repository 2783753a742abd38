// SPDX-License-Identifier: BSL-1.0
// Bytes that make no sense: always a serialization_error, never a crash or memory for what is not there.

#include "support/wire.hpp"

#include <joblot/cereal.hpp>

#include <joblot/wire/batch_runner.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <cstring>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace {

using joblot::serialization_error;
using joblot::detail::decode;
using support::decoder;
using support::incoming;
using support::message_copy;
using support::outgoing;
using support::written;

constexpr std::uint64_t huge_counts[] = {1'000'000, std::uint64_t{1} << 32, std::uint64_t{1} << 60,
                                         std::numeric_limits<std::uint64_t>::max() / 8 + 1,
                                         std::numeric_limits<std::uint64_t>::max()};

template <class T>
T from_bytes(const outgoing& message) {
    decoder from(incoming(message.stream, message.blocks));
    return decode<T>(from);
}

struct nested {
    std::string s;
    std::map<std::string, std::vector<int>> m;
    std::optional<std::variant<int, std::string>> v;
    std::shared_ptr<std::string> p;
    std::unique_ptr<double> q;
    std::vector<bool> b;
    std::set<std::pair<int, std::string>> t;
    std::vector<double> large;
};
nested example() {
    const auto shared = std::make_shared<std::string>("shared");
    return {"text",
            {{"a", {1, 2}}, {"b", {}}},
            std::variant<int, std::string>("x"),
            shared,
            std::make_unique<double>(1),
            {true, false},
            {{1, "x"}, {2, std::string(5'000, 'y')}},
            std::vector<double>(1'000)};
}

struct user {
    std::vector<int> v;
    std::string binary;
    template <class Archive>
    void save(Archive& archive) const {
        archive(v, cereal::make_size_tag(static_cast<cereal::size_type>(binary.size())));
        archive(cereal::binary_data(binary.data(), binary.size()));
    }
    template <class Archive>
    void load(Archive& archive) {
        cereal::size_type n = 0;
        archive(v, cereal::make_size_tag(n));
        binary.resize(n);
        archive(cereal::binary_data(binary.data(), binary.size()));
    }
};
struct chain {
    int value = 0;
    std::unique_ptr<chain> next;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(value, next);
    }
};
struct plain_chain {
    std::array<double, 100> ballast{};
    std::vector<plain_chain> next;
};
struct ring {
    std::shared_ptr<ring> next;
    int value = 0;
};
struct virtual_one {
    int x = 0;
    int plain() const { return x; }
};

/// Decodes every beginning of the message, and the message without its blocks.
template <class T>
void check_truncated(const T& value) {
    const outgoing message = written(value);
    for (std::size_t n = 0; n != message.stream.size(); ++n) {
        const std::vector<std::byte> cut(message.stream.begin(),
                                         message.stream.begin() + static_cast<std::ptrdiff_t>(n));
        decoder from(incoming(cut, message.blocks));
        CHECK_THROWS_AS(decode<T>(from), serialization_error);
    }
    for (std::size_t n = 0; n != message.blocks.size(); ++n) {
        decoder from(incoming(message.stream, std::span(message.blocks).first(n)));
        CHECK_THROWS_AS(decode<T>(from), serialization_error);
    }
}

} // namespace

TEST_CASE("messages that end at any byte", "[wire][hostile]") {
    check_truncated(example());
    check_truncated(user{{1, 2}, "text"});
    check_truncated(user{{1, 2}, std::string(10'000, 'x')});
    check_truncated(&from_bytes<int>);
    check_truncated(&virtual_one::plain);
    check_truncated(std::list<std::string>{"a", "bc"});
    check_truncated(std::array<std::string, 2>{"a", "b"});
}

TEST_CASE("messages with any byte changed decode, or are refused", "[wire][hostile]") {
    const message_copy message(written(example()));
    std::size_t refused = 0;
    for (std::size_t i = 0; i != message.stream.size(); ++i) {
        for (const std::byte mask : {std::byte{0x01}, std::byte{0x80}, std::byte{0xff}}) {
            auto stream = message.stream;
            stream[i] ^= mask;
            decoder from(incoming(stream, message.blocks));
            try {
                static_cast<void>(decode<nested>(from));
            } catch (const serialization_error&) {
                ++refused;
            }
        }
    }
    CHECK(refused > 0);
}

TEST_CASE("huge counts are refused before there is memory for them", "[wire][hostile]") {
    for (const std::uint64_t n : huge_counts) {
        outgoing message;
        message.put(n);
        message.put(n);
        CHECK_THROWS_AS(from_bytes<std::string>(message), serialization_error);
        CHECK_THROWS_AS(from_bytes<std::vector<double>>(message), serialization_error);
        CHECK_THROWS_AS(from_bytes<std::vector<std::string>>(message), serialization_error);
        CHECK_THROWS_AS(from_bytes<std::vector<bool>>(message), serialization_error);
        CHECK_THROWS_AS((from_bytes<std::map<int, int>>(message)), serialization_error);
        CHECK_THROWS_AS(from_bytes<std::vector<std::monostate>>(message), serialization_error);
        outgoing of_user;
        of_user.put(std::uint8_t{0});
        of_user.put(std::uint64_t{0});
        of_user.put(n);
        CHECK_THROWS_AS(from_bytes<user>(of_user), serialization_error);
    }
}

TEST_CASE("a block must have the size that was announced", "[wire][hostile]") {
    const std::vector<char> v(10'000);
    for (const std::uint64_t n : {std::uint64_t{9'999}, std::uint64_t{10'001}, std::uint64_t{1} << 40}) {
        outgoing message = written(v);
        message.patch(0, n);
        CHECK_THROWS_AS(from_bytes<std::vector<char>>(message), serialization_error);
    }
}

TEST_CASE("alternatives that do not exist", "[wire][hostile]") {
    for (const std::uint32_t index : {2U, 255U, std::numeric_limits<std::uint32_t>::max()}) {
        outgoing message;
        message.put(index);
        message.put(std::uint64_t{0});
        CHECK_THROWS_AS((from_bytes<std::variant<int, std::string>>(message)), serialization_error);
        CHECK_THROWS_AS((from_bytes<std::variant<int, float>>(message)), serialization_error);
    }
}

TEST_CASE("an optional's flag is not copied", "[wire][hostile]") {
    outgoing message;
    message.put(std::uint8_t{77});
    message.put(5);
    CHECK(from_bytes<std::optional<int>>(message) == 5); // the sanitizer sees a bool of 77
}

TEST_CASE("values that are nested too deep are refused on both sides", "[wire][hostile]") {
    chain first;
    chain* last = &first;
    for (int i = 0; i != 2 * joblot::detail::deepest_value; ++i) {
        last->next = std::make_unique<chain>();
        last = last->next.get();
    }
    CHECK_THROWS_AS(written(first), serialization_error);
    outgoing message;
    for (int i = 0; i != 100'000; ++i) {
        message.put(std::uint8_t{0}); // a class of a user
        message.put(i);
        message.put(std::uint8_t{1}); // there is a next one
    }
    CHECK_THROWS_AS(from_bytes<chain>(message), serialization_error);
    outgoing plain;
    for (int i = 0; i != 2'000; ++i) {
        plain.stream.resize(plain.stream.size() + 100 * sizeof(double));
        plain.put(std::uint64_t{1}); // one element
    }
    CHECK_THROWS_AS(from_bytes<plain_chain>(plain), serialization_error);
}

TEST_CASE("shared pointers that refer to themselves, to nothing, or to another type", "[wire][hostile]") {
    const auto self = std::make_shared<ring>();
    self->next = self;
    CHECK_THROWS_AS(support::round_trip(self), serialization_error);
    self->next.reset();
    outgoing nowhere;
    nowhere.put(std::uint32_t{5});
    CHECK_THROWS_AS(from_bytes<std::shared_ptr<int>>(nowhere), serialization_error);
    using both = std::pair<std::shared_ptr<std::uint64_t>, std::shared_ptr<std::string>>;
    outgoing other_type;
    other_type.put(std::uint32_t{1} | 1U << 31);
    other_type.put(std::uint64_t{0x4141414141414141});
    other_type.put(std::uint32_t{1}); // the number as a string
    CHECK_THROWS_AS(from_bytes<both>(other_type), serialization_error);
}

TEST_CASE("functions that are nowhere", "[wire][hostile]") {
    using function = int (*)(int);
    outgoing unknown_module;
    unknown_module.put(std::uint8_t{1});
    unknown_module.put(joblot::detail::code_location{.offset = 0x1000});
    CHECK_THROWS_AS(from_bytes<function>(unknown_module), serialization_error);
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1} << 50, ~std::uint64_t{0}}) {
        outgoing message;
        message.put(std::uint8_t{1});
        message.put(joblot::detail::code_location{.module = joblot::detail::main_module().id, .offset = offset});
        CHECK_THROWS_AS(from_bytes<function>(message), serialization_error);
    }
    outgoing any_address; // what is not virtual must not come as an address
    any_address.put(std::ptrdiff_t{0});
    any_address.put(std::uintptr_t{0x414140});
    CHECK_THROWS_AS(from_bytes<decltype(&virtual_one::plain)>(any_address), serialization_error);
}

TEST_CASE("broadcast values that did not come", "[wire][hostile]") {
    outgoing message;
    message.put(std::uint64_t{7});
    CHECK_THROWS_AS(from_bytes<joblot::broadcasted<std::string>>(message), serialization_error);
}

TEST_CASE("parts that make no sense", "[wire][hostile]") {
    using joblot::detail::part_header;
    for (const part_header head : {part_header{32, 0, 0}, part_header{~std::uint64_t{0}, 0, 0}, part_header{16, 1, 0},
                                   part_header{16, ~std::uint32_t{0}, 0}, part_header{3, 0, 0}}) {
        outgoing message;
        message.put(head);
        message.put(std::uint64_t{0});
        message.put(std::uint64_t{0});
        incoming in(message.stream, {});
        std::uint32_t mark = 0;
        CHECK_THROWS_AS(in.part(mark), serialization_error);
    }
}
