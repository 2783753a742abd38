// SPDX-License-Identifier: BSL-1.0
// The fields of an aggregate, one by one. Boost.PFR does the same, but what it cannot take apart (C arrays, base
// classes, with g++ 12 even a std::array of strings) is a hard error, and every task type of every program comes by
// here.
#pragma once

#include <joblot/wire/shape.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdlib>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot::detail {

inline constexpr std::size_t most_fields = 64;

// Conversions are never called, but clang wants a definition where a class has no linkage.
struct any_value {
    template <class T>
    operator T() const noexcept {
        std::abort();
    }
};
// Converts to base classes of T only.
template <class T>
struct any_base {
    template <class B>
        requires(std::is_base_of_v<B, T> && !std::same_as<B, T>)
    operator B() const noexcept {
        std::abort();
    }
};
// Converts to what cannot be named when an aggregate is taken apart: unions and structs without a name. (A union that
// has one can be named, but nobody knows which of its members is there.)
struct any_nameless {
    template <class T>
        requires(std::is_union_v<T> || is_nameless<T>)
    operator T() const noexcept {
        std::abort();
    }
};

template <class T, std::size_t... I>
constexpr bool takes_values(std::index_sequence<I...>) {
    return requires { T{(static_cast<void>(I), any_value())...}; };
}

/// The largest number of values that an aggregate takes in braces, from `Low`, which it takes, to `High`. `Each`: it
/// takes every smaller number, too.
template <class T, bool Each, std::size_t Low, std::size_t High>
constexpr std::size_t largest_count() {
    if constexpr (Low == High) {
        return Low;
    } else {
        constexpr std::size_t next = !Each ? High : std::min(Low == 0 ? 1 : 2 * Low, Low + (High - Low + 1) / 2);
        if constexpr (takes_values<T>(std::make_index_sequence<next>()))
            return largest_count<T, Each, next, High>();
        else
            return largest_count<T, Each, Low, next - 1>();
    }
}

/// How many values an aggregate takes in braces; `most_fields + 1` where there are more.
template <class T>
constexpr std::size_t initializer_count() {
    return largest_count<T, requires { T{}; }, 0, most_fields + 1>(); // members without a value are made of nothing
}

/// Whether there are more fields than values were counted: some types cannot be made from just any value.
template <class T, std::size_t... I>
constexpr bool has_more_fields(std::index_sequence<I...>) {
    return requires { T{(static_cast<void>(I), any_value())..., {}}; } ||
           requires { T{(static_cast<void>(I), any_value())..., {any_value()}}; };
}

/// Whether a field's place can be taken by what has no name.
template <class T, std::size_t Before>
constexpr bool is_nameless_field() {
    return []<std::size_t... B>(std::index_sequence<B...>) {
        return requires { T{(static_cast<void>(B), any_value())..., any_nameless()}; };
    }(std::make_index_sequence<Before>());
}
template <class T, std::size_t... I>
constexpr bool has_nameless_field(std::index_sequence<I...>) {
    return (is_nameless_field<T, I>() || ...);
}

// Converts to parts of T, not to T itself.
template <class T>
struct any_part {
    template <class U>
        requires(!std::same_as<U, T>)
    operator U() const noexcept {
        std::abort();
    }
};
/// In parentheses there is one value for each field, and none that an array could be made of. In braces an array takes
/// one for each element. (Braces in braces would tell them, too, but have clang compile the constructors that could
/// take them, which fails for a vector of what can only be moved.)
template <class T, std::size_t... I>
constexpr bool has_c_array(std::index_sequence<I...>) {
    return !requires { T((static_cast<void>(I), any_part<T>())...); };
}

/// How many fields an aggregate has, or 0 where they cannot be named one by one: C arrays, base classes, references,
/// unions, too many.
template <class T>
constexpr std::size_t plain_field_count() {
    constexpr std::size_t n = initializer_count<T>();
    if constexpr (n == 0 || n > most_fields || may_hold_reference<T> || requires { T{any_base<T>()}; })
        return 0;
    else if constexpr (has_more_fields<T>(std::make_index_sequence<n>()) ||
                       has_nameless_field<T>(std::make_index_sequence<n>()))
        return 0;
    else
        return has_c_array<T>(std::make_index_sequence<n>()) ? 0 : n;
}

#define JOBLOT_EIGHT(x) x##0, x##1, x##2, x##3, x##4, x##5, x##6, x##7
#define JOBLOT_FIELDS(n, ...)                                                                                          \
    if constexpr (N == n) {                                                                                            \
        const auto& [__VA_ARGS__] = value;                                                                             \
        return use(__VA_ARGS__);                                                                                       \
    }

/// Calls `use(field...)` with all fields of an aggregate that has `N` of them. A bit-field, or one that is packed, is
/// copied for that.
template <std::size_t N, class T, class Use>
constexpr decltype(auto) with_fields(const T& value, Use&& use) {
    // clang-format off
    JOBLOT_FIELDS(1, a0)
    JOBLOT_FIELDS(2, a0, a1)
    JOBLOT_FIELDS(3, a0, a1, a2)
    JOBLOT_FIELDS(4, a0, a1, a2, a3)
    JOBLOT_FIELDS(5, a0, a1, a2, a3, a4)
    JOBLOT_FIELDS(6, a0, a1, a2, a3, a4, a5)
    JOBLOT_FIELDS(7, a0, a1, a2, a3, a4, a5, a6)
    JOBLOT_FIELDS(8, JOBLOT_EIGHT(a))
    JOBLOT_FIELDS(9, JOBLOT_EIGHT(a), b0)
    JOBLOT_FIELDS(10, JOBLOT_EIGHT(a), b0, b1)
    JOBLOT_FIELDS(11, JOBLOT_EIGHT(a), b0, b1, b2)
    JOBLOT_FIELDS(12, JOBLOT_EIGHT(a), b0, b1, b2, b3)
    JOBLOT_FIELDS(13, JOBLOT_EIGHT(a), b0, b1, b2, b3, b4)
    JOBLOT_FIELDS(14, JOBLOT_EIGHT(a), b0, b1, b2, b3, b4, b5)
    JOBLOT_FIELDS(15, JOBLOT_EIGHT(a), b0, b1, b2, b3, b4, b5, b6)
    JOBLOT_FIELDS(16, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b))
    JOBLOT_FIELDS(17, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0)
    JOBLOT_FIELDS(18, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1)
    JOBLOT_FIELDS(19, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1, c2)
    JOBLOT_FIELDS(20, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1, c2, c3)
    JOBLOT_FIELDS(21, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1, c2, c3, c4)
    JOBLOT_FIELDS(22, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1, c2, c3, c4, c5)
    JOBLOT_FIELDS(23, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1, c2, c3, c4, c5, c6)
    JOBLOT_FIELDS(24, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c))
    JOBLOT_FIELDS(25, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0)
    JOBLOT_FIELDS(26, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1)
    JOBLOT_FIELDS(27, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1, d2)
    JOBLOT_FIELDS(28, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1, d2, d3)
    JOBLOT_FIELDS(29, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1, d2, d3, d4)
    JOBLOT_FIELDS(30, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1, d2, d3, d4, d5)
    JOBLOT_FIELDS(31, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1, d2, d3, d4, d5, d6)
    JOBLOT_FIELDS(32, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d))
    JOBLOT_FIELDS(33, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0)
    JOBLOT_FIELDS(34, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1)
    JOBLOT_FIELDS(35, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1, e2)
    JOBLOT_FIELDS(36, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1, e2, e3)
    JOBLOT_FIELDS(37, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1, e2, e3, e4)
    JOBLOT_FIELDS(38, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1, e2, e3, e4, e5)
    JOBLOT_FIELDS(39, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1, e2, e3, e4, e5, e6)
    JOBLOT_FIELDS(40, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e))
    JOBLOT_FIELDS(41, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0)
    JOBLOT_FIELDS(42, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1)
    JOBLOT_FIELDS(43, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1, f2)
    JOBLOT_FIELDS(44, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1, f2, f3)
    JOBLOT_FIELDS(45, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1, f2, f3, f4)
    JOBLOT_FIELDS(46, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1, f2, f3, f4, f5)
    JOBLOT_FIELDS(47, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1, f2, f3, f4, f5, f6)
    JOBLOT_FIELDS(48, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f))
    JOBLOT_FIELDS(49, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0)
    JOBLOT_FIELDS(50, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1)
    JOBLOT_FIELDS(51, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1, g2)
    JOBLOT_FIELDS(52, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1, g2, g3)
    JOBLOT_FIELDS(53, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1, g2, g3, g4)
    JOBLOT_FIELDS(54, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1, g2, g3, g4, g5)
    JOBLOT_FIELDS(55, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1, g2, g3, g4, g5, g6)
    JOBLOT_FIELDS(56, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g))
    JOBLOT_FIELDS(57, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0)
    JOBLOT_FIELDS(58, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1)
    JOBLOT_FIELDS(59, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1, h2)
    JOBLOT_FIELDS(60, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1, h2, h3)
    JOBLOT_FIELDS(61, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1, h2, h3, h4)
    JOBLOT_FIELDS(62, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1, h2, h3, h4, h5)
    JOBLOT_FIELDS(63, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1, h2, h3, h4, h5, h6)
    JOBLOT_FIELDS(64, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), JOBLOT_EIGHT(h))
    // clang-format on
}

#undef JOBLOT_FIELDS
#undef JOBLOT_EIGHT

// No lambda: one in an unevaluated operand leads g++ 12 to forget that the function around it returns a value.
struct types_of_fields {
    template <class... F>
    constexpr std::type_identity<std::tuple<F...>> operator()(const F&...) const noexcept {
        return {}; // never called; clang wants a definition where a class has no linkage
    }
};

/// The types of the fields, as a `std::tuple` that is never made.
template <class T>
using field_types =
    typename decltype(with_fields<plain_field_count<T>()>(std::declval<const T&>(), types_of_fields()))::type;

} // namespace joblot::detail
