// SPDX-License-Identifier: BSL-1.0
// The client of a Dask cluster: one that runs somewhere, or one that it starts on this machine.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/dask/dataset.hpp>
#include <joblot/dask/engine_access.hpp>
#include <joblot/dask/options.hpp>
#include <joblot/error.hpp>
#include <joblot/persisted.hpp>
#include <joblot/system/privileges.hpp>
#include <joblot/wire/segment.hpp>

#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <ranges>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace joblot::dask {

/// Connected with a cluster as long as it lives. What it started ends with it; what it put on the cluster is freed.
/// Backends of this process that name the same scheduler use its connection.
///
/// Everything that asks the cluster blocks, and throws `backend_error` when the scheduler is gone. Members that are
/// const may be called by several threads.
class Client {
public:
    /// The cluster that the environment variable DASK_SCHEDULER_ADDRESS names; without one, a new local cluster.
    Client() {
        const char* const set = joblot::detail::trusted_variable("DASK_SCHEDULER_ADDRESS");
        connection_ = set && *set ? engine::access().connect(set, {})
                                  : engine::access().start_cluster(local_cluster_options{}, {});
    }
    /// A cluster on this machine: a scheduler and workers, started now, and ended with the client or this process.
    /// @throws backend_error where no Python has Dask, or it does not start; std::invalid_argument.
    explicit Client(const local_cluster_options& cluster, const client_options& options = {})
        : connection_(engine::access().start_cluster(cluster, options)) {}
    /// The cluster with a scheduler at this address: "tcp://host:8786", "tls://host:8786".
    /// @throws backend_error where nobody answers there in time, or refuses this client.
    explicit Client(std::string_view address, const client_options& options = {})
        : connection_(engine::access().connect(std::string(address), options)) {}
    Client(std::string_view address, const tls_options& tls) : Client(address, client_options{.tls = tls}) {}
    /// The cluster of a scheduler's file.
    explicit Client(const scheduler_file& file, const client_options& options = {})
        : connection_(engine::access().connect_by_file(file, options)) {}
    Client(const scheduler_file& file, const tls_options& tls) : Client(file, client_options{.tls = tls}) {}

    Client(Client&&) noexcept = default;
    Client& operator=(Client&& other) noexcept {
        close();
        connection_ = std::move(other.connection_);
        return *this;
    }
    ~Client() = default;

    /// What the scheduler says of itself and its workers, as Python's `Client.scheduler_info()`:
    /// `["address"]`, `["workers"][address]["nthreads"]`, ... A file that calls it includes `<nlohmann/json.hpp>`.
    template <class Json = nlohmann::json>
    [[nodiscard]] Json scheduler_info() const {
        static_assert(requires { sizeof(Json); }, "joblot: scheduler_info() needs #include <nlohmann/json.hpp>");
        Json info;
        open().scheduler_info(info);
        return info;
    }
    /// The scheduler's address, as its workers know it.
    [[nodiscard]] std::string address() const { return open().address(); }
    /// With which certificates: for a local cluster that has TLS, files of its own, which go with it; what `Client` was
    /// given otherwise. Whoever may read them may connect with the cluster, from Python too:
    /// `Security(tls_ca_file=ca, tls_client_cert=certificate, tls_client_key=key, require_encryption=True)`.
    [[nodiscard]] tls_options tls() const { return open().tls(); }
    /// Where to watch the cluster with a browser; "" where it has no dashboard.
    [[nodiscard]] std::string dashboard_link() const { return open().dashboard_link(); }
    /// The workers, by address, and how many threads each has.
    [[nodiscard]] std::map<std::string, int> ncores() const { return open().ncores(); }
    /// What Python has published there under a name: `client.publish_dataset(X=x)`.
    /// @throws backend_error where there is no such dataset, or it is none of numbers, which is said.
    [[nodiscard]] dask::dataset dataset(const std::string& name) const { return open().dataset(name); }
    /// Gives a persisted result a name, by which Python finds it: `client.get_dataset(name)` is a future there, of a
    /// number, `bytes`, or a numpy array. It stays on the cluster until `unpublish_dataset`, also without this client.
    /// @throws backend_error where the name is taken; std::invalid_argument for a result that is not on this cluster.
    template <class T>
    void publish_dataset(const std::string& name, const persisted<T>& result) const {
        open().publish(name, {result.place()}, false);
    }
    /// The same for several results: there it is a list of futures.
    template <std::ranges::input_range R>
        requires detail::is_persisted<std::ranges::range_value_t<R>>
    void publish_dataset(const std::string& name, const R& results) const {
        std::vector<std::shared_ptr<detail::segment>> places;
        for (const auto& result : results) places.push_back(result.place());
        open().publish(name, places, true);
    }
    /// Takes the name of a dataset away, if there is one of that name, whoever published it.
    void unpublish_dataset(const std::string& name) const { open().unpublish(name); }
    /// Waits until there are `n` workers. @throws backend_error where there are less after `timeout`.
    void wait_for_workers(std::size_t n, std::chrono::milliseconds timeout = std::chrono::seconds(30)) const {
        open().wait_for_workers(n, timeout);
    }

    /// Ends the connection, and the cluster where the client has started it.
    void close() noexcept { connection_.reset(); }

    /// Its connection, for backends. @throws backend_error where the client is closed.
    [[nodiscard]] std::shared_ptr<engine::session> session() const { return open().session(); }

private:
    [[nodiscard]] const engine::client_connection& open() const {
        if (!connection_) throw backend_error("joblot: this Client is closed");
        return *connection_;
    }

    std::unique_ptr<engine::client_connection> connection_; // null: closed
};

} // namespace joblot::dask
