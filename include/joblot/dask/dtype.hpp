// SPDX-License-Identifier: BSL-1.0
// What a cluster's arrays can be made of.
#pragma once

#include <joblot/wire/dtype.hpp>

namespace joblot::dask {

/// Types that a numpy array of numbers can have: `bool`, `std::byte`, integers, `float`, `double`, `std::complex` of
/// these.
template <class T>
concept numeric = detail::numeric<T>;

using detail::dtype_of;

} // namespace joblot::dask
