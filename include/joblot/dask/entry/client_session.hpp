// SPDX-License-Identifier: BSL-1.0
// What `Client` stands for: a session with a scheduler, and the local cluster where the client started one.
#pragma once

#include <joblot/dask/data/dataset_reader.hpp>
#include <joblot/dask/data/publishing.hpp>
#include <joblot/dask/engine_access.hpp>
#include <joblot/dask/local/local_cluster.hpp>
#include <joblot/dask/local/scheduler_file.hpp>
#include <joblot/dask/options.hpp>
#include <joblot/dask/protocol/address.hpp>
#include <joblot/dask/session/session.hpp>
#include <joblot/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

class client_session final : public client_connection {
public:
    using clock = std::chrono::steady_clock;

    /// With a scheduler that runs somewhere.
    client_session(const std::string& address, const client_options& options)
        : tls_(options.tls), session_(engine::session::connect(engine::address::of(address), options)) {
        // It may have been reached by another name than its own.
        session_table::add(session_->identity().at("address").get<std::string>(), session_);
    }
    /// With a cluster that is started.
    client_session(const local_cluster_options& options, client_options connection) {
        auto cluster = std::make_unique<local_cluster>(options);
        const auto left = cluster->deadline() - clock::now();
        connection.timeout = std::max(connection.timeout, std::chrono::ceil<std::chrono::milliseconds>(left));
        cluster_ = std::move(cluster);
        tls_ = connection.tls = cluster_->tls();
        session_ =
            engine::session::connect(engine::address::of(cluster_->address()), connection, as_long_as_it_works());
        try {
            wait_until(static_cast<std::size_t>(options.workers), cluster_->deadline());
            cluster_->started();
        } catch (...) {
            session_->close(); // as there will be no destructor
            throw;
        }
    }
    ~client_session() override { session_->close(); }

    void scheduler_info(json& to) const override { to = identity(); }
    [[nodiscard]] std::string address() const override { return identity().at("address"); }
    [[nodiscard]] tls_options tls() const override { return tls_; }
    [[nodiscard]] std::string dashboard_link() const override {
        const json info = identity();
        const auto services = info.find("services");
        if (services == info.end() || !services->is_object() || !services->contains("dashboard")) return {};
        if (cluster_ && !cluster_->has_dashboard()) return {};
        const engine::address scheduler = engine::address::of(info.at("address").get_ref<const std::string&>());
        const std::string host =
            scheduler.host.find(':') == std::string::npos ? scheduler.host : '[' + scheduler.host + ']';
        return "http://" + host + ':' + (*services)["dashboard"].dump() + "/status";
    }
    [[nodiscard]] std::map<std::string, int> ncores() const override {
        return asked([&] { return session_->worker_threads(); });
    }
    [[nodiscard]] dask::dataset dataset(const std::string& name) const override {
        return asked([&] { return read_dataset(session_, name); });
    }
    void publish(const std::string& name, const std::vector<std::shared_ptr<detail::segment>>& results,
                 bool as_list) const override {
        asked([&] {
            published_futures all{{}, as_list};
            for (const auto& place : results) all.keys.push_back(key_on(session_, place));
            engine::publish(session_, name, all);
        });
    }
    void unpublish(const std::string& name) const override {
        asked([&] { engine::unpublish(session_, name); });
    }
    void wait_for_workers(std::size_t n, std::chrono::milliseconds timeout) const override {
        wait_until(n, clock::now() + timeout);
    }
    [[nodiscard]] std::shared_ptr<engine::session> session() const override { return session_; }

private:
    [[nodiscard]] json identity() const {
        return asked([&] { return session_->identity(); });
    }
    /// A local cluster may end, or not answer and say why, while it is waited for.
    [[nodiscard]] patience as_long_as_it_works() const {
        if (!cluster_) return {};
        return patience([this] {
            cluster_->check();
            return false;
        });
    }
    void wait_until(std::size_t n, clock::time_point deadline) const {
        for (;;) {
            const std::size_t there = asked([&] { return session_->worker_threads(as_long_as_it_works()); }).size();
            if (there >= n) return;
            if (cluster_) cluster_->check();
            if (clock::now() > deadline) {
                std::string text = "joblot: the Dask cluster at " + session_->scheduler().text() + " has " +
                                   std::to_string(there) + " of " + std::to_string(n) + " workers, and time is up";
                if (cluster_) text += cluster_->last_words();
                throw backend_error(text);
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(30));
        }
    }
    /// What `ask()` gives; if it fails as the local cluster has ended, that is said.
    template <class Ask>
    auto asked(Ask ask) const -> decltype(ask()) {
        try {
            return ask();
        } catch (const backend_error&) {
            if (cluster_ && !session_->alive()) cluster_->check();
            throw;
        }
    }

    tls_options tls_;
    std::unique_ptr<local_cluster> cluster_; // null: it runs elsewhere; ends after the session
    std::shared_ptr<engine::session> session_;
};

/// The address in a scheduler's file. Waits for it until `deadline`. @throws backend_error where it does not come.
inline std::string address_in(const std::string& path, client_session::clock::time_point deadline) {
    for (;;) {
        if (std::string address = address_in_file(path); !address.empty()) return address;
        if (client_session::clock::now() > deadline) {
            throw backend_error("joblot: " + path +
                                (std::filesystem::exists(path) ? " is no file of a Dask scheduler: it has no address"
                                                               : " does not exist; is the scheduler running, with "
                                                                 "--scheduler-file, and the file shared?"));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
}

} // namespace joblot::dask::engine
