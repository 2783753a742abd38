// SPDX-License-Identifier: BSL-1.0
// The library `joblot_dask`, for JOBLOT_COMPILED: the engine of clusters.
#if !defined(JOBLOT_COMPILED)
#error compile all files of the program, and this one, with -DJOBLOT_COMPILED=1
#endif
#include <joblot/dask/entry/engine_entries.hpp>

const joblot::dask::engine::entry_points&
joblot::dask::engine::link_the_target_joblot_dask_or_the_library_joblot_dask() noexcept {
    return ways_into_the_engine();
}
