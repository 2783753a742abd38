// SPDX-License-Identifier: BSL-1.0
// `delayed(f)(args...)`: a call that is made later, perhaps somewhere else.
#pragma once

#include <joblot/core/requirements.hpp>

#include <concepts>
#include <functional>
#include <memory>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot {

namespace detail {

/// A callable with a name of its own.
template <class F>
struct labelled {
    F function;
    std::shared_ptr<const std::string> label; // shared: one string for all tasks that are made from one `delayed`

    template <class... Args>
        requires std::invocable<F&&, Args...>
    constexpr decltype(auto) operator()(Args&&... args) && {
        return std::invoke(std::move(function), std::forward<Args>(args)...);
    }
    template <class... Args>
        requires std::invocable<const F&, Args...>
    constexpr decltype(auto) operator()(Args&&... args) const& {
        return std::invoke(function, std::forward<Args>(args)...);
    }
};

/// What a call is made with: what `std::ref` and `std::cref` refer to, and other arguments as they are.
template <class T>
constexpr T&& unwrapped(T&& argument) noexcept {
    return std::forward<T>(argument);
}
template <class T>
constexpr T& unwrapped(const std::reference_wrapper<T>& argument) noexcept {
    return argument.get();
}
template <class T>
constexpr T& unwrapped(std::reference_wrapper<T>&& argument) noexcept {
    return argument.get();
}
template <class T>
constexpr T& unwrapped(std::reference_wrapper<T>& argument) noexcept {
    return argument.get();
}
/// Whether `f` can be called with stored arguments of these types, given as `std::forward` would give them.
template <class F, class... Args>
concept callable_with = std::invocable<F, decltype(unwrapped(std::declval<Args>()))...>;

// Not invoke_result_t alone: for a call that cannot be made the one diagnostic is the static_assert in `delayed`.
template <class F, class... Args>
struct task_result {
    using type = void;
};
template <class F, class... Args>
    requires callable_with<F, Args...>
struct task_result<F, Args...> {
    using type = std::decay_t<std::invoke_result_t<F, decltype(unwrapped(std::declval<Args>()))...>>;
};

} // namespace detail

/// A function and decayed copies of its arguments, not yet called. Made by `delayed(f)(args...)`.
///
/// A plain value: copyable and movable where `F` and `Args` are. The call is made with the arguments as rvalues, as
/// `std::thread` does: `f` may take them by value, by `const&` or by `&&`, and by `&` only through `std::ref`. What
/// `std::ref` and `std::cref` refer to is passed itself.
template <class F, class... Args>
class task {
public:
    /// What the call returns, decayed.
    using result_type = typename detail::task_result<F, Args...>::type;
    /// Whether the call can be made at all; `delayed` refuses to make other tasks.
    static constexpr bool callable = detail::callable_with<F, Args...>;

    constexpr task(F f, std::tuple<Args...> args) : function_(std::move(f)), arguments_(std::move(args)) {}

    /// Makes the call, with the stored arguments moved into it.
    constexpr decltype(auto) operator()() && {
        return std::apply(
            [&](Args&... args) -> decltype(auto) {
                return std::invoke(std::move(function_), detail::unwrapped(std::move(args))...);
            },
            arguments_);
    }
    /// Makes the call and leaves the task as it was, so that it can be made again.
    constexpr decltype(auto) operator()() const&
        requires detail::callable_with<const F&, const Args&...>
    {
        return std::apply(
            [&](const Args&... args) -> decltype(auto) { return std::invoke(function_, detail::unwrapped(args)...); },
            arguments_);
    }

    /// The function.
    [[nodiscard]] constexpr const F& function() const& noexcept { return function_; }
    [[nodiscard]] constexpr F&& function() && noexcept { return std::move(function_); }
    /// The stored arguments.
    [[nodiscard]] constexpr const std::tuple<Args...>& arguments() const& noexcept { return arguments_; }
    [[nodiscard]] constexpr std::tuple<Args...>&& arguments() && noexcept { return std::move(arguments_); }

private:
    [[no_unique_address]] F function_;
    std::tuple<Args...> arguments_;
};

/// What `delayed` returns: called with arguments, it gives a `task`. Copyable where `F` is; const calls are thread-safe
/// where copying `F` is.
template <class F>
class delayed_function {
public:
    constexpr explicit delayed_function(F f) : function_(std::move(f)) {}

    /// Captures the arguments, decayed, as `std::make_tuple` would, but keeps `std::reference_wrapper`s.
    template <class... Args>
    [[nodiscard]] constexpr task<F, std::decay_t<Args>...> operator()(Args&&... args) const&
        requires std::copy_constructible<F>
    {
        check_arguments<std::decay_t<Args>...>();
        if constexpr (can_be_stored<Args...>())
            return {function_, std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)};
        else
            __builtin_unreachable();
    }
    template <class... Args>
    [[nodiscard]] constexpr task<F, std::decay_t<Args>...> operator()(Args&&... args) && {
        check_arguments<std::decay_t<Args>...>();
        if constexpr (can_be_stored<Args...>())
            return {std::move(function_), std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)};
        else
            __builtin_unreachable();
    }

private:
    template <class... Args>
    static constexpr void check_arguments() {
        static_assert(detail::callable_with<F, Args...>,
                      "joblot: the function cannot be called with these arguments (they are passed as rvalues of their "
                      "decayed types; use std::ref for a parameter that is a non-const reference, and give the object "
                      "first to a pointer to member)");
    }

    // Says in one diagnostic what the tuple would say in many.
    template <class... Args>
    static constexpr bool can_be_stored() {
        constexpr bool storable = (std::is_constructible_v<std::decay_t<Args>, Args> && ...);
        static_assert(storable, "joblot: an argument can only be moved, and this one is not ours to move from; pass it "
                                "with std::move, or as std::ref(argument)");
        return storable;
    }

    [[no_unique_address]] F function_;
};

namespace detail {
template <class T>
inline constexpr bool looks_callable = std::is_class_v<T> || std::is_union_v<T> || std::is_member_pointer_v<T> ||
                                       (std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>);
template <class F>
constexpr void check_callable() {
    static_assert(looks_callable<std::decay_t<F>>,
                  "joblot: delayed() needs something callable: a function, a lambda, a functor or a pointer to member");
}
} // namespace detail

/// Makes a function's calls deferred: `delayed(f)(args...)` is a `task`, to be run by a `Parallel`.
///
/// @param f Anything `std::invoke` takes: a function, a lambda, a functor, a pointer to member. Copied or moved in.
template <class F>
[[nodiscard]] constexpr auto delayed(F&& f) {
    detail::check_callable<F>();
    return delayed_function<std::decay_t<F>>(std::forward<F>(f));
}

/// The same, with the name that progress, errors and dashboards show instead of the function's own.
template <class F>
[[nodiscard]] auto delayed(F&& f, std::string label) {
    detail::check_callable<F>();
    using named = detail::labelled<std::decay_t<F>>;
    return delayed_function<named>(named{std::forward<F>(f), std::make_shared<const std::string>(std::move(label))});
}

/// Says where the arguments belong.
template <class F, class A, class... As>
    requires(sizeof...(As) > 0 || !std::is_convertible_v<A, std::string>)
[[nodiscard]] auto delayed(F&& f, A&& first, As&&... others) {
    static_assert(std::is_void_v<A>, "joblot: arguments go into parentheses of their own: delayed(f)(1) instead of "
                                     "delayed(f, 1); behind f stands nothing but a label: delayed(f, \"label\")");
    return delayed(std::forward<F>(f))(std::forward<A>(first), std::forward<As>(others)...);
}

namespace detail {
template <class T>
inline constexpr bool is_delayed = false;
template <class F>
inline constexpr bool is_delayed<delayed_function<F>> = true;

template <class T>
inline constexpr bool is_task = false;
template <class F, class... Args>
inline constexpr bool is_task<task<F, Args...>> = true;
} // namespace detail

/// Any input range of tasks: a view pipeline, a container of tasks, a range of unknown or infinite length.
template <class R>
concept task_range =
    std::ranges::input_range<R> && detail::is_task<std::remove_cvref_t<std::ranges::range_reference_t<R>>>;

/// The decayed result type of a task.
template <class T>
using task_result_t = typename std::remove_cvref_t<T>::result_type;

} // namespace joblot
