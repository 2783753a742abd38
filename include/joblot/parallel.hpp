// SPDX-License-Identifier: BSL-1.0
// `Parallel`: runs tasks on the active backend and gives their results, as a whole or as they come.
#pragma once

#include <joblot/delayed.hpp>
#include <joblot/dispatch/tuple_source.hpp>
#include <joblot/dispatch/zip.hpp>
#include <joblot/generator.hpp>
#include <joblot/options.hpp>
#include <joblot/outcome.hpp>
#include <joblot/run_call.hpp>

#include <ranges>
#include <type_traits>
#include <utility>

namespace joblot {

/// Runs tasks in parallel: `Parallel({.n_jobs = 2})(views::iota(0, 10) | views::transform(delayed(f)))`.
///
/// A set of options and nothing else: cheap, copyable, reusable, and every member is thread-safe, also for calls at
/// the same time. Workers belong to the backend and outlive it.
///
/// All calls throw what a task threw (of those that failed, the one with the lowest index; `failed_task` tells which),
/// what the range threw while it was read, `timeout_error`, `cancelled`, `backend_error`, or `std::invalid_argument`
/// for options that do not go together. When a call has returned or thrown, none of its tasks is running any more.
///
/// A range is read lazily, by whichever worker is free, never by two at once, and no further ahead than `pre_dispatch`
/// says; unless all its elements can be indexed at the same time, as those of `transform` by a `delayed` over `iota` or
/// a container (`enable_concurrent_read`). Tasks in a range that is passed as an lvalue are left as they are.
class Parallel {
public:
    /// @throws std::invalid_argument naming an option that makes no sense, and its value.
    explicit Parallel(options o = {}) : options_(std::move(o)) { detail::check(options_); }

    /// Runs all tasks of a range.
    /// @return `std::vector` of their results in the order of the tasks; nothing for `void` tasks.
    template <class R>
        requires(!detail::is_task<std::remove_cvref_t<R>>)
    auto operator()(R&& range) const {
        if constexpr (check_range<R>())
            return detail::run_range<detail::list_results>(options_, std::forward<R>(range));
    }

    /// Runs the given tasks. @return `std::tuple` of their results; `std::monostate` for a `void` task.
    template <class... Tasks>
        requires(sizeof...(Tasks) > 0 && (detail::is_task<std::remove_cvref_t<Tasks>> && ...))
    auto operator()(Tasks&&... tasks) const {
        using source = detail::tuple_source<std::remove_cvref_t<Tasks>...>;
        const detail::prepared_call call = detail::prepare(options_);
        detail::check_repeatable<source>(options_);
        source all(std::forward<Tasks>(tasks)...);
        detail::indexed_job<source, detail::no_results> j(call.settings, all);
        detail::run_job(*call.engine, j);
        return all.take();
    }

    /// Runs `f(a, b, ...)` for the elements of the ranges in step, up to the end of the shortest one.
    /// @return as for a range of `delayed(f)(a, b, ...)`.
    template <class F, class... Rs>
        requires(sizeof...(Rs) > 0)
    auto map(F&& f, Rs&&... ranges) const {
        detail::check_callable<F>();
        detail::zip_tasks<std::decay_t<F>, std::views::all_t<Rs>...> tasks(
            std::forward<F>(f), std::views::all(std::forward<Rs>(ranges))...);
        if constexpr (decltype(tasks)::is_indexed)
            return (*this)(tasks.by_index());
        else
            return (*this)(tasks);
    }

    /// Runs all tasks of a range and keeps what they throw: no task's failure stops another.
    /// @return `std::vector<outcome<R>>` in the order of the tasks.
    template <class R>
    auto outcomes(R&& range) const {
        if constexpr (check_range<R>())
            return detail::run_range<detail::outcome_results>(options_, std::forward<R>(range));
    }

    /// Starts the tasks of a range, which may be endless, and gives their results in the order of the tasks, each as
    /// soon as it and all before it are there. No more than `pre_dispatch` tasks are ahead of the reader.
    /// @return `generator<R>`. A range that is passed as an lvalue must outlive it.
    template <class R>
    auto generator(R&& range) const {
        if constexpr (check_range<R>()) {
            using value = detail::stored_t<task_result_t<std::ranges::range_reference_t<R>>>;
            return detail::start_live_call<value>(options_, std::forward<R>(range), detail::delivery::ordered);
        }
    }

    /// The same, as they complete. @return `unordered_generator<R>`, of `completed<R>{index, value}`.
    template <class R>
    auto generator_unordered(R&& range) const {
        if constexpr (check_range<R>()) {
            using value = completed<task_result_t<std::ranges::range_reference_t<R>>>;
            return detail::start_live_call<value>(options_, std::forward<R>(range), detail::delivery::unordered);
        }
    }

private:
    template <class R>
    static constexpr bool check_range() {
        static_assert(task_range<R>, "joblot: the range's elements are not tasks; make them with "
                                     "std::views::transform(joblot::delayed(f)), or call map(f, range)");
        return task_range<R>;
    }

    options options_;
};

} // namespace joblot
