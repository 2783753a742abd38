// SPDX-License-Identifier: BSL-1.0
// `persisted<T>`: the result of a task that stays where it was made. To have a task leave it so is to *persist* it.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/delayed.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/block.hpp>
#include <joblot/wire/codec.hpp>
#include <joblot/wire/segment.hpp>

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace joblot {

namespace detail {

/// Types that can be read as a `std::span` of numbers, wherever the bytes are.
template <class T>
concept number_array = block_kind_of<T>() == block_kind::array && !is_std_array<T>;

template <class T>
struct number_span {
    using type = std::span<const std::byte>; // never filled
};
template <number_array T>
struct number_span<T> {
    using type = std::span<const std::remove_cv_t<typename T::value_type>>;
};

inline constexpr const char* persisted_name = "a persisted result";

/// What follows in a message.
enum class persisted_form : std::uint32_t { nothing, value, place };

inline void put_place(outgoing& message, const segment& place) {
    message.put(persisted_form::place);
    message.put(place.id());
}

/// A result, here or elsewhere. All members are thread-safe.
template <class T>
class persisted_value {
public:
    explicit persisted_value(T value) : value_(std::move(value)) {}
    /// @param image What the value is made of, here; or with a key: elsewhere.
    explicit persisted_value(std::shared_ptr<segment> image) : image_(std::move(image)) {}

    [[nodiscard]] const T& get() {
        std::call_once(made_, [this] {
            if (value_) return;
            if constexpr (travels<T>) { // what does not is always here
                const std::shared_ptr<segment> here = message();
                decoder from(here->message());
                value_.emplace(decode_as_block<T>(from, persisted_name));
            }
        });
        return *value_;
    }
    /// The elements; where they came as a block, in place.
    [[nodiscard]] typename number_span<T>::type elements() {
        if (!image_) return {std::ranges::data(*value_), std::ranges::size(*value_)};
        if (!image_->key().empty()) return {std::ranges::data(get()), std::ranges::size(get())};
        incoming message = image_->message();
        return block_elements<T>(read_block(message, persisted_name, block_description<T>()), persisted_name);
    }
    /// Where it is, if that is elsewhere; else null.
    [[nodiscard]] std::shared_ptr<segment> place() const { return image_ && !image_->key().empty() ? image_ : nullptr; }

private:
    [[nodiscard]] std::shared_ptr<segment> message() const {
        return image_->key().empty() ? image_ : image_->owner()->fetch(*image_);
    }

    const std::shared_ptr<segment> image_; // null: the value is here
    std::once_flag made_;
    std::optional<T> value_;
};

} // namespace detail

/// The result of a task that `Parallel::persist` ran; it stays where it was made: on a Dask cluster in the memory of a
/// worker, elsewhere in this process. Pass it to later tasks with `std::cref(handle)`: a function that takes a
/// `const T&`, or a `std::span` of a container's numbers, gets the value, which does not pass through this process.
///
/// Can be moved, not copied; the value is freed with it. On a cluster, whatever needs the value again after a worker
/// was lost computes it again, as long as what its task needed is there or can be computed; broadcast values are
/// brought there again. All const members are thread-safe.
template <class T>
class persisted {
public:
    using value_type = T;

    persisted() = default; ///< no result
    explicit persisted(T value) : value_(std::make_shared<detail::persisted_value<T>>(std::move(value))) {}
    explicit persisted(std::shared_ptr<detail::segment> image)
        : value_(std::make_shared<detail::persisted_value<T>>(std::move(image))) {}
    persisted(persisted&&) noexcept = default;
    persisted& operator=(persisted&&) noexcept = default;
    ~persisted() = default;

    /// Whether it has a result.
    [[nodiscard]] explicit operator bool() const noexcept { return value_ != nullptr; }

    /// The value, brought here when it is first asked for; it lives as long as the handle. Blocks for that.
    /// @throws backend_error where it was lost, or its cluster is gone; serialization_error where there is a value of
    /// another type; error where there is no result.
    [[nodiscard]] const T& get() const { return value().get(); }
    [[nodiscard]] const T& operator*() const { return get(); }
    [[nodiscard]] const T* operator->() const { return std::addressof(get()); }
    operator const T&() const { return get(); }

    /// The elements of a container of numbers; in a task where they arrived, without a copy.
    [[nodiscard]] auto span() const
        requires detail::number_array<T>
    {
        return value().elements();
    }
    operator typename detail::number_span<T>::type() const
        requires detail::number_array<T>
    {
        return value().elements();
    }

    // For the library's own parts.

    /// Where it is, if that is not in this process; else null.
    [[nodiscard]] std::shared_ptr<detail::segment> place() const { return value_ ? value_->place() : nullptr; }

    template <class Archive>
    void save(Archive& to) const
        requires detail::travels<T>
    {
        if constexpr (std::same_as<Archive, detail::encoder>) {
            detail::outgoing& message = to.message();
            const std::shared_ptr<detail::segment> image = place();
            if (image) {
                detail::put_place(message, *image);
                message.images.push_back(image);
            } else if (value_) {
                message.put(detail::persisted_form::value);
                detail::encode_as_block(to, value_->get());
                message.owners.push_back(value_);
            } else {
                message.put(detail::persisted_form::nothing);
            }
        }
    }
    template <class Archive>
    void load(Archive& from)
        requires detail::travels<T>
    {
        if constexpr (std::same_as<Archive, detail::decoder>) {
            const auto form = from.message().template get<detail::persisted_form>(detail::persisted_name);
            if (form == detail::persisted_form::value) {
                *this = persisted(detail::decode_as_block<T>(from, detail::persisted_name));
            } else if (form == detail::persisted_form::place) {
                auto image = from.image(from.message().template get<std::uint64_t>(detail::persisted_name));
                if (!image) from.message().fail("a result that did not arrive", detail::persisted_name);
                *this = persisted(std::move(image));
            } else if (form != detail::persisted_form::nothing) {
                from.message().fail("a result of an unknown form", detail::persisted_name);
            }
        }
    }

private:
    [[nodiscard]] detail::persisted_value<T>& value() const {
        if (!value_) throw error("joblot: this persisted handle has no result: it was moved from, or never had one");
        return *value_;
    }

    std::shared_ptr<detail::persisted_value<T>> value_;
};

namespace detail {

template <class T>
inline constexpr bool is_persisted = false;
template <class T>
inline constexpr bool is_persisted<persisted<T>> = true;

/// A function whose result is persisted where it is called.
template <class F>
struct persisting_call {
    F function;

    template <class... Args>
        requires std::invocable<F&&, Args...>
    auto operator()(Args&&... args) && {
        return persist(
            [&]() -> decltype(auto) { return std::invoke(std::move(function), std::forward<Args>(args)...); });
    }
    template <class... Args>
        requires std::invocable<const F&, Args...>
    auto operator()(Args&&... args) const& {
        return persist([&]() -> decltype(auto) { return std::invoke(function, std::forward<Args>(args)...); });
    }

private:
    template <class Call>
    static auto persist(Call call) {
        using result = std::decay_t<std::invoke_result_t<Call>>;
        if constexpr (std::is_void_v<result>) {
            call();
            return persisted<std::monostate>(std::monostate());
        } else {
            return persisted<result>(call());
        }
    }
};

/// Makes a task one whose result is persisted. Its name stays.
struct persist_result {
    template <class F, class... Args>
    task<persisting_call<F>, Args...> operator()(task<F, Args...> t) const {
        return {persisting_call<F>{std::move(t).function()}, std::move(t).arguments()};
    }
    template <class F, class... Args>
    task<labelled<persisting_call<F>>, Args...> operator()(task<labelled<F>, Args...> t) const {
        labelled<F> named = std::move(t).function();
        return {labelled<persisting_call<F>>{{std::move(named.function)}, std::move(named.label)},
                std::move(t).arguments()};
    }
};

template <class Task>
inline constexpr bool persists_result = false;
template <class F, class... Args>
inline constexpr bool persists_result<task<persisting_call<F>, Args...>> = true;
template <class F, class... Args>
inline constexpr bool persists_result<task<labelled<persisting_call<F>>, Args...>> = true;

} // namespace detail

} // namespace joblot
