// SPDX-License-Identifier: BSL-1.0
// What a call can throw of its own, and which task an exception came from.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/macros_off.hpp>

#include <joblot/system/visibility.hpp>

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
class JOBLOT_ONE_TYPE error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A task took longer than `options::timeout`, or a call longer than `options::deadline`.
class JOBLOT_ONE_TYPE timeout_error : public error {
public:
    static constexpr std::size_t no_task = static_cast<std::size_t>(-1); ///< `index()` where it was the call's limit

    /// Of a task.
    timeout_error(task_info task, std::chrono::nanoseconds limit)
        : error("joblot: task " + std::to_string(task.index) + " (" + task.label +
                ") took longer than its time limit of " + in_seconds(limit)),
          task_(std::make_shared<const task_info>(std::move(task))), limit_(limit) {}
    /// Of a whole call.
    /// @param completed How many of its tasks had ended well.
    timeout_error(std::chrono::nanoseconds deadline, std::size_t completed)
        : error("joblot: the call took longer than its deadline of " + in_seconds(deadline) +
                "; it was stopped after " + std::to_string(completed) + " completed tasks"),
          task_(std::make_shared<const task_info>(task_info{no_task, {}})), limit_(deadline), completed_(completed) {}

    /// Whether it was the call's deadline, not the time limit of a task.
    [[nodiscard]] bool of_call() const noexcept { return task_->index == no_task; }
    /// Position of the task in the input, counted from 0; `no_task` for a deadline.
    [[nodiscard]] std::size_t index() const noexcept { return task_->index; }
    /// The task's label; "" for a deadline.
    [[nodiscard]] const std::string& label() const noexcept { return task_->label; }
    /// For a deadline: how many tasks had completed when the call ended. Else 0.
    [[nodiscard]] std::size_t completed() const noexcept { return completed_; }
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
    std::size_t completed_ = 0;
};

/// `options::stop` fired before the call was over. Also what outcomes hold that were not to be waited for, with
/// `options::on_stop`.
class JOBLOT_ONE_TYPE cancelled : public error {
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
class JOBLOT_ONE_TYPE backend_error : public error {
public:
    using error::error;
};

/// A task in another process or on another machine threw something that cannot be rebuilt here as its own type: neither
/// a standard exception nor one made known with `register_exception`.
class JOBLOT_ONE_TYPE remote_error : public error {
public:
    /// @param type   Name of the thrown type.
    /// @param text   What its `what()` said; "" where it is no `std::exception`.
    /// @param worker Where it was thrown, e.g. "process 4711".
    remote_error(const std::string& type, const std::string& text, const std::string& worker)
        : error("joblot: a task threw " + type + (text.empty() ? "" : ": " + text) + " (in " + worker + ")"),
          facts_(std::make_shared<const facts>(facts{type, text, worker})) {}

    [[nodiscard]] const std::string& type_name() const noexcept { return facts_->type; }
    [[nodiscard]] const std::string& text() const noexcept { return facts_->text; }
    [[nodiscard]] const std::string& worker() const noexcept { return facts_->worker; }

private:
    struct facts {
        std::string type, text, worker;
    };
    std::shared_ptr<const facts> facts_; // shared: copying an exception must not throw
};

/// How a process ended: by a signal, by `exit`, or nobody knows.
struct process_end {
    std::optional<int> signal{};
    std::optional<int> exit_status{};
    bool closed_connection = false; ///< a task had closed the worker's connection, so that it had to end
};

/// A worker process died under a task.
class JOBLOT_ONE_TYPE worker_crashed : public error {
public:
    /// @param stderr_tail The last of what the worker wrote to stderr.
    worker_crashed(task_info task, process_end end, std::string stderr_tail)
        : error(describe(task, end, stderr_tail)),
          facts_(std::make_shared<const facts>(facts{std::move(task), end, std::move(stderr_tail)})) {}

    /// Position in the input of the task that the worker was on.
    [[nodiscard]] std::size_t index() const noexcept { return facts_->task.index; }
    /// That task's label.
    [[nodiscard]] const std::string& label() const noexcept { return facts_->task.label; }
    /// The signal that ended the worker, if one did.
    [[nodiscard]] std::optional<int> signal() const noexcept { return facts_->end.signal; }
    /// The status that the worker exited with, if it did.
    [[nodiscard]] std::optional<int> exit_status() const noexcept { return facts_->end.exit_status; }
    /// The last of what the worker wrote to stderr.
    [[nodiscard]] const std::string& stderr_tail() const noexcept { return facts_->tail; }

private:
    struct facts {
        task_info task;
        process_end end;
        std::string tail;
    };

    static std::string describe(const task_info& task, const process_end& end, const std::string& tail) {
        std::string text =
            "joblot: the worker process of task " + std::to_string(task.index) + " (" + task.label + ") ";
        if (end.closed_connection)
            text += "lost its connection to the program: its task has closed descriptors that are not its own";
        else if (end.signal)
            text += "was ended by signal " + std::to_string(*end.signal) + signal_name(*end.signal);
        else if (end.exit_status)
            text += "exited with status " + std::to_string(*end.exit_status);
        else
            text += "is gone";
        if (tail.empty()) return text;
        text += "; the last of its stderr:\n" + tail;
        if (text.back() == '\n') text.pop_back();
        return text;
    }
    static std::string signal_name(int signal) {
        switch (signal) {
        case 4:
            return " (SIGILL)";
        case 6:
            return " (SIGABRT)";
        case 7:
            return " (SIGBUS)";
        case 8:
            return " (SIGFPE)";
        case 9:
            return " (SIGKILL)";
        case 11:
            return " (SIGSEGV)";
        case 15:
            return " (SIGTERM)";
        default:
            return {};
        }
    }

    std::shared_ptr<const facts> facts_;
};

/// Something cannot be sent to another process, or bytes that came from there make no sense.
class JOBLOT_ONE_TYPE serialization_error : public error {
public:
    /// @param what   The whole message.
    /// @param type   The type that was to be written or read.
    /// @param offset Where in the message, in bytes.
    serialization_error(const std::string& what, std::string type, std::size_t offset = 0)
        : error(what), type_(std::make_shared<const std::string>(std::move(type))), offset_(offset) {}

    [[nodiscard]] const std::string& type_name() const noexcept { return *type_; }
    [[nodiscard]] std::size_t offset() const noexcept { return offset_; }

private:
    std::shared_ptr<const std::string> type_;
    std::size_t offset_;
};

namespace detail {

/// An exception and the task that it came from.
struct failure {
    std::exception_ptr error;
    task_info task;
    int tries = 1; // how many times the task was tried
};

// The failure that last left a call on this thread. It owns the exception, so that a later exception can never have
// the same address; only this thread touches it.
JOBLOT_ONE_PER_PROCESS inline std::optional<failure>& last_failure() {
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

#include <joblot/core/macros_back.hpp>
