// SPDX-License-Identifier: BSL-1.0
// Results as they come: the input ranges that `Parallel::generator` and `generator_unordered` return.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/outcome.hpp>

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

namespace joblot {

namespace detail {

/// Where a generator's values come from: a call that goes on while they are read. Destroying it ends the call.
template <class T>
class result_stream {
public:
    virtual ~result_stream() = default;
    /// The next value, or nothing when all were given. @throws what the call throws.
    virtual std::optional<T> next() = 0;
};

} // namespace detail

/// An input range of values of type `T` that a call computes while they are read; move-only, single pass, for one
/// thread at a time. `*it` is a `T&&`, to be moved from or bound by `auto&&`.
///
/// Reading blocks until the next value is there and throws what the call throws, after all values before it.
/// Destroying it early cancels the tasks that have not started and waits for those that run. What the tasks refer to,
/// and a range that was passed as an lvalue, must outlive it.
template <class T>
class result_range {
    struct state;

public:
    class iterator {
    public:
        using value_type = T;
        using difference_type = std::ptrdiff_t;

        /// @throws what the call throws.
        T&& operator*() const { return std::move(*range_->current()); }
        iterator& operator++() {
            range_->current(); // each step is one value, also where nobody looked at it
            range_->stale_ = true;
            return *this;
        }
        void operator++(int) { ++*this; }
        /// @throws what the call throws.
        friend bool operator==(const iterator& it, std::default_sentinel_t) { return !it.range_->current(); }

    private:
        friend class result_range;
        explicit iterator(state* s) : range_(s) {}
        state* range_;
    };

    explicit result_range(std::unique_ptr<detail::result_stream<T>> stream)
        : state_(std::make_unique<state>(std::move(stream))) {}

    result_range(const result_range&) = delete;
    result_range& operator=(const result_range&) = delete;
    result_range(result_range&&) = default;
    result_range& operator=(result_range&&) = default;
    ~result_range() = default;

    /// Where reading goes on: the first value, or after some were read the current one.
    [[nodiscard]] iterator begin() { return iterator(state_.get()); }
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

private:
    struct state {
        explicit state(std::unique_ptr<detail::result_stream<T>> s) : stream_(std::move(s)) {}

        // Values are fetched when they are looked at, not by ++: `views::take(3)` must not wait for a fourth one.
        std::optional<T>& current() {
            if (stale_) fetch();
            return value_;
        }

        void fetch() {
            stale_ = false;
            value_.reset();
            auto stream = std::move(stream_); // put back where there is a value; else the call is over, and forgotten
            if (!stream) return;
            if (std::optional<T> next = stream->next()) {
                value_.emplace(std::move(*next)); // not assigned: a type with const members has no assignment
                stream_ = std::move(stream);
            }
        }

        std::unique_ptr<detail::result_stream<T>> stream_;
        std::optional<T> value_;
        bool stale_ = true;
    };

    std::unique_ptr<state> state_;
};

/// What `Parallel::generator` returns for tasks of result type `R`; `void` tasks yield `std::monostate`.
template <class R>
using generator = result_range<detail::stored_t<R>>;

/// What `Parallel::generator_unordered` returns.
template <class R>
using unordered_generator = result_range<completed<R>>;

} // namespace joblot
