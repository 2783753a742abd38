// SPDX-License-Identifier: BSL-1.0
// Everything for clusters: `joblot::dask::Client` and the backend `joblot::dask::backend`. What runs them is in
// joblot/dask/engine.hpp, for the file that calls joblot::init; link the CMake target joblot::dask.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/macros_off.hpp>

#include <joblot/backend/dask.hpp>
#include <joblot/dask/client.hpp>
#include <joblot/dask/exported.hpp>
#include <joblot/joblot.hpp>

#include <joblot/core/macros_back.hpp>
