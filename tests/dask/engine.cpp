// SPDX-License-Identifier: BSL-1.0
// The engine of clusters for test programs, which is what costs a compiler much.
#include <joblot/dask/engine.hpp>
