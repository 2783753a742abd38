// SPDX-License-Identifier: BSL-1.0
// Finds or starts the Dask cluster that an example was asked to use. The one file of the examples with the engine that
// runs clusters.
#include "cluster.hpp"

#include "cli.hpp"

#ifdef JOBLOT_EXAMPLES_DASK
#include <joblot/dask.hpp>
#include <joblot/dask/engine.hpp>
#endif

#include <cstdlib>
#include <memory>
#include <string>

namespace {

bool is_dask(const std::string& backend) {
    const std::string name = backend.substr(0, backend.find(':'));
    return name == "dask" || name == "dask.distributed";
}

/// Starts a cluster on this machine, and names it.
std::shared_ptr<void> local_cluster(std::string& backend) {
#ifdef JOBLOT_EXAMPLES_DASK
    auto client = std::make_shared<joblot::dask::Client>();
    backend = "dask:" + client->scheduler_info()["address"].get<std::string>();
    return client;
#else
    throw cli::usage_error("--backend " + backend + ": this program was built without Boost >= 1.81 and nlohmann_json");
#endif
}

} // namespace

std::shared_ptr<void> cli::cluster_for(std::string& backend, const std::string& scheduler) {
    if (!is_dask(backend)) {
        if (!scheduler.empty()) throw usage_error("--scheduler needs --backend dask");
        return nullptr;
    }
    const bool has_address = backend.find(':') != std::string::npos;
    if (!scheduler.empty()) {
        if (has_address) throw usage_error("--scheduler and --backend both name a cluster");
        backend = "dask:" + scheduler;
    }
    const char* const known = std::getenv("DASK_SCHEDULER_ADDRESS");
    if (has_address || !scheduler.empty() || (known && *known)) return nullptr;
    return local_cluster(backend);
}
