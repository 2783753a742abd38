// SPDX-License-Identifier: BSL-1.0
// `Parallel`: runs tasks on the active backend and gives their results, as a whole or as they come.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/call/run_call.hpp>
#include <joblot/delayed.hpp>
#include <joblot/dispatch/tuple_source.hpp>
#include <joblot/dispatch/zip.hpp>
#include <joblot/generator.hpp>
#include <joblot/options.hpp>
#include <joblot/outcome.hpp>
#include <joblot/persisted.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <ranges>
#include <tuple>
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
    explicit Parallel(options o = {}) // which options there are: struct options, in options.hpp
        : options_(std::move(o)) {
        detail::check(options_);
    }

    template <class T>
        requires(!std::is_convertible_v<T, options> && !std::is_convertible_v<T, Parallel>)
    explicit Parallel(T&&) {
        static_assert(std::is_void_v<T>, "joblot: options have names, and braces: Parallel({.n_jobs = 4})");
    }

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

    template <class... Others>
        requires(sizeof...(Others) > 1 && !(detail::is_task<std::remove_cvref_t<Others>> && ...))
    std::tuple<std::decay_t<Others>...> operator()(Others&&...) const {
        static_assert(sizeof...(Others) == 0, "joblot: these are not all tasks; write delayed(f)(1) instead of f(1) or "
                                              "delayed(f), and map(f, range) instead of (f, range)");
        __builtin_unreachable();
    }
    template <class T, std::size_t N>
    auto operator()(T (&&)[N]) const {
        return in_braces<T>();
    }

    /// Runs `f(a, b, ...)` for the elements of the ranges in step, up to the end of the shortest one.
    /// @return as for a range of `delayed(f)(a, b, ...)`.
    template <class F, class... Rs>
    auto map(F&& f, Rs&&... ranges) const {
        if constexpr (check_mapped<F, Rs...>())
            return run_zipped(std::forward<F>(f), std::forward<Rs>(ranges)...);
        else
            return misuse{};
    }
    template <class F, class T, std::size_t N>
    auto map(F&&, T (&&)[N]) const {
        return in_braces<T>();
    }

    /// Runs all tasks of a range and keeps what they throw: no task's failure stops another.
    /// @return `std::vector<outcome<R>>` in the order of the tasks.
    template <class R, class... Others>
    auto outcomes(R&& range, const Others&...) const {
        if constexpr (check_range<R, false, Others...>())
            return detail::run_range<detail::outcome_results>(options_, std::forward<R>(range));
        else
            return misused(range);
    }

    /// Runs all tasks of a range and combines their results as they come: no list of them is made, and on other
    /// processes and clusters workers combine what they have before they send it.
    ///
    /// The value is `combine(...combine(combine(init, r0), r1)..., rn)`, in another bracketing, which depends on the
    /// number of tasks alone: the same bits on every backend, for any `n_jobs` and any size of batches. `combine` must
    /// be associative as far as that matters to you; results are never swapped.
    ///
    /// @param init    What the value is where there is no task. Where a result is no T (nor becomes one by itself), T
    ///                is what results are taken up in, as samples in a histogram: then many copies of `init` are made,
    ///                and it must be neutral. A function without parameters that makes one is called instead.
    /// @param combine `combine(T, T)` gives a T, or changes its first argument, a `T&`, in place. Where a result is no
    ///                T, `combine(T, result)` does, too. It is called by several threads at the same time.
    /// @return T, the type of `init`. @throws what `combine` throws, besides what each call throws.
    template <class R, class Init, class Combine>
    auto reduce(R&& range, Init init, Combine combine) const {
        if constexpr (check_reduction<R, Init, Combine>())
            return detail::run_reduction<false>(options_, std::forward<R>(range), std::move(init), std::move(combine));
        else
            return misuse{};
    }

    /// The same, but a task that fails is left out, and told of. @return `reduced<T>`, of the value and the failures.
    template <class R, class Init, class Combine>
    auto reduce_outcomes(R&& range, Init init, Combine combine) const {
        if constexpr (check_reduction<R, Init, Combine>())
            return detail::run_reduction<true>(options_, std::forward<R>(range), std::move(init), std::move(combine));
        else
            return misuse{};
    }

    /// Runs all tasks of a range for what they do: results are dropped where they are made, and need not travel.
    template <class R, class... Others>
    void for_each(R&& range, const Others&...) const {
        if constexpr (check_range<R, false, Others...>())
            detail::run_range_into<detail::dropped_results>(options_, std::forward<R>(range), {});
        else
            misused(range);
    }

    /// Runs all tasks of a range, which may be endless, and calls `sink(index, result)` on this thread for each as it
    /// comes; `sink(index)` for `void` tasks. No more than `pre_dispatch` results wait for it. What it throws ends the
    /// call, and comes out of it.
    template <class R, class Sink>
    void into(R&& range, Sink&& sink) const {
        if constexpr (check_range<R, one_by_one>()) {
            using result = task_result_t<std::ranges::range_reference_t<R>>;
            for (auto&& each : generator_unordered(std::forward<R>(range))) {
                if constexpr (std::is_void_v<result>)
                    std::invoke(sink, each.index);
                else
                    std::invoke(sink, each.index, std::move(each.value));
            }
        } else {
            misused(range);
        }
    }

    /// Runs all tasks of a range, and leaves each result where it was made: on a Dask cluster in the memory of a
    /// worker, where later tasks, and Python, can read it; elsewhere in this process. There each task is a Dask task of
    /// its own.
    /// @return `std::vector<persisted<R>>` in the order of the tasks.
    template <class R, class... Others>
    auto persist(R&& range, const Others&...) const {
        if constexpr (check_range<R, false, Others...>()) {
            using result = task_result_t<std::ranges::range_reference_t<R>>;
            static_assert(!std::is_void_v<result>, "joblot: these tasks have no results that could be persisted");
            if constexpr (!std::is_void_v<result>)
                return detail::run_range<detail::list_results>(options_,
                                                               std::views::all(std::forward<R>(range)) |
                                                                   std::views::transform(detail::persist_result{}));
        } else {
            return misused(range);
        }
    }

    /// Starts the tasks of a range, which may be endless, and gives their results in the order of the tasks, each as
    /// soon as it and all before it are there. No more than `pre_dispatch` tasks are ahead of the reader.
    /// @return `generator<R>`. A range that is passed as an lvalue must outlive it.
    template <class R, class... Others>
    auto generator(R&& range, const Others&...) const {
        if constexpr (check_range<R, one_by_one, Others...>()) {
            using value = detail::stored_t<task_result_t<std::ranges::range_reference_t<R>>>;
            return detail::start_live_call<value>(options_, std::forward<R>(range), detail::delivery::ordered);
        } else {
            return misused(range);
        }
    }

    /// The same, as they complete. @return `unordered_generator<R>`, of `completed<R>{index, value}`.
    template <class R, class... Others>
    auto generator_unordered(R&& range, const Others&...) const {
        if constexpr (check_range<R, one_by_one, Others...>()) {
            using value = completed<task_result_t<std::ranges::range_reference_t<R>>>;
            return detail::start_live_call<value>(options_, std::forward<R>(range), detail::delivery::unordered);
        } else {
            return misused(range);
        }
    }

private:
    // What a misused call returns: it fits everywhere, so that the diagnostic of the misuse stays the only one.
    struct misuse {
        struct element { // also of a generator_unordered
            std::size_t index;
            int value;
            template <class T>
            operator T() const;
        };
        template <class T>
        operator T() const;
        element* begin() const;
        element* end() const;
    };

    static constexpr bool one_by_one = true; // the range is read so, whatever it is

    template <class T>
    static misuse in_braces() {
        static_assert(std::is_void_v<T>, "joblot: a list in braces is no range; put its elements into a std::vector, "
                                         "or give tasks without braces: (task1, task2)");
        return {};
    }

    /// Whether a range can be run; if not, says why in one diagnostic.
    /// @tparam Others What stands behind it in the call: there must be nothing.
    template <class R, bool OneByOne = false, class... Others>
    static constexpr bool check_range() {
        if constexpr (sizeof...(Others) > 0) {
            static_assert(sizeof...(Others) == 0, "joblot: this call takes one range of tasks: put them into a "
                                                  "std::vector, or make them with "
                                                  "std::views::transform(joblot::delayed(f))");
            return false;
        } else if constexpr (detail::is_delayed<std::remove_cvref_t<R>>) {
            static_assert(std::is_void_v<R>, "joblot: delayed(f) is no task before it is called with the arguments of "
                                             "f: delayed(f)(1)");
            return false;
        } else if constexpr (!std::ranges::input_range<R>) {
            static_assert(std::is_void_v<R>, "joblot: this is neither a task nor a range of tasks; write delayed(f)(1) "
                                             "instead of f(1), and for many calls std::views::transform(delayed(f))");
            return false;
        } else if constexpr (!task_range<R>) {
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

    /// Whether a function can be called with the elements of these ranges; if not, says why in one diagnostic.
    template <class F, class... Rs>
    static constexpr bool check_mapped() {
        constexpr bool are_ranges = sizeof...(Rs) > 0 && (std::ranges::input_range<Rs> && ...);
        constexpr bool is_delayed = detail::is_delayed<std::remove_cvref_t<F>>;
        if constexpr (!are_ranges) {
            static_assert(are_ranges, "joblot: map takes the function first, and then ranges: map(f, range)");
            return false;
        } else if constexpr (is_delayed) {
            static_assert(!is_delayed, "joblot: map makes the tasks itself: map(f, range), without delayed");
            return false;
        } else {
            detail::check_callable<F>();
            constexpr bool callable =
                std::invocable<std::decay_t<F>, std::decay_t<std::ranges::range_reference_t<Rs>>...>;
            static_assert(callable,
                          "joblot: the function cannot be called with these arguments: one element of each range");
            return callable;
        }
    }

    /// Whether the results of a range of tasks can be combined so; if not, says why in one diagnostic.
    template <class R, class Init, class Combine>
    static constexpr bool check_reduction() {
        if constexpr (!check_range<R>()) {
            return false;
        } else if constexpr (std::is_void_v<task_result_t<std::ranges::range_reference_t<R>>>) {
            static_assert(std::is_void_v<Init>, "joblot: these tasks have no results that could be combined; for what "
                                                "they do, call for_each(tasks)");
            return false;
        } else {
            return detail::check_rules<
                detail::reduction_rules<task_result_t<std::ranges::range_reference_t<R>>, Init, Combine>>();
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
        detail::check_gives_all(options_);
        const detail::prepared_call call = detail::prepare(options_);
        detail::check_repeatable<source>(options_);
        source all(std::forward<Tasks>(tasks)...);
        detail::indexed_job<source, detail::no_results> j(call.settings, all, {});
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
