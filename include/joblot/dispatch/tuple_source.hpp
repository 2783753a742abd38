// SPDX-License-Identifier: BSL-1.0
// A few tasks of different types, as one input: for `p(task1, task2, ...)`.
#pragma once

#include <joblot/delayed.hpp>
#include <joblot/dispatch/label.hpp>
#include <joblot/dispatch/source.hpp>
#include <joblot/outcome.hpp>

#include <array>
#include <concepts>
#include <cstddef>
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
    static constexpr bool repeatable = (std::copy_constructible<Tasks> && ...);

    explicit tuple_source(Tasks... tasks) : tasks_(std::move(tasks)...) {}

    [[nodiscard]] std::size_t size() const noexcept { return sizeof...(Tasks); }
    void call(std::size_t i) {
        visit(i, []<class T>(T& task, auto& result) {
            keep<T>(result, [&]() -> decltype(auto) { return std::move(task)(); });
        });
    }
    void call_again(std::size_t i) {
        visit(i, []<class T>(T& task, auto& result) {
            keep<T>(result, [&]() -> decltype(auto) { return call_copy(task); });
        });
    }
    [[nodiscard]] std::string label(std::size_t i) {
        std::string name;
        visit(i, [&](auto& task, auto&) { name = label_of(task); });
        return name;
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

    std::tuple<Tasks...> tasks_;
    std::tuple<std::optional<stored_t<task_result_t<Tasks>>>...> results_;
};

} // namespace joblot::detail
