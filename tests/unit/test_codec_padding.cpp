// SPDX-License-Identifier: BSL-1.0
// What is between the members of a value stays at home, and a byte that arrives for a `bool` becomes one.

#include "support/wire.hpp"

#include <joblot/travel.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace {

using joblot::serialization_error;
using joblot::detail::decode_view;
using joblot::detail::decoder;
using joblot::detail::encoder;
using joblot::detail::has_bools;
using joblot::detail::has_padding;
using joblot::detail::incoming;
using joblot::detail::is_raw;
using joblot::detail::outgoing;
using support::read;
using support::round_trip;
using support::written;

// --- types with padding; each can be made of a number, member by member, and compared

struct char_double {
    char c;
    double d;
    void set(int n) {
        c = static_cast<char>(n);
        d = n;
    }
    bool operator==(const char_double&) const = default;
};
struct nested {
    char c;
    char_double pairs[2];
    long double l;
    std::uint8_t end;
    void set(int n) {
        c = 'c';
        pairs[0].set(n);
        pairs[1].set(n + 1);
        l = n;
        end = 7;
    }
    bool operator==(const nested&) const = default;
};
struct derived : char_double {
    std::int16_t more;
    void set(int n) {
        char_double::set(n);
        more = 3;
    }
    bool operator==(const derived&) const = default;
};
struct with_bits {
    unsigned a : 3;
    bool b : 1;
    std::uint16_t c;
    void set(int n) {
        a = static_cast<unsigned>(n) & 7U;
        b = true;
        c = 0xffff;
    }
    bool operator==(const with_bits&) const = default;
};
struct around_bits {
    char c;
    with_bits w;
    char_double d;
    void set(int n) {
        c = 'c';
        w.set(n);
        d.set(n);
    }
    bool operator==(const around_bits&) const = default;
};
struct nothing {
    bool operator==(const nothing&) const = default;
};
struct around_nothing {
    nothing n;
    int i;
    void set(int k) { i = k; }
    bool operator==(const around_nothing& other) const { return i == other.i; }
};
struct alignas(32) wide {
    float f;
    void set(int n) { f = static_cast<float>(n); }
    bool operator==(const wide&) const = default;
};
struct with_array {
    std::array<char_double, 2> a;
    std::int8_t end[3];
    void set(int n) {
        a[0].set(n);
        a[1].set(n);
        end[0] = end[1] = end[2] = 5;
    }
    bool operator==(const with_array&) const = default;
};
template <class Number>
class private_members {
public:
    void set(int n) {
        c_ = 'h';
        n_ = n;
    }
    bool operator==(const private_members&) const = default;

private:
    char c_;
    Number n_;
};
using hidden = private_members<int>; // too small to hold a pointer
using declared_hidden = private_members<double>;
union number {
    std::int32_t i;
    float f;
};
struct with_union {
    number u;
    char c;
    void set(int n) {
        u.i = n;
        c = 'u';
    }
    bool operator==(const with_union& other) const { return u.i == other.u.i && c == other.c; }
};

// --- types without

struct point {
    double x, y;
};
struct __attribute__((packed)) packed {
    char c;
    double d;
};
enum class colour : std::uint8_t { red };
struct small {
    colour a;
    bool b;
    std::int16_t s;
    float f[3];
};

} // namespace

template <>
struct joblot::travel<declared_hidden> : joblot::travels_as_bytes {};

namespace {

void set(long double& value, int n) { value = n; }
void set(std::complex<long double>& value, int n) {
    long double parts[2];
    value.real(static_cast<long double>(n));
    value.imag(static_cast<long double>(parts[0] = n + 1));
}
template <class T>
    requires requires(T& t) { t.set(1); }
void set(T& value, int n) {
    value.set(n);
}
template <class T, std::size_t N>
void set(std::array<T, N>& values, int n) {
    for (T& value : values) set(value, n);
}

/// A value in memory where there was something before.
template <class T>
class in_used_memory {
public:
    in_used_memory(unsigned char before, int n) {
        std::memset(bytes_, before, sizeof bytes_);
        keep();
        set(value(), n);
        keep();
    }
    T& value() { return *std::launder(reinterpret_cast<T*>(bytes_)); }
    [[nodiscard]] std::vector<std::byte> bytes() const { return {bytes_, bytes_ + sizeof(T)}; }

private:
    /// Or a compiler may leave out what no value shows.
    void keep() noexcept { asm volatile("" : : "r"(bytes_) : "memory"); }

    alignas(T) std::byte bytes_[sizeof(T)];
};

/// `n` of them, one behind the other; copied by their bytes.
template <class T>
class row_in_used_memory {
public:
    row_in_used_memory(unsigned char before, std::size_t n) : values_(n) {
        for (std::size_t i = 0; i != n; ++i) {
            const auto bytes = in_used_memory<T>(before, static_cast<int>(i % 100)).bytes();
            std::memcpy(static_cast<void*>(&values_[i]), bytes.data(), bytes.size());
        }
    }
    [[nodiscard]] const std::vector<T>& values() const { return values_; }

private:
    std::vector<T> values_;
};

std::vector<std::byte> all_bytes(const outgoing& message) {
    std::vector<std::byte> all(message.stream.begin(), message.stream.end());
    for (const auto block : message.blocks) all.insert(all.end(), block.begin(), block.end());
    return all;
}

template <class T>
std::vector<std::byte> sent(const T& value) {
    return all_bytes(written(value));
}

/// Writes elements by the functions of its author.
template <class T>
struct owner {
    std::vector<T> values;
};

} // namespace

template <class T>
struct joblot::travel<owner<T>> {
    template <class Archive>
    static void save(Archive& to, const owner<T>& o) {
        to(o.values.size());
        to.elements(o.values.data(), o.values.size());
    }
    template <class Archive>
    static owner<T> load(Archive& from) {
        const auto elements = from.template elements<T>(from.template read<std::size_t>());
        return {{elements.begin(), elements.end()}};
    }
};

TEMPLATE_TEST_CASE("what was in memory before a value does not travel with it", "[wire][padding]", char_double, nested,
                   derived, with_bits, around_nothing, wide, with_array, hidden, declared_hidden, around_bits,
                   long double, std::complex<long double>, (std::array<char_double, 3>),
                   (std::array<std::array<long double, 2>, 2>)) {
    using T = TestType;
    STATIC_REQUIRE(is_raw<T>);
    CHECK(has_padding<T>());
    in_used_memory<T> one(0x5a, 9), other(0xa5, 9);
    REQUIRE(one.bytes() != other.bytes());
    CHECK(sent(one.value()) == sent(other.value()));
    CHECK(sent(one.value()).size() == sizeof(T));
    CHECK(round_trip(one.value()) == one.value());

    for (const std::size_t n : {1U, 3U, 1000U}) { // within the stream, and beside it
        const row_in_used_memory<T> some(0x5a, n), others(0xa5, n);
        CHECK(sent(some.values()) == sent(others.values()));
        CHECK(round_trip(some.values()) == some.values());
        if constexpr (alignof(T) <= joblot::detail::stream_alignment) {
            CHECK(sent(owner<T>{some.values()}) == sent(owner<T>{others.values()}));
            CHECK(round_trip(owner<T>{some.values()}).values == some.values());
        }
    }
}

TEST_CASE("nor in what other types are made of", "[wire][padding]") {
    in_used_memory<nested> one(0x5a, 9), other(0xa5, 9);
    const auto in_place = [](const nested& x, auto& holder, nested& at) {
        std::memcpy(static_cast<void*>(&at), &x, sizeof x); // with its padding
        return sent(holder);
    };
    std::pair<char, nested> pair{};
    CHECK(in_place(one.value(), pair, pair.second) == in_place(other.value(), pair, pair.second));
    std::tuple<char, nested, double> tuple{};
    CHECK(in_place(one.value(), tuple, std::get<1>(tuple)) == in_place(other.value(), tuple, std::get<1>(tuple)));
    std::optional<nested> optional{nested()};
    CHECK(in_place(one.value(), optional, *optional) == in_place(other.value(), optional, *optional));
    std::variant<int, nested> variant{nested()};
    CHECK(in_place(one.value(), variant, std::get<1>(variant)) ==
          in_place(other.value(), variant, std::get<1>(variant)));
    std::map<int, nested> map{{1, nested()}};
    CHECK(in_place(one.value(), map, map[1]) == in_place(other.value(), map, map[1]));
    const auto pointer = std::make_unique<nested>();
    CHECK(in_place(one.value(), pointer, *pointer) == in_place(other.value(), pointer, *pointer));
    const std::vector<nothing> nothings(10);
    CHECK(sent(nothings) == sent(std::vector<nothing>(10)));
}

// Which member of a union is there, nobody knows: its own bytes go as they are. Without the builtin, and that is with
// clang 19, those around it do, too.
#if __has_builtin(__builtin_clear_padding)
TEST_CASE("likewise around a union", "[wire][padding]") {
    in_used_memory<with_union> one(0x5a, 9), other(0xa5, 9);
    CHECK(sent(one.value()) == sent(other.value()));
    CHECK(round_trip(one.value()) == one.value());
}
#else
TEST_CASE("a class with a union arrives whole", "[wire][padding]") {
    in_used_memory<with_union> one(0x5a, 9);
    CHECK(round_trip(one.value()) == one.value());
}
#endif

TEST_CASE("the caller's own memory stays as it is", "[wire][padding]") {
    const row_in_used_memory<char_double> some(0x5a, 1000);
    const std::vector<char_double>& values = some.values();
    const auto* const first = reinterpret_cast<const std::byte*>(values.data());
    const std::vector<std::byte> before(first, first + values.size() * sizeof(char_double));
    CHECK(written(values).owned.size() == 1);
    CHECK(std::memcmp(first, before.data(), before.size()) == 0);
}

TEST_CASE("what has no padding is not copied", "[wire][padding]") {
    const auto in_place = []<class T>(const std::vector<T>& values) {
        const outgoing message = written(values);
        return message.owned.empty() && static_cast<const void*>(message.blocks.at(0).data()) == values.data();
    };
    CHECK(in_place(std::vector<double>(10'000)));
    CHECK(in_place(std::vector<float>(10'000)));
    CHECK(in_place(std::vector<point>(10'000)));
    CHECK(in_place(std::vector<packed>(10'000)));
    CHECK(in_place(std::vector<small>(10'000)));
    CHECK(in_place(std::vector<std::complex<double>>(10'000)));
    CHECK(in_place(std::vector<std::array<point, 3>>(10'000)));
    CHECK(in_place(std::vector<colour>(10'000)));
}

TEST_CASE("joblot's own messages have no padding", "[wire][padding]") {
    STATIC_REQUIRE(requires(outgoing& o) { o.put(joblot::detail::code_location{}); });
    STATIC_REQUIRE_FALSE([]<class T>(T) { return requires(outgoing& o, T t) { o.put(t); }; }(char_double()));
}

// --- bool

namespace {

struct flagged {
    std::int32_t i;
    bool flag;
};
struct flags {
    bool some[3];
    char c;
    flagged more[2];
    std::array<bool, 2> last;
};
struct beside_bits {
    bool a : 1;
    std::uint8_t x : 7;
};
struct without {
    char c[4];
    double d;
};

/// An object's bytes as they might arrive, in a message.
template <class T>
outgoing message_of(const std::vector<unsigned char>& bytes) {
    REQUIRE(bytes.size() % sizeof(T) == 0);
    outgoing message;
    message.append(bytes.data(), bytes.size());
    return message;
}
template <class T>
T arrived(const std::vector<unsigned char>& bytes) {
    return read<T>(message_of<T>(bytes).stream, {});
}
/// A byte as it is.
template <class T>
unsigned byte_of(const T& object) {
    static_assert(sizeof(T) == 1);
    unsigned char byte = 0;
    std::memcpy(&byte, &object, 1);
    return byte;
}
template <class T>
outgoing vector_message(const std::vector<unsigned char>& bytes) {
    outgoing message;
    message.put(static_cast<std::uint64_t>(bytes.size() / sizeof(T)));
    message.put_block(bytes.data(), bytes.size(), alignof(T), false);
    return message;
}

} // namespace

TEST_CASE("where there are values of bool", "[wire][bool]") {
    STATIC_REQUIRE(has_bools<bool>);
    STATIC_REQUIRE(has_bools<flagged>);
    STATIC_REQUIRE(has_bools<flags>);
    STATIC_REQUIRE(has_bools<std::array<flags, 2>>);
    STATIC_REQUIRE(has_bools<std::array<bool, 100'000>>);
    STATIC_REQUIRE(has_bools<small>);
    STATIC_REQUIRE_FALSE(has_bools<without>);
    STATIC_REQUIRE_FALSE(has_bools<nested>);
    STATIC_REQUIRE_FALSE(has_bools<char>);
    STATIC_REQUIRE_FALSE(has_bools<std::array<double, 100'000>>);
}

TEST_CASE("a bool in a plain class that arrives as any byte is true or false", "[wire][bool]") {
    for (const unsigned value : {0U, 1U, 2U, 0x80U, 0xffU}) {
        const auto byte = static_cast<unsigned char>(value);
        const unsigned expected = byte ? 1 : 0;
        CHECK(byte_of(arrived<bool>({byte})) == expected);
        const auto one = arrived<flagged>({byte, byte, byte, byte, byte, 0, 0, 0});
        CHECK(byte_of(one.flag) == expected);
        CHECK(one.i == static_cast<std::int32_t>(byte * 0x01010101U));
        const auto all = arrived<flags>(std::vector<unsigned char>(sizeof(flags), byte));
        for (const bool& b : all.some) CHECK(byte_of(b) == expected);
        CHECK(byte_of(all.c) == byte);
        for (const flagged& f : all.more) CHECK(byte_of(f.flag) == expected);
        for (const bool& b : all.last) CHECK(byte_of(b) == expected);
        const auto array = arrived<std::array<bool, 4>>({byte, 0, byte, 1});
        CHECK(byte_of(array[0]) == expected);
        CHECK(byte_of(array[1]) == 0);
        CHECK(byte_of(array[2]) == expected);
        CHECK(byte_of(array[3]) == 1);
    }
}

TEST_CASE("likewise in a container", "[wire][bool]") {
    for (const std::size_t n : {1U, 10U, 10'000U}) {
        std::vector<unsigned char> bytes(n * sizeof(flagged));
        bytes[(n - 1) * sizeof(flagged) + 4] = 2;
        const outgoing message = vector_message<flagged>(bytes);
        const auto all = read<std::vector<flagged>>(message.stream, message.blocks);
        REQUIRE(all.size() == n);
        CHECK(byte_of(all.back().flag) == 1);
        // what is read in place cannot be changed
        decoder from(incoming(message.stream, message.blocks));
        CHECK_THROWS_AS(decode_view<flagged>(from, "flagged"), serialization_error);
        bytes[(n - 1) * sizeof(flagged) + 4] = 1;
        const outgoing right = vector_message<flagged>(bytes);
        decoder from_right(incoming(right.stream, right.blocks));
        CHECK(decode_view<flagged>(from_right, "flagged").back().flag);
    }
}

TEST_CASE("bit-fields beside a bool keep their values", "[wire][bool]") {
    for (unsigned byte = 0; byte != 256; ++byte)
        CHECK(byte_of(arrived<beside_bits>({static_cast<unsigned char>(byte)})) == byte);
}
