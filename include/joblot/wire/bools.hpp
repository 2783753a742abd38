// SPDX-License-Identifier: BSL-1.0
// Where in a type that travels as its bytes there are values of `bool`. A byte that arrives for one may be any, but a
// `bool` that is neither 0 nor 1 is undefined behaviour wherever it is looked at.
#pragma once

#include <joblot/system/fork.hpp>
#include <joblot/wire/padding.hpp>
#include <joblot/wire/shape.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

namespace joblot::detail {

struct any_leaf_but_bool {
    template <class T>
        requires((!std::is_aggregate_v<T> || std::is_union_v<T> || says_how_it_travels<T>()) && !std::same_as<T, bool>)
    operator T() const noexcept {
        std::abort(); // never called
    }
};

// A `bool` is `Value`; a number is all ones, so that a bit-field beside one is seen.
template <bool Value>
struct probing_leaf {
    template <class T>
        requires(!std::is_aggregate_v<T> || std::is_union_v<T> || says_how_it_travels<T>())
    operator T() const noexcept {
        if constexpr (std::same_as<T, bool>)
            return Value;
        else if constexpr (std::is_integral_v<T>)
            return static_cast<T>(~T{});
        else if constexpr (std::is_enum_v<T>)
            return static_cast<T>(1);
        else
            return __builtin_bit_cast(T, bytes_of<sizeof(T)>{});
    }
};

/// How many leaves a class has, as far as they are looked at. More than `most_leaves_asked` are not: 0.
template <class T>
constexpr std::size_t leaves_looked_at() {
    if constexpr (!std::is_class_v<T> || !std::is_aggregate_v<T> || may_hold_reference<T>) {
        return 0;
    } else if constexpr (sizeof(T) > most_leaves_asked &&
                         takes_leaves<T, any_leaf<true>>(std::make_index_sequence<most_leaves_asked + 1>())) {
        return 0;
    } else {
        return all_leaves<T>();
    }
}

template <class T>
inline constexpr bool part_has_bools =
    !takes_leaves<T, any_leaf_but_bool>(std::make_index_sequence<leaves_looked_at<T>()>());
template <class T>
    requires(leaves_looked_at<T>() == 0)
inline constexpr bool part_has_bools<T> = std::same_as<T, bool>;

/// Whether a type that travels as its bytes has values of `bool` in it, as far as can be seen.
template <class T>
inline constexpr bool has_bools = part_has_bools<row_part_t<T>>;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wmissing-braces"
template <class T, bool Value, std::size_t... I>
void make_of_leaves(void* place, std::index_sequence<I...>) noexcept {
    ::new (place) T{(static_cast<void>(I), probing_leaf<Value>())...};
}
#pragma GCC diagnostic pop

/// 0xff for each byte that is a `bool`; one that shares its byte with others is a bit-field, and always valid.
template <class T>
const std::array<unsigned char, sizeof(T)>& bool_places() noexcept {
    static constinit made_once<const std::array<unsigned char, sizeof(T)>> places;
    return places.get([] {
        value_mask<T> with{}, without{};
        if constexpr (std::same_as<T, bool>) {
            with.bytes[0] = 1;
        } else {
            constexpr auto leaves = std::make_index_sequence<leaves_looked_at<T>()>();
            make_of_leaves<T, true>(with.bytes.data(), leaves);
            make_of_leaves<T, false>(without.bytes.data(), leaves);
        }
        for (std::size_t i = 0; i != sizeof(T); ++i) {
            const bool is_one = with.bytes[i] == 1 && without.bytes[i] == 0;
            with.bytes[i] = is_one && value_mask_of<T>().bytes[i] == 0xff ? 0xff : 0;
        }
        return with.bytes;
    });
}

/// Whether all values of `bool` are 0 or 1, in the bytes of values of a type that has some.
template <class T>
bool bools_are_valid(const std::byte* bytes, std::size_t n) noexcept {
    using part = row_part_t<T>;
    value_mask<part> any{}; // the bits that are set in any of them: nothing else is done in the loop, it may be long
    for (const std::byte* const end = bytes + n * sizeof(T); bytes != end; bytes += sizeof(part)) {
        for (std::size_t i = 0; i != sizeof(part); ++i) any.bytes[i] |= std::to_integer<unsigned char>(bytes[i]);
    }
    const auto& places = bool_places<part>();
    for (std::size_t i = 0; i != sizeof(part); ++i) {
        if (places[i] && any.bytes[i] > 1) return false;
    }
    return true;
}

/// Whatever is not 0 becomes 1.
template <class T>
void make_bools_valid(std::byte* bytes, std::size_t n) noexcept {
    using part = row_part_t<T>;
    const auto& places = bool_places<part>();
    for (std::byte* const end = bytes + n * sizeof(T); bytes != end; bytes += sizeof(part)) {
        for (std::size_t i = 0; i != sizeof(part); ++i) {
            if (places[i] && bytes[i] != std::byte{}) bytes[i] = std::byte{1};
        }
    }
}

} // namespace joblot::detail
