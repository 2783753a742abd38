// SPDX-License-Identifier: BSL-1.0
// What --backend dask and --scheduler mean in the examples. Compiled once for all of them, in cluster.cpp: only there
// are the headers of the cluster needed.
#pragma once

#include <memory>
#include <string>

namespace cli {

/// Gives a backend named "dask" its address: `scheduler`, else that of the environment, else of a local cluster, which
/// lives as long as what is returned. Other backends stay as they are.
/// @throws usage_error A scheduler for a backend that has none, or examples that were built without joblot::dask.
[[nodiscard]] std::shared_ptr<void> cluster_for(std::string& backend, const std::string& scheduler);

} // namespace cli
