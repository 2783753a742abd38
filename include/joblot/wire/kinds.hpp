// SPDX-License-Identifier: BSL-1.0
// Which types can travel to another process, and in which way: decided at compile time, for every type of a task.
#pragma once

#include <joblot/broadcast.hpp>
#include <joblot/wire/fields.hpp>
#include <joblot/wire/shape.hpp>

#include <cereal/cereal.hpp>

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

// --- user types with cereal's functions

// An archive that knows nothing but cereal's own rules: what it can write has functions that were written for cereal.
namespace probe {
struct output : cereal::OutputArchive<output> {
    output() : OutputArchive(this) {}
};
} // namespace probe

// What cereal::traits would find out, with a fraction of its templates: every task type of every program comes by here.
template <class T>
concept has_member_serialize = requires(T& t, probe::output& out) { cereal::access::member_serialize(out, t); } ||
                               requires(T& t, probe::output& out) { cereal::access::member_serialize(out, t, 0U); };
template <class T>
concept has_member_save = requires(const T& t, probe::output& out) { cereal::access::member_save(out, t); } ||
                          requires(const T& t, probe::output& out) { cereal::access::member_save(out, t, 0U); } ||
                          requires(const T& t, probe::output& out) { cereal::access::member_save_minimal(out, t); };
namespace probe {
// The functions beside a class are found by its namespace; these make the names known.
void serialize(); // NOLINT: never defined
void save();
void save_minimal();
template <class T>
concept has_free_functions = requires(T& t, output& out) { serialize(out, t); } || requires(T& t, output& out) {
    serialize(out, t, 0U);
} || requires(const T& t, output& out) { save(out, t); } || requires(const T& t, output& out) { save_minimal(out, t); };
} // namespace probe

template <class T>
concept has_cereal_functions = std::is_class_v<T> && !is_std_type<T> &&
                               (has_member_serialize<T> || has_member_save<T> || probe::has_free_functions<T>);

// --- ways of travelling

/// How values of a type are written.
enum class way {
    none,            ///< not at all
    empty,           ///< nothing is written: the type says it all
    raw,             ///< its bytes
    function,        ///< a function by module and offset
    member_function, ///< likewise
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

/// Whether all type arguments of a standard template travel; its allocators and comparators are empty and do.
template <class T, class... Outer>
inline constexpr bool arguments_travel = true;
template <template <class...> class C, class... Args, class... Outer>
inline constexpr bool arguments_travel<C<Args...>, Outer...> =
    ((travels<Args, Outer...> || std::is_empty_v<Args>) && ...);

template <class T, class... Outer>
inline constexpr bool arguments_are_raw = true;
template <template <class...> class C, class... Args, class... Outer>
inline constexpr bool arguments_are_raw<C<Args...>, Outer...> =
    ((is_raw<Args, Outer...> || std::is_empty_v<Args>) && ...);

// A comparator or a hash is made anew on the other side: one with a state of its own would be another one there.
template <class T>
inline constexpr bool rules_travel = [] {
    bool all = true;
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
template <class T>
inline constexpr bool is_unique_pointer = false;
template <class T>
inline constexpr bool is_unique_pointer<std::unique_ptr<T>> = !std::is_array_v<T> && !std::is_polymorphic_v<T>;
template <class T>
inline constexpr bool is_shared_pointer = false;
template <class T>
inline constexpr bool is_shared_pointer<std::shared_ptr<T>> = !std::is_array_v<T> && !std::is_polymorphic_v<T>;
template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

template <class T>
concept path_like = std::ranges::range<T> && requires(const T& t, typename T::string_type s) {
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

// An owner of elements that can be made from a pair of iterators.
template <class T>
concept container = std::ranges::input_range<T> && !std::ranges::view<T> && !std::ranges::borrowed_range<T> &&
                    requires { typename T::value_type; };

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
    else if constexpr (!travels<element_of<T>, Outer...> || !arguments_travel<T, Outer...> || !rules_travel<T>)
        return way::none;
    else if constexpr (made_from_block<T, Outer...>)
        return way::block;
    else
        return made_from_elements<T> ? way::sequence : way::none;
}

template <class Fields, class... Outer>
inline constexpr bool all_travel = false;
template <class... F, class... Outer>
inline constexpr bool all_travel<std::tuple<F...>, Outer...> = (travels<F, Outer...> && ...);

template <class T>
constexpr bool is_raw_aggregate() {
    if constexpr (!std::is_trivially_copyable_v<T>)
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
    } else if constexpr (!std::is_move_constructible_v<T> || plain_field_count<T>() == 0) {
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
        // never raw: a map's pairs have const keys, and are trivially copyable where a decoded pair is not
        if constexpr (is_std_pair<T>) return way::pair;
        if constexpr (is_std_tuple<T>) return way::tuple;
        // nor these: what says which value is there must be checked
        if constexpr (is_std_variant<T>) return way::variant;
        if constexpr (optional_like<T>) return way::optional;
        if constexpr (std::is_trivially_copyable_v<T>) {
            if constexpr (arguments_are_raw<T, Outer...>) return way::raw;
        }
        if constexpr (is_unique_pointer<T>) return way::pointer;
        if constexpr (is_shared_pointer<T>) return way::shared;
        if constexpr (container_adaptor<T>) return way::adaptor;
        return way::none;
    }
}

template <class T, class... Outer>
constexpr way way_of_class() {
    if constexpr (is_broadcasted<T>)
        return travels<typename T::value_type, Outer...> ? way::handle : way::none;
    else if constexpr (std::is_empty_v<T> && std::is_trivially_copyable_v<T>)
        return way::empty;
    else if constexpr (is_closure_with_captures<T>)
        return way::none;
    else if constexpr (has_cereal_functions<T>)
        return std::is_default_constructible_v<T> ? way::user : way::none;
    else if constexpr (is_disguised_pointer<T>)
        return way::none;
    else if constexpr (container<T> && !std::is_aggregate_v<T>)
        return way_of_container<T, Outer...>();
    else if constexpr (std::is_aggregate_v<T> && !std::is_union_v<T>)
        return way_of_aggregate<T, Outer...>();
    else if constexpr (is_std_type<T> && is_type_template<T>)
        return way_of_std_template<T, Outer...>();
    else
        return std::is_trivially_copyable_v<T> && !std::is_polymorphic_v<T> && std::is_move_constructible_v<T> &&
                       !may_hold_reference<T>
                   ? way::raw
                   : way::none;
}

template <class T, class... Outer>
constexpr way way_of() {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> || std::is_member_object_pointer_v<T>)
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
