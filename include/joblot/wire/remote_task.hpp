// SPDX-License-Identifier: BSL-1.0
// Tasks between processes: which can be sent, how one is written, and what runs it where it has arrived.
#pragma once

#include <joblot/delayed.hpp>
#include <joblot/persisted.hpp>
#include <joblot/wire/codec.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot {

namespace detail {

// --- what the function takes, where it says so

template <class F>
struct parameters {
    using type = void; // overloaded or generic: it takes what it is given
};
template <class R, class... P>
struct parameters<R (*)(P...)> {
    using type = std::tuple<std::type_identity<P>...>;
};
template <class R, class... P>
struct parameters<R (*)(P...) noexcept> : parameters<R (*)(P...)> {};
template <class M>
struct call_operator;
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...)> : parameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...) const> : parameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...) noexcept> : parameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...) const noexcept> : parameters<R (*)(P...)> {};
template <class F>
    requires requires { typename call_operator<decltype(&F::operator())>::type; }
struct parameters<F> : call_operator<decltype(&F::operator())> {};

template <class F>
struct parameters<persisting_call<F>> : parameters<F> {};

/// The decayed type of parameter I, or void.
template <class F, std::size_t I>
constexpr auto parameter_of() {
    using list = typename parameters<F>::type;
    if constexpr (std::is_void_v<list>)
        return std::type_identity<void>();
    else if constexpr (I < std::tuple_size_v<list>)
        return std::type_identity<std::decay_t<typename std::tuple_element_t<I, list>::type>>();
    else
        return std::type_identity<void>();
}
template <class F, std::size_t I>
using parameter_t = typename decltype(parameter_of<F, I>())::type;

// --- arguments

/// How an argument is held where the call is made.
template <class Arg, class Parameter>
struct received {
    using value = Arg;
    static constexpr bool possible = travels<Arg>;
    static value read(decoder& from) { return decode<Arg>(from); }
    static value&& pass(value& v) { return std::move(v); }
};
/// `std::cref`: the original is written, and the call gets a reference to what has arrived.
template <class T, class Parameter>
struct received<std::reference_wrapper<const T>, Parameter> {
    using value = T;
    static constexpr bool possible = travels<T>;
    static value read(decoder& from) { return decode<T>(from); }
    static const T& pass(const value& v) { return v; }
};
/// A function that takes `std::span<const E>` reads a container's elements where they arrived.
template <class Arg, class E>
    requires(way_v<Arg> == way::block && std::same_as<std::remove_cv_t<typename Arg::value_type>, E> &&
             alignof(E) <= stream_alignment)
struct received<Arg, std::span<const E>> {
    using value = std::span<const E>;
    static constexpr bool possible = true;
    static value read(decoder& from) { return decode_view<E>(from, name_for_errors<Arg>()); }
    static value pass(value v) { return v; }
};
template <class T, class E>
    requires(way_v<T> == way::block && std::same_as<std::remove_cv_t<typename T::value_type>, E> &&
             alignof(E) <= stream_alignment)
struct received<std::reference_wrapper<const T>, std::span<const E>> : received<T, std::span<const E>> {};

template <class Arg>
void encode_argument(encoder& to, const Arg& argument) {
    encode(to, argument);
}
template <class T>
void encode_argument(encoder& to, const std::reference_wrapper<const T>& argument) {
    encode(to, argument.get());
}

// A label stays at home.
template <class F>
const F& bare_function(const F& f) {
    return f;
}
template <class F>
const F& bare_function(const labelled<F>& f) {
    return f.function;
}

template <class R>
inline constexpr bool result_travels = std::is_void_v<R> || travels<R>;
template <>
inline constexpr bool result_travels<void> = true;

// What becomes of a task's result in the process that made it. All have the same members: whether it is possible for a
// result, also whether from a process that was forked, which needs to be sent nothing; if not, why; how a request is
// opened (see runner_entry); and what takes the result of a call.

/// It is sent.
struct result_sent {
    template <class R>
    static constexpr bool returns = result_travels<R>;
    template <class R>
    static constexpr bool possible = returns<R>;
    template <class R>
    static std::string refusal() {
        return what_does_not_travel<R>("its result");
    }
    static constexpr runner_entry::opening open = nullptr;

    template <class Call>
    static void take(encoder& to, result_listener& then, Call call) {
        if constexpr (std::is_void_v<std::invoke_result_t<Call>>) {
            call();
        } else {
            const std::decay_t<std::invoke_result_t<Call>> value = call();
            encode(to, value);
            return then.result_written();
        }
        then.result_written();
    }
};
/// It is dropped: it need not travel.
struct result_dropped {
    template <class R>
    static constexpr bool returns = true;
    template <class R>
    static constexpr bool possible = true;
    template <class R>
    static std::string refusal() {
        return {};
    }
    static constexpr runner_entry::opening open = nullptr;

    template <class Call>
    static void take(encoder&, result_listener& then, Call call) {
        static_cast<void>(call());
        then.result_written();
    }
};

/// Writes, reads and runs tasks of one type.
template <class Task, class Indices>
struct remote_task;
template <class F, class... Args, std::size_t... I>
struct remote_task<task<F, Args...>, std::index_sequence<I...>> {
    using function = std::remove_cvref_t<decltype(bare_function(std::declval<const F&>()))>;
    template <std::size_t K, class Arg>
    using arrival = received<Arg, parameter_t<function, K>>;
    using result = task_result_t<task<F, Args...>>;

    static constexpr bool callable = [] {
        if constexpr (travels<function> && (arrival<I, Args>::possible && ...))
            return std::invocable<function, decltype(arrival<I, Args>::pass(
                                                std::declval<typename arrival<I, Args>::value&>()))...>;
        else
            return false;
    }();
    static constexpr bool possible = callable && result_travels<result>;

    /// Whether a task may have blocks of memory beside the stream, so that it must live until it has been sent.
    static constexpr bool may_have_blocks =
        !((is_raw<Args> && ...) && (is_raw<function> || std::is_pointer_v<function>));

    static void write(encoder& to, const task<F, Args...>& t) {
        encode(to, bare_function(t.function()));
        std::apply([&](const Args&... args) { (encode_argument(to, args), ...); }, t.arguments());
    }

    /// @tparam How What becomes of the result.
    template <class How = result_sent>
    static void run(decoder& from, encoder& to, result_listener& then) {
        function f = decode<function>(from);
        std::tuple<typename arrival<I, Args>::value...> args{arrival<I, Args>::read(from)...}; // braces: in this order
        How::take(to, then,
                  [&]() -> result { return std::invoke(std::move(f), arrival<I, Args>::pass(std::get<I>(args))...); });
    }

    static result read_result(decoder& from) {
        if constexpr (!std::is_void_v<result>) return decode<result>(from);
    }

    template <class How = result_sent>
    static const runner_entry& entry() noexcept {
        return entry_<How>;
    }

private:
    template <class How>
    static inline const runner_entry entry_{&run<How>, How::open};
};

template <class Task>
struct remote_form;
template <class F, class... Args>
struct remote_form<task<F, Args...>> {
    using type = remote_task<task<F, Args...>, std::index_sequence_for<Args...>>;
};
/// The `remote_task` of a task type.
template <class Task>
using remote_form_t = typename remote_form<std::remove_cvref_t<Task>>::type;

template <class Task, class How = result_sent>
[[noreturn]] void refuse_to_send();
template <class Task, class How>
[[noreturn]] void refuse_result();

/// What every kind of source of tasks of type `Task` offers to a backend whose workers are other processes. `How` is
/// what becomes of the results.
template <class Task>
class remotable_tasks {
    using form = remote_form_t<Task>;
    using result = task_result_t<Task>;

public:
    template <class How>
    static const runner_entry& runner(How) {
        if constexpr (form::callable && How::template possible<result>)
            return form::template entry<How>();
        else
            refuse_to_send<Task, How>();
    }
    template <class How>
    static void check_results_travel(How) {
        if constexpr (!How::template returns<result>) refuse_result<Task, How>();
    }
    static result decode_result([[maybe_unused]] decoder& from) {
        if constexpr (result_travels<result>)
            return form::read_result(from);
        else
            refuse_result<Task, result_sent>();
    }

protected:
    /// Writes a task that somebody else owns, or one that was made for this and must live until it has been sent.
    template <class T>
    static void encode_one([[maybe_unused]] encoder& to, T&& t) {
        if constexpr (!form::callable) {
            refuse_to_send<Task>();
        } else if constexpr (!std::is_lvalue_reference_v<T> && form::may_have_blocks) {
            const auto owner = std::make_shared<const Task>(std::forward<T>(t));
            form::write(to, *owner);
            to.message().owners.push_back(owner);
        } else {
            form::write(to, t);
        }
    }
    template <class How, class Call>
    static void run_and_encode(How, [[maybe_unused]] encoder& to, [[maybe_unused]] result_listener& then, Call call) {
        if constexpr (How::template returns<result>)
            How::take(to, then, call);
        else
            refuse_result<Task, How>();
    }
};

template <class T>
struct referred : std::type_identity<T> {};
template <class T>
struct referred<std::reference_wrapper<const T>> : std::type_identity<T> {};

template <class Task>
struct unremotable_part_of;

/// What of a task's parts does not travel, and why.
template <class Task, class Indices>
struct unremotable_part;
template <class F, class... Args, std::size_t... I>
struct unremotable_part<task<F, Args...>, std::index_sequence<I...>> {
    using form = remote_task<task<F, Args...>, std::index_sequence<I...>>;
    using function = typename form::function;
    using result = typename form::result;

    template <class How>
    static std::string text() {
        if constexpr (!travels<function>) return what_does_not_travel<function>("its function");
        std::string found;
        [[maybe_unused]] const auto look = [&]<class Arg, std::size_t K>() {
            if constexpr (!form::template arrival<K, Arg>::possible)
                found = what_does_not_travel<typename referred<Arg>::type>("argument " + std::to_string(K + 1));
            return !found.empty();
        };
        if ((look.template operator()<Args, I>() || ...)) return found;
        if constexpr (!How::template possible<result>)
            return How::template refusal<result>();
        else
            return "its function cannot be called with the values that its arguments become; let it take them as "
                   "values, "
                   "or by reference to const";
    }
};

template <class F, class... Args>
struct unremotable_part_of<task<F, Args...>> : unremotable_part<task<F, Args...>, std::index_sequence_for<Args...>> {};

template <class Task>
[[noreturn, gnu::cold]] void refuse_part(const std::string& part) {
    throw serialization_error("joblot: a task cannot be sent to another process: " + part, name_for_errors<Task>());
}
/// Names the part of a task that keeps it at home, the reason, and the way out.
template <class Task, class How>
[[noreturn, gnu::cold]] void refuse_to_send() {
    refuse_part<Task>(unremotable_part_of<std::remove_cvref_t<Task>>::template text<How>());
}
/// The same for a task that need not be sent, but whose result must be.
template <class Task, class How>
[[noreturn, gnu::cold]] void refuse_result() {
    refuse_part<Task>(How::template refusal<task_result_t<Task>>());
}

} // namespace detail

/// Whether tasks of this type can run in worker processes that were not forked, and on a cluster:
/// `static_assert(joblot::is_remotable_v<decltype(joblot::delayed(f)(1))>);`
template <class Task>
inline constexpr bool is_remotable_v = detail::remote_form_t<Task>::possible;

} // namespace joblot
