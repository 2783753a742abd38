// SPDX-License-Identifier: BSL-1.0
// The fields of an aggregate, one by one. Boost.PFR does the same, but what it cannot take apart (C arrays, base
// classes, with g++ 12 even a std::array of strings) is a hard error, and every task type of every program comes by
// here.
#pragma once

#include <joblot/wire/shape.hpp>

#include <concepts>
#include <cstddef>
#include <cstdlib>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot::detail {

inline constexpr std::size_t most_fields = 32;

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

/// How many values an aggregate takes in braces; `most_fields + 1` where there are more.
template <class T, std::size_t High = most_fields + 1>
constexpr std::size_t initializer_count() {
    if constexpr (High == 0) {
        return 0;
    } else {
        constexpr auto takes = []<std::size_t... I>(std::index_sequence<I...>) {
            return requires { T{(static_cast<void>(I), any_value())...}; };
        };
        if constexpr (takes(std::make_index_sequence<High>()))
            return High;
        else
            return initializer_count<T, High - 1>();
    }
}

/// Whether two values in braces of their own can stand after `Before` values, and `After` more behind them.
template <class T, std::size_t Before, std::size_t After>
constexpr bool takes_pair_in_braces() {
    return []<std::size_t... B, std::size_t... A>(std::index_sequence<B...>, std::index_sequence<A...>) {
        return requires {
            T{(static_cast<void>(B), any_value())...,
              {any_value(), any_value()},
              (static_cast<void>(A), any_value())...};
        };
    }(std::make_index_sequence<Before>(), std::make_index_sequence<After>());
}

/// An array takes one value for each element where it has no braces, so with braces it takes the place of several.
template <class T, std::size_t N, std::size_t... I>
constexpr bool has_c_array(std::index_sequence<I...>) {
    return ((takes_pair_in_braces<T, I, 0>() && !takes_pair_in_braces<T, I, N - I - 1>()) || ...);
}

/// How many fields an aggregate has, or 0 where they cannot be named one by one: C arrays, base classes, references,
/// too many.
template <class T>
constexpr std::size_t plain_field_count() {
    constexpr std::size_t n = initializer_count<T>();
    if constexpr (n == 0 || n > most_fields || may_hold_reference<T> || requires { T{any_base<T>()}; })
        return 0;
    else
        return has_c_array<T, n>(std::make_index_sequence<n>()) ? 0 : n;
}

/// Calls `use(field...)` with all fields of an aggregate that has `N` of them.
template <std::size_t N, class T, class Use>
constexpr decltype(auto) with_fields(T& value, Use&& use) {
    // clang-format off
    if constexpr (N == 1) { auto& [f1] = value; return use(f1); }
    if constexpr (N == 2) { auto& [f1, f2] = value; return use(f1, f2); }
    if constexpr (N == 3) { auto& [f1, f2, f3] = value; return use(f1, f2, f3); }
    if constexpr (N == 4) { auto& [f1, f2, f3, f4] = value; return use(f1, f2, f3, f4); }
    if constexpr (N == 5) { auto& [f1, f2, f3, f4, f5] = value; return use(f1, f2, f3, f4, f5); }
    if constexpr (N == 6) { auto& [f1, f2, f3, f4, f5, f6] = value; return use(f1, f2, f3, f4, f5, f6); }
    if constexpr (N == 7) { auto& [f1, f2, f3, f4, f5, f6, f7] = value; return use(f1, f2, f3, f4, f5, f6, f7); }
    if constexpr (N == 8) { auto& [f1, f2, f3, f4, f5, f6, f7, f8] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8); }
    if constexpr (N == 9) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9); }
    if constexpr (N == 10) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10); }
    if constexpr (N == 11) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11); }
    if constexpr (N == 12) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12); }
    if constexpr (N == 13) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13); }
    if constexpr (N == 14) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14); }
    if constexpr (N == 15) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15); }
    if constexpr (N == 16) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16); }
    if constexpr (N == 17) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17); }
    if constexpr (N == 18) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18); }
    if constexpr (N == 19) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19); }
    if constexpr (N == 20) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20); }
    if constexpr (N == 21) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21); }
    if constexpr (N == 22) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22); }
    if constexpr (N == 23) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23); }
    if constexpr (N == 24) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24); }
    if constexpr (N == 25) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25); }
    if constexpr (N == 26) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26); }
    if constexpr (N == 27) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27); }
    if constexpr (N == 28) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28); }
    if constexpr (N == 29) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29); }
    if constexpr (N == 30) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30); }
    if constexpr (N == 31) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31); }
    if constexpr (N == 32) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31, f32] = value; return use(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31, f32); }
    // clang-format on
}

// No lambda: one in an unevaluated operand leads g++ 12 to forget that the function around it returns a value.
struct types_of_fields {
    template <class... F>
    constexpr std::type_identity<std::tuple<F...>> operator()(F&...) const noexcept {
        return {}; // never called; clang wants a definition where a class has no linkage
    }
};

/// The types of the fields, as a `std::tuple` that is never made.
template <class T>
using field_types = typename decltype(with_fields<plain_field_count<T>()>(std::declval<T&>(), types_of_fields()))::type;

} // namespace joblot::detail
