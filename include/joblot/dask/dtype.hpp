// SPDX-License-Identifier: BSL-1.0
// What numpy calls C++'s types.
#pragma once

#include <complex>
#include <concepts>
#include <cstddef>
#include <string>
#include <type_traits>

namespace joblot::dask {

namespace engine {
template <class T>
inline constexpr bool is_complex = false;
template <std::floating_point F>
inline constexpr bool is_complex<std::complex<F>> = true;
} // namespace engine

/// Types that a numpy array of numbers can have: `bool`, `std::byte`, integers, `float`, `double`, `std::complex` of
/// these.
template <class T>
concept numeric = (std::is_arithmetic_v<T> || std::same_as<T, std::byte> || engine::is_complex<T>) &&
                  !std::same_as<T, long double> && !std::same_as<T, std::complex<long double>> && sizeof(T) <= 16;

/// numpy's name of a type: "<f8" for `double`, "<i4" for `int`, "|u1" for `std::byte`.
template <numeric T>
[[nodiscard]] std::string dtype_of() {
    const char kind = std::same_as<T, bool>         ? 'b'
                      : std::same_as<T, std::byte>  ? 'u'
                      : engine::is_complex<T>       ? 'c'
                      : std::is_floating_point_v<T> ? 'f'
                      : std::is_signed_v<T>         ? 'i'
                                                    : 'u';
    return std::string(sizeof(T) == 1 ? "|" : "<") + kind + std::to_string(sizeof(T));
}

namespace engine {
/// The same type in the other byte order: blocks are brought into this machine's when they are read.
inline std::string in_this_order(std::string dtype) {
    if (dtype.starts_with('>')) dtype[0] = '<';
    return dtype;
}
} // namespace engine

} // namespace joblot::dask
