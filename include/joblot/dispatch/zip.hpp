// SPDX-License-Identifier: BSL-1.0
// Tasks of one function over several ranges in step: for `p.map(f, ranges...)`. C++20 has no `zip` yet.
#pragma once

#include <joblot/delayed.hpp>
#include <joblot/dispatch/purity.hpp>
#include <joblot/dispatch/size.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <limits>
#include <ranges>
#include <tuple>
#include <utility>

namespace joblot::detail {

// Indexable, or without an end: what `zip_tasks` can index without a lock as long as one of them has an end.
template <class V>
concept zip_indexable =
    std::ranges::random_access_range<V> && enable_concurrent_read<V> &&
    (std::ranges::sized_range<V> || std::same_as<std::ranges::sentinel_t<V>, std::unreachable_sentinel_t>);

/// `f(a[i], b[i], ...)` as a task for each i up to the end of the shortest range. A view that owns what it was given.
/// Random access where all ranges allow it, else a single pass.
template <class F, std::ranges::view... Vs>
class zip_tasks {
    static constexpr bool indexed = (zip_indexable<Vs> && ...) && (std::ranges::sized_range<Vs> || ...);

public:
    zip_tasks(F f, Vs... views) : make_(std::move(f)), views_(std::move(views)...) {}

    class iterator {
    public:
        using difference_type = std::ptrdiff_t;
        using value_type =
            decltype(std::declval<const delayed_function<F>&>()(*std::declval<std::ranges::iterator_t<Vs>&>()...));

        explicit iterator(zip_tasks& z)
            : zip_(&z), at_(std::apply([](auto&... v) { return std::tuple(std::ranges::begin(v)...); }, z.views_)) {}

        value_type operator*() const {
            return std::apply([&](auto&... at) { return zip_->make_(*at...); }, at_);
        }
        iterator& operator++() {
            std::apply([](auto&... at) { (++at, ...); }, at_);
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const {
            return [&]<std::size_t... I>(std::index_sequence<I...>) {
                return ((std::get<I>(at_) == std::ranges::end(std::get<I>(zip_->views_))) || ...);
            }(std::index_sequence_for<Vs...>{});
        }

    private:
        zip_tasks* zip_;
        mutable std::tuple<std::ranges::iterator_t<Vs>...> at_; // input iterators may be readable only when not const
    };

    iterator begin() { return iterator(*this); }
    std::default_sentinel_t end() { return {}; }

    /// The tasks by index, as the dispatcher wants them.
    [[nodiscard]] auto by_index()
        requires indexed
    {
        return std::views::iota(std::size_t{0}, size()) | std::views::transform(at_index{this});
    }

    static constexpr bool is_indexed = indexed;

private:
    struct at_index {
        zip_tasks* zip;
        auto operator()(std::size_t i) const {
            return std::apply(
                [&](auto&... v) {
                    return zip->make_(
                        std::ranges::begin(v)[static_cast<std::ranges::range_difference_t<decltype(v)>>(i)]...);
                },
                zip->views_);
        }
        using reads_only = void; // see is_pure_function below
    };

    std::size_t size() {
        std::size_t shortest = std::numeric_limits<std::size_t>::max();
        const auto look = [&](auto& v) {
            if constexpr (std::ranges::sized_range<decltype(v)>) {
                if (const auto n = size_that_fits(v)) shortest = std::min(shortest, *n);
            }
        };
        std::apply([&](auto&... v) { (look(v), ...); }, views_);
        if (shortest > largest_size) std::apply([&](auto&... v) { (refuse(v), ...); }, views_);
        return shortest;
    }
    template <class V>
    static void refuse(V& v) {
        if constexpr (std::ranges::sized_range<V>) static_cast<void>(number_of_tasks(v, largest_size));
    }

    delayed_function<F> make_;
    std::tuple<Vs...> views_;
};

// zip_tasks only indexes ranges that may be read by several threads.
template <class F>
    requires requires { typename F::reads_only; }
inline constexpr bool is_pure_function<F> = true;

} // namespace joblot::detail
