// SPDX-License-Identifier: BSL-1.0
// A few tasks of different types, as one input: for `p(task1, task2, ...)`.
#pragma once

#include <joblot/delayed.hpp>
#include <joblot/dispatch/copyable.hpp>
#include <joblot/dispatch/label.hpp>
#include <joblot/dispatch/source.hpp>
#include <joblot/outcome.hpp>
#include <joblot/wire/remote_task.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// Owns the tasks and keeps their results, which differ in type; to the job they are tasks without results.
/// Different indices may be called by different threads at the same time.
template <class... Tasks>
class tuple_source {
public:
    using result_type = void;
    static constexpr bool repeatable = (can_be_repeated<Tasks>() && ...);

    explicit tuple_source(Tasks... tasks) : tasks_(std::move(tasks)...) {}

    [[nodiscard]] std::size_t size() const noexcept { return sizeof...(Tasks); }
    void call(std::size_t i) {
        visit(i, []<class T>(T& task, auto& result) {
            keep<T>(result, [&]() -> decltype(auto) { return std::move(task)(); });
        });
    }
    void call_again(std::size_t i) {
        visit(i, []<class T>(T& task, auto& result) {
            keep<T>(result, [&]() -> decltype(auto) { return call_and_keep(task); });
        });
    }
    [[nodiscard]] std::string label(std::size_t i) {
        std::string name;
        visit(i, [&](auto& task, auto&) { name = label_of(task); });
        return name;
    }

    // --- between processes: a task's number, and the task

    static const runner_entry& runner(result_sent how) {
        static_cast<void>((remotable_tasks<Tasks>::runner(how), ...)); // throws for one that cannot be sent
        if constexpr ((remote_form_t<Tasks>::possible && ...)) return entry_;
        std::terminate(); // not reached
    }
    static void check_results_travel(result_sent how) { (remotable_tasks<Tasks>::check_results_travel(how), ...); }
    void encode(std::size_t i, encoder& to) {
        to.message().put(static_cast<std::uint32_t>(i));
        visit(i, [&]<class T>(T& task, auto&) {
            if constexpr (remote_form_t<T>::possible) remote_form_t<T>::write(to, task);
        });
    }
    void run_forked(std::size_t i, encoder& to, result_listener& then, result_sent) {
        visit(i, [&]<class T>(T& task, auto&) {
            if constexpr (result_travels<task_result_t<T>>)
                result_sent::take(to, then, [&]() -> decltype(auto) { return std::move(task)(); });
        });
    }
    void decode(std::size_t i, decoder& from) {
        visit(i, [&]<class T>(T&, auto& result) {
            keep<T>(result, [&]() -> decltype(auto) { return remotable_tasks<T>::decode_result(from); });
        });
    }

    /// The results; for when all tasks have ended well.
    std::tuple<stored_t<task_result_t<Tasks>>...> take() {
        return std::apply([](auto&... r) { return std::tuple<stored_t<task_result_t<Tasks>>...>(std::move(*r)...); },
                          results_);
    }

private:
    template <class T, class Result, class Call>
    static void keep(Result& result, Call call) {
        if constexpr (std::is_void_v<task_result_t<T>>) {
            call();
            result.emplace();
        } else {
            result.emplace(call());
        }
    }

    template <class Visitor>
    void visit(std::size_t i, Visitor&& visitor) {
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            static_cast<void>(((I == i && (visitor(std::get<I>(tasks_), std::get<I>(results_)), true)) || ...));
        }(std::index_sequence_for<Tasks...>{});
    }

    static void run_remote(decoder& from, encoder& to, result_listener& then) {
        const auto i = from.message().get<std::uint32_t>("the number of a task");
        bool known = false;
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            static_cast<void>(((I == i && (remote_form_t<std::tuple_element_t<I, std::tuple<Tasks...>>>::template run<>(
                                               from, to, then),
                                           known = true)) ||
                               ...));
        }(std::index_sequence_for<Tasks...>());
        if (!known) from.message().fail("there is no such task", "the number of a task");
    }
    static inline const runner_entry entry_{&run_remote};

    std::tuple<Tasks...> tasks_;
    std::tuple<std::optional<stored_t<task_result_t<Tasks>>>...> results_;
};

} // namespace joblot::detail
