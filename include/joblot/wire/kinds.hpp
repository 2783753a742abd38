// SPDX-License-Identifier: BSL-1.0
// Which types can travel to another process, and in which way: decided at compile time, for every type of a task.
#pragma once

#include <joblot/broadcast.hpp>

#include <cereal/cereal.hpp>

#include <boost/pfr/core.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ranges>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace joblot::detail {

// --- what a type is, as far as its name and shape tell

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
     requires(const T& t) { t.category(); });
template <class T>
inline constexpr bool is_disguised_pointer<std::reference_wrapper<T>> = true;
template <class T>
inline constexpr bool is_disguised_pointer<std::initializer_list<T>> = true;

// --- whether an aggregate holds pointers: it can be initialised from values that convert to anything but pointers

// Converts to whatever cannot be opened into parts of its own; aggregates take the parts one by one (brace elision).
template <bool PointersToo>
struct any_leaf {
    template <class T>
        requires(!std::is_aggregate_v<T> && !is_closure_with_captures<T> && !is_disguised_pointer<T> &&
                 (PointersToo || !(std::is_pointer_v<T> || std::is_null_pointer_v<T>)))
    operator T() const noexcept;
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

/// For trivially copyable aggregates. Ones too large to look into, or that cannot be made from their parts, are taken
/// for free of pointers only where they could not hold one for their alignment.
template <class T>
constexpr bool holds_pointers() {
    if constexpr (alignof(T) < alignof(void*) || sizeof(T) < sizeof(void*)) {
        return false;
    } else if constexpr (sizeof(T) > 4096) {
        return !takes_leaves<T, any_leaf<false>>(std::make_index_sequence<1>());
    } else {
        constexpr std::size_t leaves = leaf_count<T, 0, sizeof(T) + 1>();
        return leaves == 0 || !takes_leaves<T, any_leaf<false>>(std::make_index_sequence<leaves>());
    }
}

// --- whether an aggregate is one that its fields can be named of: no C arrays, no base classes

struct any_value {
    template <class T>
    operator T() const noexcept;
};
// Converts to base classes of T only.
template <class T>
struct any_base {
    template <class B>
        requires(std::is_base_of_v<B, T> && !std::same_as<B, T>)
    operator B() const noexcept;
};

template <class T, std::size_t Low, std::size_t High>
constexpr std::size_t initializer_count() {
    if constexpr (High == Low) {
        return Low;
    } else {
        constexpr auto takes = []<std::size_t... I>(std::index_sequence<I...>) {
            return requires { T{(static_cast<void>(I), any_value())...}; };
        };
        if constexpr (takes(std::make_index_sequence<High>()))
            return High;
        else
            return initializer_count<T, Low, High - 1>();
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

inline constexpr std::size_t most_fields = 64;

/// For aggregates. What Boost.PFR cannot take apart must not reach it: its error would be every user's.
template <class T>
constexpr bool has_plain_fields() {
    constexpr std::size_t n = initializer_count<T, 0, most_fields + 1>();
    if constexpr (n == 0 || n > most_fields || requires { T{any_base<T>()}; })
        return false;
    else
        return !has_c_array<T, n>(std::make_index_sequence<n>());
}

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

template <class T>
constexpr way way_of();
template <class T>
inline constexpr way way_v = way_of<std::remove_cv_t<T>>();
template <class T>
inline constexpr bool travels = way_v<T> != way::none;

template <class T>
inline constexpr bool is_raw = way_v<T> == way::raw || way_v<T> == way::empty;

/// Whether all type arguments of a standard template travel; its allocators and comparators are empty and do.
template <class T>
inline constexpr bool arguments_travel = true;
template <template <class...> class C, class... Args>
inline constexpr bool arguments_travel<C<Args...>> = ((travels<Args> || std::is_empty_v<Args>) && ...);

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

template <class C>
inline constexpr bool made_from_block = [] {
    using element = std::remove_cv_t<typename C::value_type>;
    return std::ranges::contiguous_range<const C> && is_raw<element> && !std::same_as<element, bool> &&
           (std::constructible_from<C, const element*, const element*> ||
            std::constructible_from<C, const element*, std::size_t>);
}();

template <class T>
concept container_adaptor = is_std_type<T> && !std::ranges::range<T> && requires(T& t) {
    typename T::container_type;
    t.pop();
} && container<typename T::container_type>;

template <class T>
constexpr way way_of_container() {
    if constexpr (path_like<T>)
        return way::text;
    else if constexpr (!travels<element_of<T>> || !arguments_travel<T>)
        return way::none;
    else if constexpr (made_from_block<T>)
        return way::block;
    else
        return made_from_elements<T> ? way::sequence : way::none;
}

template <class T, std::size_t... I>
constexpr bool fields_travel(std::index_sequence<I...>) {
    return (travels<boost::pfr::tuple_element_t<I, T>> && ...);
}

template <class T>
constexpr way way_of_aggregate() {
    if constexpr (std::is_trivially_copyable_v<T>) {
        if constexpr (is_std_array<T>) return is_raw<typename T::value_type> ? way::raw : way::none;
        return holds_pointers<T>() ? way::none : way::raw;
    } else if constexpr (is_std_array<T>) {
        return travels<typename T::value_type> ? way::array : way::none;
    } else if constexpr (!std::is_move_constructible_v<T> || !has_plain_fields<T>()) {
        return way::none;
    } else {
        return fields_travel<T>(std::make_index_sequence<boost::pfr::tuple_size_v<T>>()) ? way::fields : way::none;
    }
}

template <class T>
constexpr way way_of_std_template() {
    if constexpr (!arguments_travel<T>) return way::none;
    // never raw: a map's pairs have const keys, and are trivially copyable where a decoded pair is not
    if constexpr (is_std_pair<T>) return way::pair;
    if constexpr (is_std_tuple<T>) return way::tuple;
    if constexpr (std::is_trivially_copyable_v<T>) return way::raw;
    if constexpr (optional_like<T>) return way::optional;
    if constexpr (is_std_variant<T>) return way::variant;
    if constexpr (is_unique_pointer<T>) return way::pointer;
    if constexpr (is_shared_pointer<T>) return way::shared;
    if constexpr (container_adaptor<T>) return way::adaptor;
    return way::none;
}

template <class T>
constexpr way way_of_class() {
    if constexpr (is_broadcasted<T>)
        return travels<typename T::value_type> ? way::handle : way::none;
    else if constexpr (std::is_empty_v<T> && std::is_trivially_copyable_v<T>)
        return way::empty;
    else if constexpr (is_closure_with_captures<T>)
        return way::none;
    else if constexpr (has_cereal_functions<T>)
        return std::is_default_constructible_v<T> ? way::user : way::none;
    else if constexpr (is_disguised_pointer<T>)
        return way::none;
    else if constexpr (container<T> && !std::is_aggregate_v<T>)
        return way_of_container<T>();
    else if constexpr (std::is_aggregate_v<T> && !std::is_union_v<T>)
        return way_of_aggregate<T>();
    else if constexpr (is_std_type<T> && is_type_template<T>)
        return way_of_std_template<T>();
    else
        return std::is_trivially_copyable_v<T> && !std::is_polymorphic_v<T> ? way::raw : way::none;
}

template <class T>
constexpr way way_of() {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> || std::is_member_object_pointer_v<T>)
        return way::raw;
    else if constexpr (std::is_pointer_v<T>)
        return std::is_function_v<std::remove_pointer_t<T>> ? way::function : way::none;
    else if constexpr (std::is_member_function_pointer_v<T>)
        return way::member_function;
    else if constexpr (std::is_class_v<T> || std::is_union_v<T>)
        return way_of_class<T>();
    else
        return way::none;
}

} // namespace joblot::detail
