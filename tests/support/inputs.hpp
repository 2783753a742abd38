// SPDX-License-Identifier: BSL-1.0
// Input ranges that are hard to read: single-pass coroutines, ranges that throw, ranges that must not be read by two
// threads at once.
#pragma once

#include <atomic>
#include <coroutine>
#include <exception>
#include <iterator>
#include <ranges>
#include <stdexcept>
#include <thread>
#include <utility>

namespace support {

inline int identity(int i) { return i; }

struct input_failed : std::runtime_error {
    input_failed() : runtime_error{"the input range failed"} {}
};

/// A minimal std::generator: move-only, single-pass, its iterator move-only, its length unknown.
template <class T>
class sequence : public std::ranges::view_interface<sequence<T>> {
public:
    struct promise_type {
        T* current = nullptr;
        std::exception_ptr error;
        sequence get_return_object() { return sequence{handle::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        std::suspend_always yield_value(T&& value) noexcept {
            current = &value;
            return {};
        }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { error = std::current_exception(); }
    };
    using handle = std::coroutine_handle<promise_type>;

    class iterator {
    public:
        using value_type = T;
        using difference_type = std::ptrdiff_t;
        explicit iterator(handle coroutine) : coroutine_{coroutine} {}
        iterator(iterator&& other) noexcept : coroutine_{std::exchange(other.coroutine_, {})} {}
        iterator& operator=(iterator&& other) noexcept {
            coroutine_ = std::exchange(other.coroutine_, {});
            return *this;
        }
        T&& operator*() const { return std::move(*coroutine_.promise().current); }
        iterator& operator++() {
            advance(coroutine_);
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const { return coroutine_.done(); }

    private:
        handle coroutine_;
    };

    explicit sequence(handle coroutine) : coroutine_{coroutine} {}
    sequence(sequence&& other) noexcept : coroutine_{std::exchange(other.coroutine_, {})} {}
    sequence& operator=(sequence&& other) noexcept {
        std::swap(coroutine_, other.coroutine_);
        return *this;
    }
    ~sequence() {
        if (coroutine_) coroutine_.destroy();
    }

    iterator begin() {
        advance(coroutine_);
        return iterator{coroutine_};
    }
    std::default_sentinel_t end() const noexcept { return {}; }

private:
    static void advance(handle coroutine) {
        coroutine.resume();
        if (coroutine.promise().error) std::rethrow_exception(std::exchange(coroutine.promise().error, nullptr));
    }

    handle coroutine_;
};

/// The numbers 0, 1, ... up to `count`, one after the other; throws `input_failed` in place of number `fails_at`.
inline sequence<int> numbers(int count, int fails_at = -1) {
    for (int i = 0; i < count; ++i) {
        if (i == fails_at) throw input_failed{};
        co_yield int{i};
    }
    if (fails_at == count) throw input_failed{};
}

/// Notices two threads inside it at once: the reader of a user's range must never be entered twice.
class exclusive_zone {
public:
    template <class Body>
    decltype(auto) run(Body body) {
        struct leave {
            std::atomic<int>& inside;
            ~leave() { --inside; }
        };
        if (++inside_ != 1) ++violations_;
        const leave on_exit{inside_};
        ++unguarded_;              // a plain int: the thread sanitizer sees it too
        std::this_thread::yield(); // make an overlap likely
        return body();
    }
    int violations() const { return violations_; }
    int entered() const { return unguarded_; }

private:
    std::atomic<int> inside_{0};
    std::atomic<int> violations_{0};
    int unguarded_ = 0;
};

} // namespace support
