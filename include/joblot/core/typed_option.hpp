// SPDX-License-Identifier: BSL-1.0
// What an option says, in one line, where it is given something of a wrong type; and options that are a value and that.
#pragma once

#include <joblot/core/requirements.hpp>

#include <concepts>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace joblot {

namespace detail {

/// Kinds of options, as far as they take different things.
enum class option_kind {
    number,
    batch_size,
    pre_dispatch,
    time_limit,
    backend,
    address,
    progress,
    stop,
    on_stop,
    require,
    prefer,
    label,
    worker_init,
    start_method
};

/// Ends the compilation with the line that tells what an option of this kind takes. Compilers name the user's own line
/// beside it. @tparam Given What it was given instead.
template <option_kind K, class Given>
constexpr void mistyped() {
    using enum option_kind;
    static_assert(K != number, "joblot: this option is a whole number, not a text: .n_jobs = 2, .verbose = 10, "
                               ".retries = 1 (and no fraction)");
    static_assert(K != batch_size, "joblot: a batch size is a whole number of tasks, or .batch_size = "
                                   "joblot::auto_batch");
    static_assert(K != pre_dispatch, "joblot: read ahead a whole number of tasks, or .pre_dispatch = "
                                     "joblot::per_job(2), or joblot::everything");
    static_assert(K != time_limit, "joblot: a time limit has a unit: .timeout = std::chrono::seconds{5}, or 5s with "
                                   "using namespace std::chrono_literals");
    static_assert(K != backend, "joblot: a backend is a name or a description: .backend = \"processes\", "
                                ".backend = joblot::threads{}; or a std::shared_ptr<joblot::backend>");
    static_assert(K != address, "joblot: an address is a text: .address = \"tcp://10.0.0.1:8786\"");
    static_assert(K != progress, "joblot: a progress callback takes a const joblot::progress_event&, and can be "
                                 "copied: .progress = [](const joblot::progress_event& e) { ... }, or .progress = "
                                 "joblot::progress_bar()");
    static_assert(K != stop, "joblot: a call is stopped by a token: .stop = source.get_token()");
    static_assert(K != on_stop, "joblot: what a stop leaves is said by a constant: .on_stop = joblot::keep");
    static_assert(K != require, "joblot: what a backend must offer is a constant: .require = joblot::sharedmem");
    static_assert(K != prefer, "joblot: which backend is preferred is a constant: .prefer = joblot::prefer::threads");
    static_assert(K != label, "joblot: a label is a text: .label = \"fit\"");
    static_assert(K != worker_init, "joblot: worker_init is a function without parameters and result, or a lambda "
                                    "without captures, as it runs in another process: .worker_init = [] { ... }");
    static_assert(K != start_method, "joblot: how a worker starts is a constant: .start_method = "
                                     "joblot::start_method::fork");
}

/// The number; or the nearest one that an `I` can be.
template <class I, std::integral N>
constexpr I saturated(N n) noexcept {
    const auto number = +n; // no bool or character: std::in_range takes none
    if (std::in_range<I>(number)) return static_cast<I>(number);
    return number < 0 ? std::numeric_limits<I>::min() : std::numeric_limits<I>::max();
}

/// @throws std::invalid_argument for a null pointer, such as `std::getenv` gives.
inline const char* text_given(const char* field, const char* text) {
    if (!text) throw std::invalid_argument("joblot: " + std::string(field) + " = a null pointer: give a text");
    return text;
}

template <option_kind K>
inline constexpr bool is_text = K == option_kind::label || K == option_kind::address;

/// Whether an option of this type and kind can be made of a `U`.
template <class T, option_kind K, class U>
constexpr bool takes() {
    using plain = std::remove_cvref_t<U>;
    if constexpr (K == option_kind::number && std::is_floating_point_v<plain>) return false; // cut off, in silence
    if constexpr (is_text<K> && std::is_null_pointer_v<plain>) return false; // a std::string takes it, and fails
    if constexpr (is_text<K> && std::is_convertible_v<U, std::string_view>) return true;
    if constexpr (K == option_kind::progress && !std::is_copy_constructible_v<std::decay_t<U>>) return false;
    return std::is_convertible_v<U, T>;
}

/// What an option of this type and kind is when it is given `value`.
template <class T, option_kind K, class U>
constexpr T taken(U&& value) {
    using plain = std::remove_cvref_t<U>;
    if constexpr (!takes<T, K, U>()) {
        mistyped<K, U>();
        return T();
    } else if constexpr (K == option_kind::number && std::is_integral_v<plain>) {
        return saturated<int>(value);
    } else if constexpr (is_text<K> && std::is_pointer_v<plain>) {
        return text_given(K == option_kind::label ? "label" : "address", value);
    } else if constexpr (is_text<K> && !std::is_convertible_v<U, T>) {
        return T(std::string_view(std::forward<U>(value)));
    } else {
        return std::forward<U>(value);
    }
}

/// A value that is no base of an option: it is no class, or one that takes whatever is derived from it for something
/// else, as `std::function` does.
template <class T>
class held {
public:
    constexpr held() = default;
    constexpr explicit held(T value) : value_(std::move(value)) {}
    constexpr operator const T&() const noexcept { return value_; }
    constexpr operator T&() noexcept { return value_; }
    constexpr explicit operator bool() const noexcept
        requires std::is_class_v<T>
    {
        return static_cast<bool>(value_);
    }

private:
    T value_{};
};

template <class T, option_kind K>
using option_base = std::conditional_t<std::is_class_v<T> && K != option_kind::progress, T, held<T>>;

} // namespace detail

/// As good as a `T`, made of whatever a `T` is made of; and what is no `T` is answered by one line that says what to
/// write instead.
template <class T, detail::option_kind K>
class typed_option : public detail::option_base<T, K> {
    using base = detail::option_base<T, K>;

public:
    constexpr typed_option() = default;
    template <class U>
        requires(!std::is_same_v<std::remove_cvref_t<U>, typed_option>)
    constexpr typed_option(U&& value) : base(detail::taken<T, K>(std::forward<U>(value))) {}
};

/// A whole number, or nothing: a `std::optional<int>`. Numbers that an `int` cannot hold become the nearest one.
using number_option = typed_option<std::optional<int>, detail::option_kind::number>;

} // namespace joblot
