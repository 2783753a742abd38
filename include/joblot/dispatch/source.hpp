// SPDX-License-Identifier: BSL-1.0
// Where a call's tasks come from: ranges that workers may index at once, and ranges that are read one by one.
#pragma once

#include <joblot/core/reading.hpp>
#include <joblot/delayed.hpp>
#include <joblot/dispatch/copyable.hpp>
#include <joblot/dispatch/label.hpp>
#include <joblot/wire/remote_task.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <iterator>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::detail {

// What a task's call returns may refer to its arguments, and the task may be a temporary: by value.

/// Makes a task's call. A task that is not ours to consume is left as it was.
/// @throws what the call throws; unreadable where the task has to be copied for it, and that fails.
///
/// @tparam Own Whether a task seen through an lvalue may be moved from.
template <bool Own, class T>
constexpr task_result_t<T> call_task(T&& t) {
    using Task = std::remove_cvref_t<T>;
    if constexpr (!std::is_lvalue_reference_v<T>) {
        return std::move(t)();
    } else if constexpr (Own) {
        return std::move(const_cast<Task&>(t))();
    } else if constexpr (requires { std::as_const(t)(); }) {
        return std::as_const(t)();
    } else {
        return reading([&] { return Task(t); })();
    }
}

/// Whether the tasks of a range of type `R` can be run, given whether they may be moved from and whether they are read
/// one by one (and then have to be kept somewhere else until they run).
template <class R, bool Own, bool OneByOne>
inline constexpr bool can_run_tasks = [] {
    using reference = std::ranges::range_reference_t<R>;
    using Task = std::remove_cvref_t<reference>;
    if constexpr (Own || !std::is_lvalue_reference_v<reference>)
        return true; // and nothing is asked of copies, which may not even compile
    else if constexpr (can_be_copied<Task>())
        return true;
    else
        return !OneByOne && requires(const Task& t) { t(); };
}();

/// Makes a task's call so that it can be made again.
template <class T>
constexpr task_result_t<T> call_and_keep(const T& t) {
    if constexpr (can_be_called_again<T>)
        return t();
    else
        return reading([&] { return T(t); })(); // no copy of yours compiles? See joblot::enable_copy
}

/// Tasks of a random-access range that any thread may read at any time: every member is thread-safe, and throws
/// `unreadable` where an element cannot be read.
///
/// @tparam Own Whether the range is ours, so that its tasks may be moved from.
template <std::random_access_iterator It, bool Own>
class indexed_source : public remotable_tasks<std::remove_cvref_t<std::iter_reference_t<It>>> {
    using reference = std::iter_reference_t<It>;
    using task_type = std::remove_cvref_t<reference>;
    // An element that is made anew each time it is read needs no copy to be called again.
    static constexpr bool made_anew = !std::is_lvalue_reference_v<reference>;

public:
    using result_type = task_result_t<task_type>;
    static constexpr bool repeatable = made_anew || can_be_repeated<task_type>();

    indexed_source(It begin, std::size_t size) : begin_(std::move(begin)), size_(size) {}

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    result_type call(std::size_t i) { return call_task<Own>(at(i)); }
    result_type call_again(std::size_t i) {
        if constexpr (made_anew)
            return call_task<Own>(at(i));
        else
            return call_and_keep(at(i));
    }
    [[nodiscard]] std::string label(std::size_t i) { return label_of(at(i)); }
    void encode(std::size_t i, encoder& to) { this->encode_one(to, at(i)); }
    template <class How>
    void run_forked(std::size_t i, encoder& to, result_listener& then, How how) {
        this->run_and_encode(how, to, then, [&]() -> decltype(auto) { return call(i); });
    }
    result_type decode(std::size_t, decoder& from) { return this->decode_result(from); }
    /// For the loop that runs tasks, see execute.hpp.
    [[nodiscard]] indexed_source bare() const { return *this; }

private:
    decltype(auto) at(std::size_t i) {
        return reading([&]() -> decltype(auto) { return begin_[static_cast<std::iter_difference_t<It>>(i)]; });
    }

    It begin_;
    std::size_t size_;
};

/// Some tasks that were read from a range and belong to one batch.
template <class Task>
class task_buffer : public remotable_tasks<Task> {
public:
    using result_type = task_result_t<Task>;
    static constexpr bool repeatable = can_be_repeated<Task>();

    [[nodiscard]] std::size_t size() const noexcept { return tasks_.size(); }
    result_type call(std::size_t k) { return std::move(tasks_[k])(); }
    result_type call_again(std::size_t k) { return call_and_keep(tasks_[k]); }
    [[nodiscard]] std::string label(std::size_t k) { return label_of(tasks_[k]); }
    void encode(std::size_t k, encoder& to) { this->encode_one(to, std::as_const(tasks_[k])); }
    template <class How>
    void run_forked(std::size_t k, encoder& to, result_listener& then, How how) {
        this->run_and_encode(how, to, then, [&]() -> decltype(auto) { return call(k); });
    }
    result_type decode(std::size_t, decoder& from) { return this->decode_result(from); }
    [[nodiscard]] Task&& take(std::size_t k) { return std::move(tasks_[k]); }
    void reserve(std::size_t n) { tasks_.reserve(n); }
    template <class T>
    void push_back(T&& t) {
        tasks_.push_back(std::forward<T>(t));
    }

private:
    std::vector<Task> tasks_;
};

/// How far a range was read.
struct reading_state {
    bool exhausted = false;     ///< whether the end, or an error, was met
    std::size_t count = 0;      ///< tasks read
    std::exception_ptr error{}; ///< what the range threw, or null
};

/// Reads a range of tasks, one after the other and no further than asked. Not thread-safe: the job locks around it.
/// The first error ends the input; tasks before it count.
template <task_range View, bool Own>
class task_reader {
public:
    using task_type = std::remove_cvref_t<std::ranges::range_reference_t<View>>;

    /// @param view Is borrowed and must outlive the reader.
    explicit task_reader(View& view) : view_(view) {}

    /// Reads up to `n` tasks, fewer only at the end.
    void read(std::size_t n, task_buffer<task_type>& out) {
        try {
            for (; n != 0; --n) {
                if (!advance()) return;
                take(out);
                ++state_.count;
            }
        } catch (...) {
            state_.exhausted = true;
            state_.error = caught_error();
            if (thread_ends()) throw;
        }
    }

    /// How far it has come; at the same place as long as the reader lives.
    [[nodiscard]] const reading_state& state() const noexcept { return state_; }

private:
    // The increment is put off until the next task is wanted: the range of a slow producer must not be made to wait
    // for an element that nobody asked for.
    bool advance() {
        if (state_.exhausted) return false;
        if (!at_)
            at_.emplace(std::ranges::begin(view_));
        else
            ++*at_;
        state_.exhausted = *at_ == std::ranges::end(view_);
        return !state_.exhausted;
    }

    void take(task_buffer<task_type>& out) {
        if constexpr (Own || !std::is_lvalue_reference_v<std::ranges::range_reference_t<View>>) {
            out.push_back(std::ranges::iter_move(*at_));
        } else {
            out.push_back(**at_);
        }
    }

    View& view_;
    std::optional<std::ranges::iterator_t<View>> at_;
    reading_state state_; // its own: g++ 12 takes a store through a reference for one to `at_`, and warns
};

} // namespace joblot::detail
