// SPDX-License-Identifier: BSL-1.0
// Which ranges several threads may read at once: the ones where reading an element runs no code that could mind.
#pragma once

#include <joblot/delayed.hpp>
#include <joblot/persisted.hpp>

#include <ranges>
#include <type_traits>

namespace joblot {

namespace detail {
// Functions known to do nothing but copy what they are given.
template <class F>
inline constexpr bool is_pure_function = false;
template <class F>
inline constexpr bool is_pure_function<delayed_function<F>> = true;
template <>
inline constexpr bool is_pure_function<persist_result> = true;
} // namespace detail

/// Whether different elements of a random-access range `R` may be read by different threads at the same time. True for
/// contiguous ranges, `iota`, and for `delayed` and the plain adaptors over them; specialise it for a view of your own
/// whose `operator[]` touches nothing shared. Where it is false, elements are read under a lock.
template <class R>
inline constexpr bool enable_concurrent_read = std::ranges::contiguous_range<R>;

template <class W, class Bound>
inline constexpr bool enable_concurrent_read<std::ranges::iota_view<W, Bound>> = true;
template <class V, class F>
inline constexpr bool enable_concurrent_read<std::ranges::transform_view<V, F>> =
    detail::is_pure_function<F> && enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::ref_view<V>> = enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::owning_view<V>> = enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::take_view<V>> = enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::drop_view<V>> = enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::reverse_view<V>> = enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::common_view<V>> = enable_concurrent_read<V>;

namespace detail {
/// A range of known length that workers may index without a lock.
template <class R>
concept indexable = std::ranges::random_access_range<R> && std::ranges::sized_range<R> &&
                    enable_concurrent_read<std::remove_cvref_t<R>>;
} // namespace detail

} // namespace joblot
