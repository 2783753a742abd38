// SPDX-License-Identifier: BSL-1.0
// The engine of clusters: to be included in one file of a program that uses joblot/dask.hpp, best in the one that calls
// joblot::init. It costs a compiler much, and needs Boost.Asio and nlohmann_json; joblot/dask.hpp does not. With
// JOBLOT_COMPILED the engine is in a library: then this costs nothing, and nobody has to include it.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/macros_off.hpp>

#include <joblot/dask.hpp>

#if !defined(JOBLOT_COMPILED)

#include <joblot/dask/engine_access.hpp>
#include <joblot/dask/entry/engine_entries.hpp>

namespace joblot::dask::engine {

/// In every program once, whoever calls it: hence `used`.
[[gnu::used]] inline const entry_points& include_joblot_dask_engine_hpp_in_the_file_that_calls_init() noexcept {
    return ways_into_the_engine();
}

} // namespace joblot::dask::engine

#endif

#include <joblot/core/macros_back.hpp>
