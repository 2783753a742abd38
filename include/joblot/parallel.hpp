// SPDX-License-Identifier: BSL-1.0
// `Parallel`: runs tasks on the active backend and gives their results, as a whole or as they come.
#pragma once

#include <joblot/delayed.hpp>
#include <joblot/dispatch/tuple_source.hpp>
#include <joblot/dispatch/zip.hpp>
#include <joblot/generator.hpp>
#include <joblot/options.hpp>
#include <joblot/outcome.hpp>
#include <joblot/persisted.hpp>
#include <joblot/run_call.hpp>

#include <concepts>
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
        else
            return misused(range);
    }

    /// Runs the given tasks. @return `std::tuple` of their results; `std::monostate` for a `void` task.
    template <class... Tasks>
        requires(sizeof...(Tasks) > 0 && (detail::is_task<std::remove_cvref_t<Tasks>> && ...))
    auto operator()(Tasks&&... tasks) const {
        if constexpr ((check_task<std::remove_cvref_t<Tasks>>() && ...))
            return run_tuple(std::forward<Tasks>(tasks)...);
        else
            return misuse{};
    }

    /// Runs `f(a, b, ...)` for the elements of the ranges in step, up to the end of the shortest one.
    /// @return as for a range of `delayed(f)(a, b, ...)`.
    template <class F, class... Rs>
        requires(sizeof...(Rs) > 0)
    auto map(F&& f, Rs&&... ranges) const {
        detail::check_callable<F>();
        constexpr bool callable = std::invocable<std::decay_t<F>, std::decay_t<std::ranges::range_reference_t<Rs>>...>;
        static_assert(callable,
                      "joblot: the function cannot be called with these arguments: one element of each range");
        if constexpr (callable)
            return run_zipped(std::forward<F>(f), std::forward<Rs>(ranges)...);
        else
            return misuse{};
    }

    /// Runs all tasks of a range and keeps what they throw: no task's failure stops another.
    /// @return `std::vector<outcome<R>>` in the order of the tasks.
    template <class R>
    auto outcomes(R&& range) const {
        if constexpr (check_range<R>())
            return detail::run_range<detail::outcome_results>(options_, std::forward<R>(range));
        else
            return misused(range);
    }

    /// Runs all tasks of a range, and leaves each result where it was made: on a Dask cluster in the memory of a
    /// worker, where later tasks, and Python, can read it; elsewhere in this process. There each task is a Dask task of
    /// its own.
    /// @return `std::vector<persisted<R>>` in the order of the tasks.
    template <class R>
    auto persist(R&& range) const {
        if constexpr (check_range<R>()) {
            using result = task_result_t<std::ranges::range_reference_t<R>>;
            static_assert(!std::is_void_v<result>, "joblot: these tasks have no results that could be kept");
            if constexpr (!std::is_void_v<result>)
                return detail::run_range<detail::list_results>(
                    options_, std::views::all(std::forward<R>(range)) | std::views::transform(detail::keep_result{}));
        } else {
            return misused(range);
        }
    }

    /// Starts the tasks of a range, which may be endless, and gives their results in the order of the tasks, each as
    /// soon as it and all before it are there. No more than `pre_dispatch` tasks are ahead of the reader.
    /// @return `generator<R>`. A range that is passed as an lvalue must outlive it.
    template <class R>
    auto generator(R&& range) const {
        if constexpr (check_range<R, one_by_one>()) {
            using value = detail::stored_t<task_result_t<std::ranges::range_reference_t<R>>>;
            return detail::start_live_call<value>(options_, std::forward<R>(range), detail::delivery::ordered);
        } else {
            return misused(range);
        }
    }

    /// The same, as they complete. @return `unordered_generator<R>`, of `completed<R>{index, value}`.
    template <class R>
    auto generator_unordered(R&& range) const {
        if constexpr (check_range<R, one_by_one>()) {
            using value = completed<task_result_t<std::ranges::range_reference_t<R>>>;
            return detail::start_live_call<value>(options_, std::forward<R>(range), detail::delivery::unordered);
        } else {
            return misused(range);
        }
    }

private:
    // What a misused call returns: it fits everywhere, so that the diagnostic of the misuse stays the only one.
    struct misuse {
        template <class T>
        operator T() const;
        misuse* begin() const;
        misuse* end() const;
    };

    static constexpr bool one_by_one = true; // the range is read so, whatever it is

    /// Whether a range can be run; if not, says why in one diagnostic.
    template <class R, bool OneByOne = false>
    static constexpr bool check_range() {
        if constexpr (!task_range<R>) {
            static_assert(task_range<R>, "joblot: the range's elements are not tasks; make them with "
                                         "std::views::transform(joblot::delayed(f)), or call map(f, range)");
            return false;
        } else {
            using view = std::conditional_t<OneByOne, std::views::all_t<R>, R>;
            constexpr bool read_one_by_one = OneByOne || !detail::indexable<std::remove_reference_t<R>>;
            constexpr bool runnable = detail::can_run_tasks<R, detail::owns_elements<view>, read_one_by_one>;
            static_assert(runnable, "joblot: these tasks can only be moved, and the range is not ours to move from; "
                                    "pass it with std::move");
            return runnable && check_task<std::remove_cvref_t<std::ranges::range_reference_t<R>>>();
        }
    }

    template <class Task>
    static constexpr bool check_task() {
        using result = task_result_t<Task>;
        constexpr bool movable = std::is_void_v<result> || std::move_constructible<result>;
        static_assert(movable, "joblot: the result of a task must be movable; return a std::unique_ptr to it instead");
        return movable && Task::callable; // `delayed` itself says what is wrong with the arguments
    }

    template <class... Tasks>
    auto run_tuple(Tasks&&... tasks) const {
        using source = detail::tuple_source<std::remove_cvref_t<Tasks>...>;
        const detail::prepared_call call = detail::prepare(options_);
        detail::check_repeatable<source>(options_);
        source all(std::forward<Tasks>(tasks)...);
        detail::indexed_job<source, detail::no_results> j(call.settings, all);
        detail::run_job(*call.engine, j);
        return all.take();
    }

    template <class F, class... Rs>
    auto run_zipped(F&& f, Rs&&... ranges) const {
        detail::zip_tasks<std::decay_t<F>, std::views::all_t<Rs>...> tasks(
            std::forward<F>(f), std::views::all(std::forward<Rs>(ranges))...);
        if constexpr (decltype(tasks)::is_indexed)
            return (*this)(tasks.by_index());
        else
            return (*this)(tasks);
    }

    // Reads an element, so that `delayed` is compiled for it and says what is wrong.
    template <class R>
    static misuse misused(R& range) {
        if constexpr (task_range<R>) static_cast<void>(*std::ranges::begin(range));
        return {};
    }

    options options_;
};

} // namespace joblot
