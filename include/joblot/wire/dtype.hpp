// SPDX-License-Identifier: BSL-1.0
// What numpy calls C++'s types.
#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <type_traits>

namespace joblot::detail {

/// `std::complex`, whose header is costly to compile.
template <class T>
inline constexpr bool is_complex = requires(const T& z) {
    requires std::floating_point<typename T::value_type>;
    { z.real() } -> std::same_as<typename T::value_type>;
    { z.imag() } -> std::same_as<typename T::value_type>;
    requires sizeof(T) == 2 * sizeof(typename T::value_type);
};

/// Types that a numpy array of numbers can have: `bool`, `std::byte`, integers, `float`, `double`, `std::complex` of
/// these.
template <class T>
concept numeric = (std::is_arithmetic_v<T> || std::same_as<T, std::byte> || is_complex<T>) &&
                  !std::same_as<T, long double> && sizeof(T) <= 16;

/// numpy's name of a type: "<f8" for `double`, "<i4" for `int`, "|u1" for `std::byte`.
template <numeric T>
[[nodiscard]] std::string dtype_of() {
    const char kind = std::same_as<T, bool>         ? 'b'
                      : std::same_as<T, std::byte>  ? 'u'
                      : is_complex<T>               ? 'c'
                      : std::is_floating_point_v<T> ? 'f'
                      : std::is_signed_v<T>         ? 'i'
                                                    : 'u';
    return std::string(sizeof(T) == 1 ? "|" : "<") + kind + std::to_string(sizeof(T));
}

/// The same type in the other byte order: blocks are brought into this machine's when they are read.
inline std::string in_this_order(std::string dtype) {
    if (dtype.starts_with('>')) dtype[0] = '<';
    return dtype;
}

} // namespace joblot::detail
