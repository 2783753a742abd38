// SPDX-License-Identifier: BSL-1.0
// `broadcast(value)`: a handle to one value that many tasks read, wherever they run.
#pragma once

#include <joblot/core/requirements.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>

namespace joblot {

namespace detail {

/// Containers whose elements can be read in place, wherever the bytes are.
template <class T>
concept broadcast_block = std::ranges::contiguous_range<const T> && requires { typename T::value_type; } &&
                          std::is_trivially_copyable_v<std::ranges::range_value_t<const T>>;

template <class T>
struct broadcast_view {
    using type = std::span<const std::byte>; // never filled
};
template <broadcast_block T>
struct broadcast_view<T> {
    using type = std::span<const std::ranges::range_value_t<const T>>;
};

/// Where a broadcast value is. All members are thread-safe.
template <class T>
class broadcast_source {
public:
    using view_type = typename broadcast_view<T>::type;

    broadcast_source() = default;
    broadcast_source(const broadcast_source&) = delete;
    broadcast_source& operator=(const broadcast_source&) = delete;
    virtual ~broadcast_source() = default;

    /// The value; in a worker process made from what was sent when it is first asked for.
    virtual const T& get() = 0;
    /// The elements where they are; for a `broadcast_block` only. Cheap: it is asked for each element.
    [[nodiscard]] view_type elements() {
        if (!was_viewed_.load(std::memory_order_acquire)) { // release below: who sees it sees viewed_
            const std::lock_guard lock(mutex_);
            if (!was_viewed_.load(std::memory_order_relaxed)) viewed_ = view();
            was_viewed_.store(true, std::memory_order_release);
        }
        return viewed_;
    }

    /// What a backend made of the value in order to send it; made once, by the first one that needs it.
    template <class Make>
    std::shared_ptr<void> image(Make make) {
        const std::lock_guard lock(mutex_);
        if (!image_) image_ = make();
        return image_;
    }

private:
    /// Finds the elements; called once, but again where it threw.
    virtual view_type view() = 0;

    std::mutex mutex_;
    std::shared_ptr<void> image_; // guarded by mutex_
    std::atomic<bool> was_viewed_{false};
    view_type viewed_; // written under mutex_, always the same; read when was_viewed_ is seen
};

/// In the process that called `broadcast`.
template <class T>
class local_broadcast final : public broadcast_source<T> {
public:
    explicit local_broadcast(T value) : value_(std::move(value)) {}
    const T& get() override { return value_; }
    typename broadcast_source<T>::view_type view() override {
        if constexpr (broadcast_block<T>)
            return {std::ranges::data(value_), std::ranges::size(value_)};
        else
            return {};
    }

private:
    const T value_;
};

} // namespace detail

/// A cheap handle to a value that was given to `broadcast`; pass it to tasks as an argument.
///
/// On threads it refers to the caller's own value. Worker processes map one read-only copy for all of them: elements of
/// a contiguous container are read there in place, by `v[i]`, a loop over `v`, or `span()`; `get()`, `*v` and `v->`
/// make a value of its own in each worker, once. Converts to `const T&` and, for contiguous containers, to `std::span`,
/// so that a task may take either. Copyable, thread-safe; the memory is freed with the last handle.
template <class T>
class broadcasted {
public:
    using value_type = T;

    explicit broadcasted(std::shared_ptr<detail::broadcast_source<T>> source) : source_(std::move(source)) {}

    /// The value. @throws serialization_error in a worker that cannot make it from what was sent.
    [[nodiscard]] const T& get() const { return source_->get(); }
    [[nodiscard]] const T& operator*() const { return get(); }
    [[nodiscard]] const T* operator->() const { return std::addressof(get()); }
    operator const T&() const { return get(); }

    /// The elements, in place: no copy, whatever the backend.
    [[nodiscard]] auto span() const
        requires detail::broadcast_block<T>
    {
        return source_->elements();
    }
    operator typename detail::broadcast_view<T>::type() const
        requires detail::broadcast_block<T>
    {
        return source_->elements();
    }
    [[nodiscard]] auto data() const
        requires detail::broadcast_block<T>
    {
        return source_->elements().data();
    }
    [[nodiscard]] std::size_t size() const
        requires detail::broadcast_block<T>
    {
        return source_->elements().size();
    }
    [[nodiscard]] const auto& operator[](std::size_t i) const // i < size()
        requires detail::broadcast_block<T>
    {
        return source_->elements()[i];
    }
    [[nodiscard]] auto begin() const
        requires detail::broadcast_block<T>
    {
        return data();
    }
    [[nodiscard]] auto end() const
        requires detail::broadcast_block<T>
    {
        return data() + size();
    }

    // For the library's own parts.
    [[nodiscard]] const std::shared_ptr<detail::broadcast_source<T>>& source() const noexcept { return source_; }

private:
    std::shared_ptr<detail::broadcast_source<T>> source_;
};

/// Makes a value available to all tasks: `delayed(f)(broadcast(table), i)`, or one handle for many calls.
/// @param value Copied or moved in; must not be changed through a reference afterwards.
template <class T>
[[nodiscard]] broadcasted<std::decay_t<T>> broadcast(T&& value) {
    using V = std::decay_t<T>;
    return broadcasted<V>(std::make_shared<detail::local_broadcast<V>>(std::forward<T>(value)));
}

namespace detail {
template <class T>
inline constexpr bool is_broadcasted = false;
template <class T>
inline constexpr bool is_broadcasted<broadcasted<T>> = true;
} // namespace detail

} // namespace joblot
