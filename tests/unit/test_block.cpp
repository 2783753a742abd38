// SPDX-License-Identifier: BSL-1.0
// Values in the form that other languages read: what is written can be read, by whom it fits, and nothing else is.

#include <joblot/wire/block.hpp>

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <complex>
#include <cstdint>
#include <limits>
#include <list>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace joblot::detail;

template <class To, class From>
To read_as(const From& value) {
    outgoing message;
    encoder to(message);
    encode_as_block(to, value);
    decoder from(incoming(message.stream, message.blocks));
    return decode_as_block<To>(from, "a value");
}
template <class To, class From>
std::string why_not(const From& value) {
    try {
        static_cast<void>(read_as<To>(value));
    } catch (const joblot::serialization_error& e) {
        return e.what();
    }
    return "it was read";
}
template <class T>
bool survives(const T& value) {
    return read_as<T>(value) == value;
}

/// A head that somebody else has written, and what follows it.
template <class To>
std::string why_not_message(const std::string& dtype, const std::vector<std::uint64_t>& shape, std::size_t bytes) {
    outgoing message;
    block_head head;
    dtype.copy(head.dtype.data(), head.dtype.size());
    head.dimensions = static_cast<std::uint32_t>(shape.size());
    message.put(head);
    for (const std::uint64_t n : shape) message.put(n);
    message.stream.resize(round_up(message.stream.size(), stream_alignment) + bytes);
    decoder from(incoming(message.stream, message.blocks));
    try {
        static_cast<void>(decode_as_block<To>(from, "a value"));
    } catch (const joblot::serialization_error& e) {
        return e.what();
    }
    return "it was read";
}
bool says(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

} // namespace

TEST_CASE("block: numbers, arrays, bytes and all else survive", "[block]") {
    CHECK(survives(-7));
    CHECK(survives(true));
    CHECK(survives(std::numeric_limits<std::uint64_t>::max()));
    CHECK(survives(0.1F));
    CHECK(survives(std::complex<double>(1, -2)));
    CHECK(survives(std::byte{9}));
    CHECK(survives(std::vector<double>{}));
    CHECK(survives(std::vector<double>(3, 1.5)));
    CHECK(survives(std::vector<double>(5'000, 1.5)));
    CHECK(survives(std::array<std::int16_t, 3>{1, 2, 3}));
    CHECK(survives(std::vector<std::array<std::array<float, 2>, 3>>(400)));
    CHECK(survives(std::string("a\0b", 3)));
    CHECK(survives(std::vector(6'000, std::byte{1})));
    CHECK(survives(std::map<int, std::string>{{1, "one"}}));
    CHECK(survives(std::vector<std::vector<double>>{{1}, std::vector<double>(1'000)}));
    CHECK(survives(std::list<int>{1, 2}));
    CHECK(survives(std::vector<std::array<float, 0>>(3)));
}

TEST_CASE("block: what a type's form is", "[block]") {
    STATIC_CHECK(block_kind_of<long double>() == block_kind::none);
    STATIC_CHECK(block_kind_of<std::vector<bool>>() == block_kind::none);
    STATIC_CHECK(block_kind_of<std::vector<std::string>>() == block_kind::none);
    STATIC_CHECK(block_kind_of<std::array<std::string, 2>>() == block_kind::none);
    STATIC_CHECK(block_kind_of<std::vector<std::array<int, 2>>>() == block_kind::array);
    STATIC_CHECK(block_kind_of<std::string>() == block_kind::bytes);
    CHECK(block_dtype<std::vector<std::array<std::complex<float>, 2>>>() == "<c8");
    CHECK(block_description<std::vector<unsigned>>() == "an array of dtype <u4");
}

TEST_CASE("block: numbers of the widest types are taken where they fit", "[block]") {
    CHECK(read_as<std::int8_t>(std::int64_t{-128}) == -128);
    CHECK(read_as<unsigned>(std::int64_t{5}) == 5);
    CHECK(read_as<std::int64_t>(std::uint64_t{5}) == 5);
    CHECK(read_as<float>(0.5) == 0.5F);
    CHECK(read_as<double>(std::int64_t{3}) == 3.0);
    CHECK(read_as<std::complex<float>>(0.5) == std::complex<float>(0.5F));
    CHECK(read_as<std::complex<float>>(std::complex<double>(1, 2)) == std::complex<float>(1, 2));
    CHECK(says(why_not<std::int8_t>(std::int64_t{128}), "a value cannot be read as a number of dtype |i1: it is 128"));
    CHECK(says(why_not<unsigned>(std::int64_t{-1}), "it is -1"));
    CHECK(says(why_not<std::int64_t>(std::numeric_limits<std::uint64_t>::max()), "it is 18446744073709551615"));
    CHECK(says(why_not<int>(1.5), "its dtype is <f8"));
    CHECK(says(why_not<bool>(std::int64_t{1}), "its dtype is <i8"));
    CHECK(says(why_not<double>(std::complex<double>()), "its dtype is <c16"));
    CHECK(says(why_not<double>(std::vector<double>(1)), "it is an array"));
}

TEST_CASE("block: arrays of another dtype or shape are refused", "[block]") {
    CHECK(says(why_not<std::vector<float>>(std::vector<double>(2)), "its dtype is <f8"));
    CHECK(says(why_not<std::vector<double>>(2.0), "it has another shape"));
    CHECK(says(why_not<std::vector<double>>(std::vector<std::array<double, 1>>(2)), "it has another shape"));
    CHECK(says(why_not<std::vector<std::array<int, 2>>>(std::vector<std::array<int, 3>>(2)), "it has another shape"));
    CHECK(says(why_not<std::array<int, 2>>(std::vector<int>(3)), "it has another shape"));
    CHECK(says(why_not<std::string>(std::vector<int>(3)), "its dtype is <i4"));
    CHECK(says(why_not<std::map<int, int>>(3), "its dtype is <i4"));
    CHECK(says(why_not<int>(std::map<int, int>()), "its dtype is O"));
    CHECK(read_as<std::vector<std::byte>>(std::vector<std::uint8_t>{1, 2}).size() == 2); // numpy's bytes
}

TEST_CASE("block: hostile heads are refused before anything is read or allocated", "[block]") {
    using numbers = std::vector<double>;
    CHECK(says(why_not_message<numbers>("<f8", {3}, 16), "its size is not that of its shape"));
    CHECK(says(why_not_message<numbers>("<f8", {std::uint64_t{1} << 62}, 16), "its shape makes no sense"));
    CHECK(says(why_not_message<numbers>("<f8", std::vector<std::uint64_t>(70, 1U << 31), 16), "makes no sense"));
    CHECK(says(why_not_message<numbers>("nonsense", {1}, 16), "its dtype is nonsense"));
    CHECK(says(why_not_message<numbers>("<f99999999999", {1}, 16), "its dtype is <f9999"));
    CHECK(says(why_not_message<numbers>("", {1}, 16), "its dtype is "));
    CHECK(says(why_not_message<numbers>("0123456789abcdef", {1}, 16), "its dtype is 0123456789abcdef"));
    CHECK(says(why_not_message<std::complex<double>>("<c16", {}, 0), "its size is not that of its shape"));
    CHECK(why_not_message<numbers>("<f8", {0}, 0) == "it was read");
    CHECK(says(why_not_message<numbers>("!", {}, 0), "cannot be read as an array of dtype <f8: "));
    decoder nothing(incoming{});
    CHECK_THROWS_AS(decode_as_block<double>(nothing, "a value"), joblot::serialization_error);
}
