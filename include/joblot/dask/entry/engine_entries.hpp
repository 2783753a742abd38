// SPDX-License-Identifier: BSL-1.0
// The ways into the engine of clusters, and with them all of it.
#pragma once

#include <joblot/dask/engine_access.hpp>
#include <joblot/dask/entry/catalogue.hpp>
#include <joblot/dask/entry/client_session.hpp>
#include <joblot/dask/entry/cluster_backend.hpp>

#include <memory>
#include <string>
#include <utility>

namespace joblot::dask::engine {

inline const entry_points& ways_into_the_engine() noexcept {
    using connection = std::unique_ptr<client_connection>;
    static constexpr entry_points here{
        .start_cluster = [](const local_cluster_options& cluster, const client_options& options) -> connection {
            return std::make_unique<client_session>(cluster, options);
        },
        .connect = [](const std::string& address, const client_options& options) -> connection {
            return std::make_unique<client_session>(address, options);
        },
        .connect_by_file = [](const scheduler_file& file, const client_options& options) -> connection {
            const auto deadline = client_session::clock::now() + options.timeout;
            return std::make_unique<client_session>(address_in(file.path, deadline), options);
        },
        .make_backend = [](const dask::backend& o, std::shared_ptr<session> cluster)
            -> std::shared_ptr<joblot::backend> { return std::make_shared<cluster_backend>(o, std::move(cluster)); },
        .print_catalogue = &print_catalogue};
    return here;
}

} // namespace joblot::dask::engine
