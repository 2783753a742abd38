// SPDX-License-Identifier: BSL-1.0
// What a type is made of, as far as its name and its initialisation tell: whether it is a pointer in disguise, and
// whether its bytes say all.
#pragma once

#include <joblot/delayed.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <ranges>
#include <string_view>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// `T` as the compiler spells it, with what the compiler puts around it.
template <class T>
constexpr std::string_view spelled() noexcept {
    constexpr std::string_view text = __PRETTY_FUNCTION__;
    return text.substr(text.find("T = ") + 4);
}

template <class T>
inline constexpr bool is_std_type = spelled<T>().starts_with("std::") || spelled<T>().starts_with("__gnu_cxx::");

/// Whether the class is defined where this is asked: of one that is only declared nothing can be known.
template <class T>
concept complete = requires { sizeof(T); };

template <class T>
inline constexpr bool is_type_template = false;
template <template <class...> class C, class... Args>
inline constexpr bool is_type_template<C<Args...>> = true;

/// Lambdas with captures. They may hold references, which nobody can see from outside.
template <class T>
inline constexpr bool is_closure_with_captures =
    std::is_class_v<T> && !std::is_empty_v<T> && !std::is_aggregate_v<T> && !is_type_template<T> &&
    (spelled<T>().find("<lambda") != std::string_view::npos || spelled<T>().find("(lambda") != std::string_view::npos ||
     spelled<T>().find("'lambda") != std::string_view::npos);

/// Classes without a name that are no lambdas: "<unnamed struct>" with g++, "(unnamed struct at ...)" or
/// "(anonymous struct at ...)" with clang, which also writes "(anonymous namespace)".
template <class T>
inline constexpr bool is_nameless = [] {
    for (const char* const mark : {"<unnamed ", "(unnamed ", "(anonymous struct", "(anonymous class"}) {
        if (spelled<T>().find(mark) != std::string_view::npos) return std::is_class_v<T>;
    }
    return false;
}();

/// Standard types that are views of memory that belongs to somebody else, or other pointers in disguise.
template <class T>
inline constexpr bool is_disguised_pointer =
    std::is_class_v<T> && is_std_type<T> &&
    (std::input_or_output_iterator<T> || (std::ranges::range<T> && std::ranges::borrowed_range<T>) ||
     requires(const T& t) { t.category(); } || spelled<T>().starts_with("std::type_index") ||
     spelled<T>().starts_with("std::source_location") ||
     spelled<T>().find("coroutine_handle<") != std::string_view::npos);
template <class T>
inline constexpr bool is_disguised_pointer<std::reference_wrapper<T>> = true;
template <class T>
inline constexpr bool is_disguised_pointer<std::initializer_list<T>> = true;
template <class F, class... Args>
inline constexpr bool is_disguised_pointer<task<F, Args...>> = true; // may hold a function

// --- whether an aggregate can be copied by its bytes: it can be initialised from values that convert to nothing else

template <class T>
constexpr bool is_plain_leaf();
template <class T>
constexpr bool says_how_it_travels();

// Converts to whatever cannot be opened into parts of its own; aggregates take the parts one by one (brace elision). A
// union counts as one part, as nobody can see which of its members is there, and so does what says itself how it
// travels. Such conversions are never called, but clang wants a definition where a class has no linkage.
template <bool Anything>
struct any_leaf {
    template <class T>
        requires((!std::is_aggregate_v<T> || std::is_union_v<T> || says_how_it_travels<T>()) &&
                 (Anything || is_plain_leaf<T>()))
    operator T() const noexcept {
        std::abort();
    }
};

// Converts to what counts as one part and is not plain: brace elision would look into it all the same.
struct any_closed {
    template <class T>
        requires((std::is_union_v<T> || says_how_it_travels<T>()) && !is_plain_leaf<T>())
    operator T() const noexcept {
        std::abort();
    }
};

template <class T, class Leaf, std::size_t... I>
constexpr bool takes_leaves(std::index_sequence<I...>) {
    return requires { T{(static_cast<void>(I), Leaf())...}; };
}
template <class T, std::size_t... I>
constexpr bool takes_closed_after(std::index_sequence<I...>) {
    return requires { T{(static_cast<void>(I), any_leaf<true>())..., any_closed()}; };
}
template <class T, std::size_t... I>
constexpr bool takes_closed_among(std::index_sequence<I...>) {
    return (takes_closed_after<T>(std::make_index_sequence<I>()) || ...);
}

/// How many leaves an aggregate has, counted up from the largest number that is known to fit.
template <class T, std::size_t Low, std::size_t High>
constexpr std::size_t leaf_count() {
    if constexpr (High - Low <= 1) {
        return Low;
    } else {
        constexpr std::size_t middle = Low + (High - Low) / 2;
        if constexpr (takes_leaves<T, any_leaf<true>>(std::make_index_sequence<middle>()))
            return leaf_count<T, middle, High>();
        else
            return leaf_count<T, Low, middle>();
    }
}

inline constexpr std::size_t most_leaves = 4096; // the compiler's time grows with their square

/// How many leaves an aggregate has: at most one for each byte, unless they are bit-fields.
template <class T>
constexpr std::size_t all_leaves() {
    constexpr std::size_t n = leaf_count<T, 0, std::min(sizeof(T), most_leaves) + 1>();
    if constexpr (n == sizeof(T) && n < most_leaves) {
        if constexpr (takes_leaves<T, any_leaf<true>>(std::make_index_sequence<n + 1>()))
            return leaf_count<T, n + 1, std::min(8 * sizeof(T), most_leaves) + 1>();
    }
    return n;
}

// A reference can be bound to a leaf's value; what has one cannot be assigned, nor made of nothing.
template <class T>
inline constexpr bool may_hold_reference =
    !std::is_copy_assignable_v<T> && !std::is_move_assignable_v<T> && !requires { T{}; };

// Up to here each leaf is asked whether it is a union or the like, the first member of which would be taken for all.
inline constexpr std::size_t most_leaves_asked = 256;

/// Too small for a pointer, or at an address that no pointer may have; unless it is packed.
template <class T>
inline constexpr bool too_small_for_pointers = alignof(T) < alignof(void*) || sizeof(T) < sizeof(void*);

template <std::size_t N>
struct bytes_of {
    std::byte bytes[N];
};
/// A bit_cast is constant only where nothing is a pointer, a reference or a union (or, for the compiler's own limits,
/// a bit-field, an array of pointers with g++ 12): it says so of packed classes, too.
template <class T>
concept constant_bits =
    requires { typename std::bool_constant<(static_cast<void>(__builtin_bit_cast(T, bytes_of<sizeof(T)>{})), true)>; };

/// For trivially copyable aggregates. Ones with too many parts to look into, or that cannot be made from their parts,
/// are taken for free of pointers only where they could not hold one for their alignment. What says itself how it
/// travels counts as a pointer: it is not to be copied unseen.
template <class T>
constexpr bool holds_pointers() {
    constexpr bool too_small = too_small_for_pointers<T> && (sizeof(T) < sizeof(void*) || constant_bits<T>);
    if constexpr (!too_small && may_hold_reference<T>) {
        return true;
    } else if constexpr (too_small && takes_leaves<T, any_leaf<true>>(std::make_index_sequence<65>())) {
        return false; // a large array of small numbers
    } else {
        constexpr std::size_t leaves = all_leaves<T>();
        if constexpr (leaves == 0 || leaves == most_leaves)
            return !too_small;
        else if constexpr (leaves > most_leaves_asked)
            return !constant_bits<T> || !takes_leaves<T, any_leaf<false>>(std::make_index_sequence<leaves>());
        else
            return !takes_leaves<T, any_leaf<false>>(std::make_index_sequence<leaves>()) ||
                   takes_closed_among<T>(std::make_index_sequence<leaves>());
    }
}

} // namespace joblot::detail
