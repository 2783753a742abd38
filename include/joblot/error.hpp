// SPDX-License-Identifier: BSL-1.0
// What a call can throw of its own, and which task an exception came from.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace joblot {

/// Which task of a call: its position in the input, counted from 0, and its label.
struct task_info {
    std::size_t index = 0;
    std::string label;
};

/// Base of everything that joblot throws, except misuse, which is `std::invalid_argument` or `std::logic_error`,
/// and the user's own exceptions, which come out of a call as they are.
class error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A task took longer than `options::timeout`.
class timeout_error : public error {
public:
    timeout_error(task_info task, std::chrono::nanoseconds limit)
        : error("joblot: task " + std::to_string(task.index) + " (" + task.label +
                ") took longer than its time limit of " + in_seconds(limit)),
          task_(std::make_shared<const task_info>(std::move(task))), limit_(limit) {}

    /// Position of the task in the input, counted from 0.
    [[nodiscard]] std::size_t index() const noexcept { return task_->index; }
    /// The task's label.
    [[nodiscard]] const std::string& label() const noexcept { return task_->label; }
    /// The limit that was passed.
    [[nodiscard]] std::chrono::nanoseconds limit() const noexcept { return limit_; }

private:
    static std::string in_seconds(std::chrono::nanoseconds time) {
        char text[40];
        std::snprintf(text, sizeof text, "%g s", std::chrono::duration<double>(time).count());
        return text;
    }

    std::shared_ptr<const task_info> task_; // shared: copying an exception must not throw
    std::chrono::nanoseconds limit_;
};

/// `options::stop` fired before the call was over.
class cancelled : public error {
public:
    explicit cancelled(std::size_t completed)
        : error("joblot: the call was cancelled after " + std::to_string(completed) + " completed tasks"),
          completed_(completed) {}

    /// How many tasks had completed when the call ended.
    [[nodiscard]] std::size_t completed() const noexcept { return completed_; }

private:
    std::size_t completed_;
};

/// A backend could not do its work: no workers, no connection, or a contract that it broke.
class backend_error : public error {
public:
    using error::error;
};

namespace detail {

/// An exception and the task that it came from.
struct failure {
    std::exception_ptr error;
    task_info task;
};

// The failure that last left a call on this thread. It owns the exception, so that a later exception can never have
// the same address; only this thread touches it.
inline std::optional<failure>& last_failure() {
    thread_local std::optional<failure> last;
    return last;
}

/// Throws what a task threw, the same object, after noting for `failed_task` where it came from.
[[noreturn]] inline void throw_failure(const failure& f) {
    last_failure() = f;
    std::rethrow_exception(f.error);
}

} // namespace detail

/// Which task an exception came from.
///
/// @param e What a call threw (or what `outcome::error()` gave) on this thread.
/// @return  Index and label of the task, or nothing when `e` is not the last failure that left a call, or an outcome,
///          on this thread. That last exception is kept alive until the thread's next one.
[[nodiscard]] inline std::optional<task_info> failed_task(const std::exception_ptr& e) {
    const auto& last = detail::last_failure();
    if (e && last && last->error == e) return last->task;
    return std::nullopt;
}

/// The same for the exception that is being handled: for use in `catch (...)`.
[[nodiscard]] inline std::optional<task_info> failed_task() { return failed_task(std::current_exception()); }

/// The same for an exception caught by reference, of any type.
template <class E>
    requires(!std::same_as<E, std::exception_ptr>)
[[nodiscard]] std::optional<task_info> failed_task(const E& e) {
    const auto& last = detail::last_failure();
    if (!last) return std::nullopt;
    // The only portable way from an exception_ptr to the object's address.
    try {
        std::rethrow_exception(last->error);
    } catch (const E& kept) {
        if (std::addressof(kept) == std::addressof(e)) return last->task;
    } catch (...) { // another type: not this one
    }
    return std::nullopt;
}

} // namespace joblot
