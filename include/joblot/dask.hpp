// SPDX-License-Identifier: BSL-1.0
// Everything for clusters: `joblot::dask::Client` and the backend `joblot::dask::backend`. The only header of joblot
// that needs Boost.Asio and nlohmann_json; link the CMake target joblot::dask.
#pragma once

#include <joblot/backend/dask.hpp>
#include <joblot/dask/client.hpp>
#include <joblot/dask/exported.hpp>
#include <joblot/joblot.hpp>
