// SPDX-License-Identifier: BSL-1.0
// The client of a Dask cluster: one that runs somewhere, or one that it starts on this machine.
#pragma once

#include <joblot/dask/address.hpp>
#include <joblot/dask/dataset.hpp>
#include <joblot/dask/local_cluster.hpp>
#include <joblot/dask/publishing.hpp>
#include <joblot/dask/session.hpp>
#include <joblot/error.hpp>
#include <joblot/persisted.hpp>

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace joblot::dask {

/// The file that a scheduler wrote when it was started with `--scheduler-file`. It may come later.
struct scheduler_file {
    std::filesystem::path path;
};

/// Connected with a cluster as long as it lives. What it started ends with it; what it put on the cluster is freed.
/// Backends of this process that name the same scheduler use its connection.
///
/// Everything that asks the cluster blocks, and throws `backend_error` when the scheduler is gone. Members that are
/// const may be called by several threads.
class Client {
public:
    using clock = std::chrono::steady_clock;

    /// The cluster that the environment variable DASK_SCHEDULER_ADDRESS names; without one, a new local cluster.
    Client() {
        const char* const set = std::getenv("DASK_SCHEDULER_ADDRESS");
        if (set && *set)
            connect(set, {});
        else
            start(local_cluster_options{}, {});
    }
    /// A cluster on this machine: a scheduler and workers, started now, and ended with the client or this process.
    /// @throws backend_error where no Python has Dask, or it does not start; std::invalid_argument.
    explicit Client(const local_cluster_options& cluster, const client_options& options = {}) {
        start(cluster, options);
    }
    /// The cluster with a scheduler at this address: "tcp://host:8786", "tls://host:8786".
    /// @throws backend_error where nobody answers there in time, or refuses this client.
    explicit Client(std::string_view address, const client_options& options = {}) { connect(address, options); }
    Client(std::string_view address, const tls_options& tls) { connect(address, {.tls = tls}); }
    /// The cluster of a scheduler's file.
    explicit Client(const scheduler_file& file, const client_options& options = {}) {
        connect(address_in(file.path, options.timeout), options);
    }
    Client(const scheduler_file& file, const tls_options& tls) : Client(file, client_options{.tls = tls}) {}

    Client(Client&&) noexcept = default;
    Client& operator=(Client&& other) noexcept {
        close();
        session_ = std::move(other.session_);
        cluster_ = std::move(other.cluster_);
        return *this;
    }
    ~Client() { close(); }

    /// What the scheduler says of itself and its workers, as Python's `Client.scheduler_info()`:
    /// `["address"]`, `["workers"][address]["nthreads"]`, ...
    [[nodiscard]] nlohmann::json scheduler_info() const {
        return asked([&] { return open().identity(); });
    }
    /// The scheduler's address, as its workers know it.
    [[nodiscard]] std::string address() const { return scheduler_info().at("address"); }
    /// Where to watch the cluster with a browser; "" where it has no dashboard.
    [[nodiscard]] std::string dashboard_link() const {
        const nlohmann::json info = scheduler_info();
        const auto services = info.find("services");
        if (services == info.end() || !services->is_object() || !services->contains("dashboard")) return {};
        if (cluster_ && !cluster_->has_dashboard()) return {};
        const engine::address scheduler = engine::address::of(info.at("address").get_ref<const std::string&>());
        const std::string host =
            scheduler.host.find(':') == std::string::npos ? scheduler.host : '[' + scheduler.host + ']';
        return "http://" + host + ':' + (*services)["dashboard"].dump() + "/status";
    }
    /// The workers, by address, and how many threads each has.
    [[nodiscard]] std::map<std::string, int> ncores() const {
        return asked([&] { return open().worker_threads(); });
    }
    /// What Python has published there under a name: `client.publish_dataset(X=x)`.
    /// @throws backend_error where there is no such dataset, or it is none of numbers, which is said.
    [[nodiscard]] dask::dataset dataset(const std::string& name) const {
        return asked([&] {
            static_cast<void>(open());
            return dask::dataset(session_, name);
        });
    }
    /// Gives a persisted result a name, by which Python finds it: `client.get_dataset(name)` is a future there, of a
    /// number, `bytes`, or a numpy array. It stays on the cluster until `unpublish_dataset`, also without this client.
    /// @throws backend_error where the name is taken; std::invalid_argument for a result that is not on this cluster.
    template <class T>
    void publish_dataset(const std::string& name, const persisted<T>& result) const {
        asked([&] {
            static_cast<void>(open());
            engine::publish(session_, name, {{engine::key_on(session_, result)}, false});
        });
    }
    /// The same for several results: there it is a list of futures.
    template <std::ranges::input_range R>
        requires detail::is_persisted<std::ranges::range_value_t<R>>
    void publish_dataset(const std::string& name, const R& results) const {
        asked([&] {
            static_cast<void>(open());
            engine::published_futures all{{}, true};
            for (const auto& result : results) all.keys.push_back(engine::key_on(session_, result));
            engine::publish(session_, name, all);
        });
    }
    /// Takes the name of a dataset away, if there is one of that name, whoever published it.
    void unpublish_dataset(const std::string& name) const {
        asked([&] {
            static_cast<void>(open());
            engine::unpublish(session_, name);
        });
    }
    /// Waits until there are `n` workers. @throws backend_error where there are less after `timeout`.
    void wait_for_workers(std::size_t n, std::chrono::milliseconds timeout = std::chrono::seconds(30)) const {
        wait_until(n, clock::now() + timeout);
    }

    /// Ends the connection, and the cluster where the client has started it.
    void close() noexcept {
        if (session_) session_->close();
        session_.reset();
        cluster_.reset();
    }

    /// Its connection, for backends. @throws backend_error where the client is closed.
    [[nodiscard]] std::shared_ptr<engine::session> session() const {
        static_cast<void>(open());
        return session_;
    }

private:
    void connect(std::string_view address, const client_options& options) {
        session_ = engine::session::connect(engine::address::of(address), options);
        // It may have been reached by another name than its own.
        engine::session_table::add(session_->identity().at("address").get<std::string>(), session_);
    }
    void start(const local_cluster_options& options, client_options connection) {
        auto cluster = std::make_unique<engine::local_cluster>(options);
        const auto left = cluster->deadline() - clock::now();
        connection.timeout = std::max(connection.timeout, std::chrono::ceil<std::chrono::milliseconds>(left));
        session_ = engine::session::connect(engine::address::of(cluster->address()), connection);
        cluster_ = std::move(cluster);
        try {
            wait_until(static_cast<std::size_t>(options.workers), cluster_->deadline());
        } catch (...) {
            close(); // as there will be no destructor
            throw;
        }
    }
    static std::string address_in(const std::filesystem::path& path, std::chrono::milliseconds timeout) {
        for (const auto deadline = clock::now() + timeout;;) {
            std::ifstream in(path);
            const auto content = nlohmann::json::parse(in, nullptr, false);
            if (content.is_object() && content.contains("address") && content["address"].is_string())
                return content["address"].get<std::string>();
            if (clock::now() > deadline) {
                throw backend_error("joblot: " + path.string() +
                                    (std::filesystem::exists(path)
                                         ? " is no file of a Dask scheduler: it has no address"
                                         : " does not exist; is the scheduler running, with "
                                           "--scheduler-file, and the file shared?"));
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
    }
    void wait_until(std::size_t n, clock::time_point deadline) const {
        for (;;) {
            const std::size_t there = ncores().size();
            if (there >= n) return;
            if (cluster_) cluster_->check();
            if (clock::now() > deadline) {
                std::string text = "joblot: the Dask cluster at " + open().scheduler().text() + " has " +
                                   std::to_string(there) + " of " + std::to_string(n) + " workers, and time is up";
                if (cluster_) text += cluster_->last_words();
                throw backend_error(text);
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(30));
        }
    }

    [[nodiscard]] engine::session& open() const {
        if (!session_) throw backend_error("joblot: this Client is closed");
        return *session_;
    }
    /// What `ask()` gives; if it fails as the local cluster has ended, that is said.
    template <class Ask>
    auto asked(Ask ask) const -> decltype(ask()) {
        try {
            return ask();
        } catch (const backend_error&) {
            if (cluster_ && session_ && !session_->alive()) cluster_->check();
            throw;
        }
    }

    std::unique_ptr<engine::local_cluster> cluster_; // null: it runs elsewhere
    std::shared_ptr<engine::session> session_;       // null: closed
};

} // namespace joblot::dask
