// SPDX-License-Identifier: BSL-1.0
// Whether a value can be copied: a std::vector says yes whatever its elements are, and to try is then an error. And
// which tasks can be called again without a copy, so that nobody has to try.
#pragma once

#include <joblot/delayed.hpp>
#include <joblot/wire/kinds.hpp>

#include <concepts>
#include <functional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>

namespace joblot {

/// Whether joblot may copy values of a class that says it can be copied. A class with a private
/// `std::vector<std::unique_ptr<X>>` says so, and to try does not compile. Delete its copy constructor, or specialise:
/// `template <> inline constexpr bool joblot::enable_copy<mesh> = false;`. Tasks that would need a copy to be tried
/// again then refuse `retries`.
template <class T>
inline constexpr bool enable_copy = true;

namespace detail {

// `Outer`: what the type is a part of, so that types which hold their own kind have an end.
template <class T, class... Outer>
constexpr bool can_be_copied();

template <class Parts, class... Outer>
inline constexpr bool all_can_be_copied = false;
template <template <class...> class C, class... Parts, class... Outer>
inline constexpr bool all_can_be_copied<C<Parts...>, Outer...> =
    (can_be_copied<std::remove_cv_t<Parts>, Outer...>() && ...);

template <class T>
inline constexpr bool is_task_type = false;
template <class F, class... Args>
inline constexpr bool is_task_type<task<F, Args...>> = true;

template <class T, class... Outer>
constexpr bool parts_can_be_copied() {
    if constexpr (is_task_type<T> || is_std_pair<T> || is_std_tuple<T> || is_std_variant<T> || optional_like<T>)
        return all_can_be_copied<T, Outer...>;
    else if constexpr (is_std_array<T>)
        return can_be_copied<typename T::value_type, Outer...>();
    else if constexpr (is_std_type<T> && requires { typename T::container_type; })
        return can_be_copied<typename T::container_type, Outer...>();
    else if constexpr (is_std_type<T> && is_type_template<T> && requires { typename T::allocator_type; })
        return can_be_copied<std::remove_cv_t<typename T::value_type>, Outer...>();
    else if constexpr (!std::is_aggregate_v<T> || std::is_union_v<T> || std::is_trivially_copyable_v<T>)
        return true; // as it says
    else if constexpr (plain_field_count<T>() != 0)
        return all_can_be_copied<field_types<T>, Outer...>;
    else
        return true; // it cannot be taken apart
}

/// Classes of users are believed; of aggregates and standard types each part is asked.
template <class T, class... Outer>
constexpr bool can_be_copied() {
    if constexpr ((std::same_as<T, Outer> || ...))
        return true;
    else if constexpr (!enable_copy<T> || !std::is_copy_constructible_v<T>)
        return false;
    else if constexpr (std::is_class_v<T>)
        return parts_can_be_copied<T, Outer..., T>();
    else
        return true;
}

/// What a callable takes, where it has one signature and its call leaves it as it was; else `void`.
template <class Call>
struct parameters_of {
    using type = void;
};
template <class R, class... Ps>
struct parameters_of<R (*)(Ps...)> {
    using type = std::tuple<Ps...>*;
};
template <class R, class... Ps>
struct parameters_of<R (*)(Ps...) noexcept> : parameters_of<R (*)(Ps...)> {};
template <class R, class C, class... Ps>
struct parameters_of<R (C::*)(Ps...) const> : parameters_of<R (*)(Ps...)> {};
template <class R, class C, class... Ps>
struct parameters_of<R (C::*)(Ps...) const noexcept> : parameters_of<R (*)(Ps...)> {};
template <class F>
    requires requires { &F::operator(); }
struct parameters_of<F> : parameters_of<decltype(&F::operator())> {};
template <class F>
struct parameters_of<labelled<F>> : parameters_of<F> {};

/// Whether to pass a const `Arg` to a parameter `P` copies nothing but what surely can be copied.
template <class P, class Arg>
inline constexpr bool passed_as_it_is =
    std::is_trivially_copyable_v<Arg> || std::same_as<Arg, std::string> ||
    (std::is_lvalue_reference_v<P> && std::same_as<std::remove_reference_t<P>, const Arg>);

template <class Parameters, class... Args>
inline constexpr bool all_passed_as_they_are = false;
template <class... Ps, class... Args>
    requires(sizeof...(Ps) == sizeof...(Args))
inline constexpr bool all_passed_as_they_are<std::tuple<Ps...>*, Args...> = (passed_as_it_is<Ps, Args> && ...);

/// Whether a task can be called again as it is: a copy is neither made for the call nor by it.
template <class Task>
inline constexpr bool can_be_called_again = false;
template <class F, class... Args>
    requires all_passed_as_they_are<typename parameters_of<F>::type, Args...>
inline constexpr bool can_be_called_again<task<F, Args...>> = callable_with<const F&, const Args&...>;

/// Whether a task can be tried again.
template <class Task>
constexpr bool can_be_repeated() {
    if constexpr (can_be_called_again<Task>)
        return true;
    else
        return can_be_copied<Task>();
}

} // namespace detail

} // namespace joblot
