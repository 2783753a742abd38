// SPDX-License-Identifier: BSL-1.0
// Which types can travel to another process, and in which way: decided at compile time, for every type of a task.
#pragma once

#include <joblot/broadcast.hpp>
#include <joblot/travel.hpp>
#include <joblot/wire/error_codes.hpp>
#include <joblot/wire/fields.hpp>
#include <joblot/wire/shape.hpp>
#include <joblot/wire/user_functions.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory>
#include <ranges>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace joblot::detail {

// --- what a class's author says of it

template <class T>
concept declared = complete<travel<T>>;
template <class T>
inline constexpr bool declared_as_container = false;
template <declared T>
inline constexpr bool declared_as_container<T> = std::is_base_of_v<travels_as_container, travel<T>>;

// --- ways of travelling

/// How values of a type are written.
enum class way {
    none,            ///< not at all, as far as can be seen
    empty,           ///< nothing is written: the type says it all
    raw,             ///< its bytes
    function,        ///< a function by module and offset
    member_function, ///< likewise
    declared,        ///< by the functions of its `travel`
    user,            ///< by its cereal functions
    handle,          ///< a `broadcasted`
    array,           ///< `std::array` of elements that are not raw
    pair,            ///< `std::pair`
    tuple,           ///< `std::tuple`
    optional,        ///< a flag, and the value
    variant,         ///< the alternative's number and value
    pointer,         ///< `std::unique_ptr`: a flag, and the value
    shared,          ///< `std::shared_ptr`: a number, and at the first time the value
    text,            ///< a path: as its string
    block,           ///< a contiguous container of raw elements: out of band where it is large
    sequence,        ///< any other container: its elements
    adaptor,         ///< `std::queue` and its kin: the container inside
    fields           ///< an aggregate: field by field
};

// `Outer` are the aggregates that a type is part of, so that a tree's nodes, which hold nodes, have an end: a type
// travels if it does as long as its own parts of the same type do.
template <class T, class... Outer>
constexpr way way_of();
template <class T, class... Outer>
inline constexpr way way_v = way_of<std::remove_cv_t<T>, Outer...>();

template <class T, class... Outer>
constexpr bool travels_within() {
    if constexpr ((std::same_as<std::remove_cv_t<T>, Outer> || ...))
        return true;
    else
        return way_v<T, Outer...> != way::none;
}
template <class T, class... Outer>
inline constexpr bool travels = travels_within<T, Outer...>();

template <class T, class... Outer>
constexpr bool raw_within() {
    if constexpr ((std::same_as<std::remove_cv_t<T>, Outer> || ...))
        return false; // what holds more of its own kind does so by a container or a pointer
    else
        return way_v<T, Outer...> == way::raw || way_v<T, Outer...> == way::empty;
}
template <class T, class... Outer>
inline constexpr bool is_raw = raw_within<T, Outer...>();

template <class T>
constexpr bool is_plain_leaf() {
    return is_raw<T>;
}
template <class T>
constexpr bool says_how_it_travels() {
    return declared<T> || has_user_functions<T>;
}

template <class T>
inline constexpr bool is_empty_class = false;
template <complete T>
inline constexpr bool is_empty_class<T> = std::is_empty_v<T>;

/// Whether all type arguments of a standard template travel; its allocators and comparators are empty and do.
template <class T, class... Outer>
inline constexpr bool arguments_travel = true;
template <template <class...> class C, class... Args, class... Outer>
inline constexpr bool arguments_travel<C<Args...>, Outer...> =
    ((travels<Args, Outer...> || is_empty_class<Args>) && ...);

template <class T, class... Outer>
inline constexpr bool arguments_are_raw = true;
template <template <class...> class C, class... Args, class... Outer>
inline constexpr bool arguments_are_raw<C<Args...>, Outer...> =
    ((is_raw<Args, Outer...> || is_empty_class<Args>) && ...);

// A comparator, a hash, an allocator is made anew on the other side: one with a state of its own would be another one
// there. (Which memory a pmr container used is nobody's business there.)
template <class T>
inline constexpr bool rules_travel = [] {
    bool all = true;
    if constexpr (requires { typename T::allocator_type; })
        all = is_empty_class<typename T::allocator_type> ||
              spelled<typename T::allocator_type>().starts_with("std::pmr::polymorphic_allocator<");
    if (!all) return false;
    if constexpr (requires { typename T::key_compare; })
        all = std::is_empty_v<typename T::key_compare>;
    else if constexpr (requires { typename T::value_compare; }) // of a priority queue
        all = std::is_empty_v<typename T::value_compare>;
    if constexpr (requires { typename T::hasher; })
        all = std::is_empty_v<typename T::hasher> && std::is_empty_v<typename T::key_equal>;
    return all;
}();

template <class T>
inline constexpr bool is_std_pair = false;
template <class A, class B>
inline constexpr bool is_std_pair<std::pair<A, B>> = true;
template <class T>
inline constexpr bool is_std_tuple = false;
template <class... Ts>
inline constexpr bool is_std_tuple<std::tuple<Ts...>> = true;
template <class T>
inline constexpr bool is_std_variant = false;
template <class... Ts>
inline constexpr bool is_std_variant<std::variant<Ts...>> = true;
// What a pointer points to: the object itself, and not one of a derived class.
template <class T>
inline constexpr bool is_plain_object = false;
template <complete T>
inline constexpr bool is_plain_object<T> = !std::is_array_v<T> && !std::is_polymorphic_v<T>;
template <class T>
inline constexpr bool is_unique_pointer = false;
template <class T>
inline constexpr bool is_unique_pointer<std::unique_ptr<T>> = is_plain_object<T>;
template <class T>
inline constexpr bool is_shared_pointer = false;
template <class T>
inline constexpr bool is_shared_pointer<std::shared_ptr<T>> = is_plain_object<T>;
template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

template <class T>
concept path_like = is_std_type<T> && std::ranges::range<T> && requires(const T& t, typename T::string_type s) {
    { t.native() } -> std::same_as<const typename T::string_type&>;
    T(std::move(s));
};

template <class T>
concept optional_like = is_std_type<T> && requires(T& t, const T& c) {
    typename T::value_type;
    { c.has_value() } -> std::same_as<bool>;
    { *c } -> std::convertible_to<const typename T::value_type&>;
    t.reset();
};

// An owner of elements that can be made from a pair of iterators: a standard one, or one that its author calls so. What
// only looks like one, or derives from one, may hold more than its elements.
template <class T>
concept container = (is_std_type<T> || declared_as_container<T>) && std::ranges::input_range<T> &&
                    !std::ranges::view<T> && !std::ranges::borrowed_range<T> && requires { typename T::value_type; };

/// The element type in the form in which one is decoded: a map's keys are not const then.
template <class T>
struct decoded_element {
    using type = std::remove_cv_t<T>;
};
template <class K, class V>
struct decoded_element<std::pair<const K, V>> {
    using type = std::pair<K, V>;
};
template <container C>
using element_of = typename decoded_element<typename C::value_type>::type;

template <class C>
inline constexpr bool made_from_elements =
    std::constructible_from<C, std::move_iterator<element_of<C>*>, std::move_iterator<element_of<C>*>>;

template <class C, class... Outer>
inline constexpr bool made_from_block = [] {
    using element = std::remove_cv_t<typename C::value_type>;
    return std::ranges::contiguous_range<const C> && is_raw<element, Outer...> && !std::same_as<element, bool> &&
           (std::constructible_from<C, const element*, const element*> ||
            std::constructible_from<C, const element*, std::size_t>);
}();

template <class T>
concept container_adaptor = is_std_type<T> && !std::ranges::range<T> && requires(T& t) {
    typename T::container_type;
    t.pop();
} && container<typename T::container_type>;

template <class T, class... Outer>
constexpr way way_of_container() {
    if constexpr (path_like<T>)
        return way::text;
    else if constexpr (!travels<element_of<T>, Outer..., T>) // it may be made of its own kind
        return way::none;
    else if constexpr (made_from_block<T, Outer..., T>)
        return way::block;
    else
        return made_from_elements<T> ? way::sequence : way::none;
}

template <class Fields, class... Outer>
inline constexpr bool all_travel = false;
template <class... F, class... Outer>
inline constexpr bool all_travel<std::tuple<F...>, Outer...> =
    ((travels<F, Outer...> && !std::is_volatile_v<F>) && ...);

template <class T>
inline constexpr bool copied_by_bytes =
    std::is_trivially_copyable_v<T> && !std::is_polymorphic_v<T> && std::is_move_constructible_v<T>;

template <class T>
constexpr bool is_raw_aggregate() {
    if constexpr (!copied_by_bytes<T>)
        return false;
    else if constexpr (is_std_array<T>)
        return is_raw<typename T::value_type>;
    else
        return !holds_pointers<T>();
}

template <class T, class... Outer>
constexpr way way_of_aggregate() {
    if constexpr (is_raw_aggregate<T>()) {
        return way::raw;
    } else if constexpr (is_std_array<T>) {
        return travels<typename T::value_type, Outer...> ? way::array : way::none;
    } else if constexpr (!std::is_move_constructible_v<T>) {
        return way::none;
    } else if constexpr (plain_field_count<T>() == 0) {
        return way::none;
    } else {
        return all_travel<field_types<T>, Outer..., T> ? way::fields : way::none;
    }
}

template <class T, class... Outer>
constexpr way way_of_std_template() {
    if constexpr (!arguments_travel<T, Outer...> || !rules_travel<T>) {
        return way::none;
    } else {
        if constexpr (container<T>) return way_of_container<T, Outer...>();
        // never raw: a map's pairs have const keys, and are trivially copyable where a decoded pair is not
        if constexpr (is_std_pair<T>) return way::pair;
        if constexpr (is_std_tuple<T>) return way::tuple;
        // nor these: what says which value is there must be checked
        if constexpr (is_std_variant<T>) return way::variant;
        if constexpr (optional_like<T>) return way::optional;
        if constexpr (copied_by_bytes<T>) {
            if constexpr (arguments_are_raw<T, Outer...>) return way::raw;
        }
        if constexpr (is_unique_pointer<T>) return way::pointer;
        if constexpr (is_shared_pointer<T>) return way::shared;
        if constexpr (container_adaptor<T>) return way::adaptor;
        return way::none;
    }
}

template <class T, class... Outer>
constexpr way way_of_std_class() {
    if constexpr (is_disguised_pointer<T>)
        return way::none;
    else if constexpr (is_type_template<T>)
        return way_of_std_template<T, Outer...>();
    else if constexpr (container<T>)
        return way_of_container<T, Outer...>();
    else
        return copied_by_bytes<T> && !may_hold_reference<T> ? way::raw : way::none;
}

template <declared T, class... Outer>
constexpr way way_of_declared() {
    using how = travel<T>;
    if constexpr (std::is_base_of_v<never_travels, how>) {
        return way::none;
    } else if constexpr (std::is_base_of_v<travels_as_bytes, how>) {
        static_assert(copied_by_bytes<T>, "joblot: a class that is not trivially copyable cannot travel as its bytes");
        return way::raw;
    } else if constexpr (std::is_base_of_v<travels_as_container, how>) {
        static_assert(container<T>, "joblot: travels_as_container is for a class with value_type, begin() and end()");
        return way_of_container<T, Outer...>();
    } else if constexpr (requires { how::possible; }) {
        return how::possible ? way::declared : way::none;
    } else {
        return way::declared;
    }
}

template <class T, class... Outer>
constexpr way way_of_class() {
    if constexpr (!complete<T>)
        return way::none;
    else if constexpr (declared<T>)
        return way_of_declared<T, Outer...>();
    else if constexpr (is_broadcasted<T>)
        return travels<typename T::value_type, Outer...> ? way::handle : way::none;
    else if constexpr (std::is_empty_v<T> && std::is_trivially_copyable_v<T>)
        return way::empty;
    else if constexpr (is_closure_with_captures<T> || is_disguised_pointer<T>)
        return way::none;
    else if constexpr (has_user_functions<T>)
        return std::is_default_constructible_v<T> ? way::user : way::none;
    else if constexpr (std::is_union_v<T>)
        return copied_by_bytes<T> && too_small_for_pointers<T> ? way::raw : way::none;
    else if constexpr (std::is_aggregate_v<T>)
        return way_of_aggregate<T, Outer...>();
    else if constexpr (is_std_type<T>)
        return way_of_std_class<T, Outer...>();
    else // nobody can see into it: only its author can say that its bytes mean the same elsewhere
        return copied_by_bytes<T> && too_small_for_pointers<T> ? way::raw : way::none;
}

// The standard's numbers, and those that compilers add (128 bits, vectors): whatever is no class and refers to nothing.
template <class T>
inline constexpr bool is_number =
    std::is_object_v<T> && !std::is_class_v<T> && !std::is_union_v<T> && !std::is_array_v<T> && !std::is_pointer_v<T> &&
    !std::is_null_pointer_v<T> && !std::is_member_function_pointer_v<T>;

template <class T, class... Outer>
constexpr way way_of() {
    if constexpr (is_number<T>)
        return way::raw;
    else if constexpr (std::is_pointer_v<T>)
        return std::is_function_v<std::remove_pointer_t<T>> ? way::function : way::none;
    else if constexpr (std::is_member_function_pointer_v<T>)
        return way::member_function;
    else if constexpr (std::is_class_v<T> || std::is_union_v<T>)
        return way_of_class<T, Outer...>();
    else
        return way::none;
}

} // namespace joblot::detail
