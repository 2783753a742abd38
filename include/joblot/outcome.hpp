// SPDX-License-Identifier: BSL-1.0
// What became of one task: a value or the exception that it threw.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/error.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace joblot {

namespace detail {
/// How a result is stored: `void` has no values, so it is kept as `std::monostate`.
template <class R>
using stored_t = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

/// What an exception says.
inline std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        return e.what();
    } catch (const std::string& text) {
        return text;
    } catch (const char* text) {
        return text ? text : "";
    } catch (...) {
        return "an exception that is no std::exception";
    }
}

template <class R>
class outcome_results; // makes them, see dispatch/results.hpp
} // namespace detail

/// The value of a task, or why there is none; what `Parallel::outcomes` returns for each task.
///
/// A plain value type: copyable and movable where `R` is; not synchronised.
///
/// @tparam R The task's decayed result type; may be move-only or `void`.
template <class R>
class outcome {
public:
    using value_type = R;

    /// A success, holding `value`.
    explicit outcome(std::in_place_t, detail::stored_t<R> value) : value_(std::move(value)) {}
    /// A failure.
    explicit outcome(detail::failure f)
        : failure_(std::make_shared<const detail::failure>(std::move(f))), index_(failure_->task.index),
          tries_(failure_->tries) {}

    /// Whether the task gave a value.
    [[nodiscard]] bool has_value() const noexcept { return value_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }

    /// The task's value. @throws the task's own exception where there is none.
    std::add_lvalue_reference_t<R> value() & { return get(*this); }
    std::add_lvalue_reference_t<const R> value() const& { return get(*this); }
    std::add_rvalue_reference_t<R> value() && {
        if constexpr (std::is_void_v<R>)
            get(*this);
        else
            return std::move(get(*this));
    }

    /// The task's exception, or a null pointer where there is a value. `failed_task` knows which task it came from.
    [[nodiscard]] std::exception_ptr error() const {
        if (has_value()) return nullptr;
        detail::last_failure() = *failure_;
        return failure_->error;
    }

    /// What the task's exception says: its `what()`, or the text that was thrown; "" where there is a value.
    [[nodiscard]] std::string message() const { return has_value() ? std::string() : detail::text_of(failure_->error); }

    /// Position of the task in the input, counted from 0.
    [[nodiscard]] std::size_t index() const noexcept { return index_; }

    /// The task's label where it failed. "" where there is a value: names are looked up for failures only.
    [[nodiscard]] std::string label() const { return has_value() ? std::string() : failure_->task.label; }

    /// How many times the task was tried; more than 1 only with `options::retries`.
    [[nodiscard]] int tries() const noexcept { return tries_; }

private:
    friend class detail::outcome_results<R>;

    template <class Self>
    static decltype(auto) get(Self& self) {
        if (!self.has_value()) detail::throw_failure(*self.failure_);
        if constexpr (!std::is_void_v<R>) return *self.value_;
    }

    std::optional<detail::stored_t<R>> value_;
    std::shared_ptr<const detail::failure> failure_; // null where there is a value
    std::size_t index_ = 0;
    int tries_ = 1;
};

/// A result together with the position of its task in the input; what `Parallel::generator_unordered` yields.
/// The value of a `void` task is `std::monostate`.
template <class R>
struct completed {
    std::size_t index;
    detail::stored_t<R> value;
};

} // namespace joblot
