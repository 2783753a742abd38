// SPDX-License-Identifier: BSL-1.0
// Which bits of a value that travels as its bytes hold the value. What is between and behind its members, and in a
// `long double` beside the number, is whatever was in memory before: it leaves the process as zeros.
#pragma once

#include <joblot/system/fork.hpp>
#include <joblot/wire/dtype.hpp>
#include <joblot/wire/fields.hpp>
#include <joblot/wire/shape.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <new>
#include <tuple>
#include <type_traits>

namespace joblot::detail {

/// What a type is a row of, without anything in between: itself, or for arrays and complex numbers their parts.
template <class T>
struct row_part : std::type_identity<T> {};
template <class E, std::size_t N>
    requires(N > 0 && sizeof(std::array<E, N>) == N * sizeof(E))
struct row_part<std::array<E, N>> : row_part<std::remove_cv_t<E>> {};
template <class T>
    requires is_complex<T>
struct row_part<T> : std::type_identity<typename T::value_type> {};
template <class T>
using row_part_t = typename row_part<std::remove_cv_t<T>>::type;

/// Whether all bits are known to hold the value. Two zeros or NaNs of `double` differ, but nothing is beside them.
template <class T>
inline constexpr bool all_bits_count = std::has_unique_object_representations_v<row_part_t<T>> ||
                                       std::same_as<row_part_t<T>, float> || std::same_as<row_part_t<T>, double>;

/// Set bits are those that hold the value.
template <class T>
struct value_mask {
    alignas(T) std::array<unsigned char, sizeof(T)> bytes;

    [[nodiscard]] constexpr bool whole() const noexcept {
        return std::ranges::all_of(bytes, [](unsigned char byte) { return byte == 0xff; });
    }
};

#if __has_builtin(__builtin_clear_padding)

template <class T>
value_mask<T> find_value_mask() noexcept {
    value_mask<T> mask;
    mask.bytes.fill(0xff);
    __builtin_clear_padding(reinterpret_cast<T*>(mask.bytes.data()));
    return mask;
}

#else

// clang, up to some version. Where a value is a constant, what its bytes are is a constant but for the padding. (It
// cannot say so of bit-fields and unions. Of a class with bit-fields its fields tell, if they can be named.)
template <class T>
constexpr value_mask<T> constant_value_mask() noexcept {
    const auto copy = __builtin_bit_cast(bytes_of<sizeof(T)>, __builtin_bit_cast(T, bytes_of<sizeof(T)>{}));
    value_mask<T> mask{};
    for (std::size_t i = 0; i != sizeof(T); ++i) mask.bytes[i] = __builtin_constant_p(copy.bytes[i]) ? 0xff : 0;
    return mask;
}
template <class T>
concept has_constant_value_mask =
    constant_bits<T> && requires { typename std::bool_constant<(constant_value_mask<T>().bytes[0], true)>; };

template <class T>
value_mask<T> find_value_mask() noexcept;

/// A field with all bits of its value set. An enumeration need not have such a value.
template <class F>
inline constexpr bool can_be_all_ones = std::is_class_v<F> || std::is_arithmetic_v<F> || requires { F{1}; };
template <class F>
F all_ones() noexcept {
    if constexpr (std::same_as<F, bool>) {
        return true;
    } else {
        const auto mask = find_value_mask<F>();
        return __builtin_bit_cast(F, mask.bytes);
    }
}
template <class Fields>
inline constexpr bool all_can_be_all_ones = false;
template <class... F>
inline constexpr bool all_can_be_all_ones<std::tuple<F...>> = (can_be_all_ones<std::remove_cv_t<F>> && ...);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion" // a bit-field gets all that it can hold
template <class T, class... F>
void make_of_ones(void* place, std::type_identity<std::tuple<F...>>) noexcept {
    ::new (place) T{all_ones<std::remove_cv_t<F>>()...};
}
#pragma GCC diagnostic pop

template <class T>
value_mask<T> find_value_mask() noexcept {
    if constexpr (has_constant_value_mask<T>) {
        constexpr value_mask<T> constant = constant_value_mask<T>();
        return constant;
    } else {
        value_mask<T> mask;
        mask.bytes.fill(0xff);
        if constexpr (std::is_class_v<T> && std::is_aggregate_v<T>) {
            if constexpr (plain_field_count<T>() != 0) {
                if constexpr (all_can_be_all_ones<field_types<T>>) {
                    mask.bytes.fill(0);
                    make_of_ones<T>(mask.bytes.data(), std::type_identity<field_types<T>>());
                }
            }
        }
        return mask;
    }
}

#endif

template <class T>
const value_mask<T>& value_mask_of() noexcept {
    static constinit made_once<const value_mask<T>> mask;
    return mask.get(find_value_mask<T>);
}

/// Whether values of a type that travels as its bytes have some that say nothing.
template <class T>
bool has_padding() noexcept {
    if constexpr (all_bits_count<T>) {
        return false;
    } else {
        static constinit made_once<const bool> has;
        return has.get([] { return !value_mask_of<row_part_t<T>>().whole(); });
    }
}

/// Copies the bytes of values that have padding: zeros instead of it. @param to Need not be aligned.
template <class T>
void copy_without_padding(const T* from, std::size_t n, std::byte* __restrict to) noexcept {
    using part = row_part_t<T>;
    const auto* bytes = reinterpret_cast<const std::byte*>(from);
    const value_mask<part>& mask = value_mask_of<part>();
    for (const std::byte* const end = bytes + n * sizeof(T); bytes != end; bytes += sizeof(part), to += sizeof(part)) {
        for (std::size_t i = 0; i != sizeof(part); ++i) to[i] = bytes[i] & std::byte{mask.bytes[i]};
    }
}

} // namespace joblot::detail
