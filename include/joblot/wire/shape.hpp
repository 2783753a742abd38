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

/// Views of memory that belongs to somebody else, and other things that are pointers in disguise.
template <class T>
inline constexpr bool is_disguised_pointer =
    std::is_class_v<T> &&
    (std::input_or_output_iterator<T> || (std::ranges::range<T> && std::ranges::borrowed_range<T>) ||
     (is_std_type<T> && requires(const T& t) { t.category(); }) || spelled<T>().starts_with("std::type_index") ||
     spelled<T>().starts_with("std::source_location"));
template <class T>
inline constexpr bool is_disguised_pointer<std::reference_wrapper<T>> = true;
template <class T>
inline constexpr bool is_disguised_pointer<std::initializer_list<T>> = true;
template <class F, class... Args>
inline constexpr bool is_disguised_pointer<task<F, Args...>> = true; // may hold a function

// --- whether an aggregate can be copied by its bytes: it can be initialised from values that convert to nothing else

template <class T>
constexpr bool is_plain_leaf();

// Converts to whatever cannot be opened into parts of its own; aggregates take the parts one by one (brace elision).
// Such conversions are never called, but clang wants a definition where a class has no linkage.
template <bool Anything>
struct any_leaf {
    template <class T>
        requires(!std::is_aggregate_v<T> && (Anything || is_plain_leaf<T>()))
    operator T() const noexcept {
        std::abort();
    }
};

template <class T, class Leaf, std::size_t... I>
constexpr bool takes_leaves(std::index_sequence<I...>) {
    return requires { T{(static_cast<void>(I), Leaf())...}; };
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

// A reference can be bound to a leaf's value; what has one cannot be assigned, nor made of nothing.
template <class T>
inline constexpr bool may_hold_reference =
    !std::is_copy_assignable_v<T> && !std::is_move_assignable_v<T> && !requires { T{}; };

/// For trivially copyable aggregates. Ones with too many parts to look into, or that cannot be made from their parts,
/// are taken for free of pointers only where they could not hold one for their alignment.
template <class T>
constexpr bool holds_pointers() {
    if constexpr (alignof(T) < alignof(void*) || sizeof(T) < sizeof(void*)) {
        return false;
    } else if constexpr (may_hold_reference<T>) {
        return true;
    } else {
        constexpr std::size_t leaves = leaf_count<T, 0, std::min(sizeof(T), most_leaves) + 1>();
        return leaves == 0 || leaves == most_leaves ||
               !takes_leaves<T, any_leaf<false>>(std::make_index_sequence<leaves>());
    }
}

} // namespace joblot::detail
