// SPDX-License-Identifier: BSL-1.0
// joblot::dask::Client of clusters that run already: how one names them, over TCP and TLS, and what goes wrong there.

#include "cluster.hpp"
#include "failure.hpp"

#include <joblot/dask/client.hpp>
#include <joblot/dask/session/session.hpp>

#include <cstdlib>
#include <ranges>
#include <thread>

namespace {

using support::contains;
using support::failure_of;

using joblot::dask::Client;
using joblot::dask::client_options;
using joblot::dask::scheduler_file;
using joblot::dask::tls_options;
using joblot::dask::engine::session_table;
using support::shared_cluster;

const client_options hasty{.timeout = std::chrono::milliseconds(300)};

} // namespace

TEST_CASE("a client at an address", "[client]") {
    const std::string address = shared_cluster().address();
    const Client client(address);
    const std::string said = client.scheduler_info()["address"];
    CHECK(said == address);
    CHECK(client.scheduler_info()["workers"].size() == 2);
    const auto workers = client.ncores();
    CHECK(workers.size() == 2);
    for (const auto& [worker, threads] : workers) CHECK(threads == 2);
    CHECK(contains(address, shared_cluster().state().at("workers").items().begin().key().substr(0, 15)));
    client.wait_for_workers(2);
    const std::string late = failure_of([&] { client.wait_for_workers(3, std::chrono::milliseconds(100)); });
    CHECK(contains(late, "2 of 3 workers"));
    CHECK(contains(late, address));
}

TEST_CASE("a client moves, closes, and ends its connection", "[client]") {
    Client first(shared_cluster().address());
    Client second(std::move(first));
    CHECK(second.ncores().size() == 2);
    CHECK(contains(failure_of([&] { static_cast<void>(first.ncores()); }), "closed")); // NOLINT: moved from
    first = std::move(second);
    CHECK(first.ncores().size() == 2);
    first = Client(shared_cluster().address());
    CHECK(first.ncores().size() == 2);
    first.close();
    first.close();
    CHECK(contains(failure_of([&] { static_cast<void>(first.scheduler_info()); }), "closed"));
    CHECK(shared_cluster().has_no_clients());
}

TEST_CASE("backends find the connection of a client by its address", "[client]") {
    const std::string address = shared_cluster().address();
    {
        const Client client(address);
        CHECK(session_table::find(address) == client.session());
        const std::string other = "tcp://localhost" + address.substr(address.rfind(':'));
        const Client by_name(other);
        CHECK(session_table::find(other) == by_name.session());
        CHECK(session_table::find(address) == by_name.session()); // the scheduler calls itself so
    }
    CHECK(session_table::find(address) == nullptr);
}

TEST_CASE("a client by the scheduler's file", "[client]") {
    const Client client(scheduler_file{shared_cluster().scheduler_file()});
    CHECK(client.ncores().size() == 2);
    const support::scratch_dir dir;
    const std::string missing = failure_of([&] { const Client none(scheduler_file{dir.file("missing")}, hasty); });
    CHECK(contains(missing, dir.file("missing") + " does not exist"));
    support::publish(dir.file("odd"), "{\"type\": \"Nanny\"}");
    CHECK(contains(failure_of([&] { const Client none(scheduler_file{dir.file("odd")}, hasty); }), "has no address"));
    std::jthread writer([&] { // the scheduler starts after us
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        support::publish(dir.file("late"), support::read_all(shared_cluster().scheduler_file()));
    });
    CHECK(Client(scheduler_file{dir.file("late")}).ncores().size() == 2);
}

TEST_CASE("DASK_SCHEDULER_ADDRESS names the cluster of Client{}", "[client]") {
    ::setenv("DASK_SCHEDULER_ADDRESS", shared_cluster().address().c_str(), 1);
    const std::string address = Client().address();
    ::unsetenv("DASK_SCHEDULER_ADDRESS");
    CHECK(address == shared_cluster().address());
}

TEST_CASE("a scheduler that comes up while a client waits for it", "[client]") {
    // The port is free when the cluster that had it is gone.
    std::string address;
    {
        const support::dask_cluster gone(0);
        address = gone.address();
    }
    CHECK(contains(failure_of([&] { const Client none(address, hasty); }), "nobody answers at " + address));
    const support::scratch_dir dir;
    support::process late({support::dask_python(), "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
                           "--port", address.substr(address.rfind(':') + 1), "--no-dashboard"},
                          dir.file("log"));
    const Client client(address, {.timeout = std::chrono::minutes(1)});
    CHECK(client.address() == address);
    CHECK(client.ncores().empty());
}

TEST_CASE("a scheduler of a version that is not supported, or that takes no clients", "[client]") {
    const auto refused_by = [](const std::string& option) {
        const support::scratch_dir dir;
        support::process scheduler({support::dask_python(), support::script("refusing.py"), option}, dir.file("log"),
                                   true, support::forked_python);
        return failure_of([&] { const Client none(scheduler.next_line()); });
    };
    CHECK(contains(refused_by("old"), "2021.4.0, which is too old; 2022.12 or newer is needed"));
    CHECK(contains(refused_by("nameless"), "an unknown version"));
    const std::string full = refused_by("full");
    CHECK(contains(full, "refuses this client"));
    CHECK(contains(full, "no more clients"));
}

#if defined(JOBLOT_DASK_TLS)

namespace {

/// A cluster whose processes talk TLS, and certificates that it accepts and does not accept.
class tls_cluster {
public:
    tls_cluster() {
        const std::string script =
            "set -e; cd " + dir_.path() +
            "; for a in ca other; do openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$a -keyout $a.key "
            "-out $a.pem; done; for n in cluster client; do openssl req -newkey rsa:2048 -nodes -subj /CN=$n "
            "-keyout $n.key -out $n.csr; openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
            "-days 2 -out $n.pem; done";
        support::process openssl({"sh", "-c", script}, dir_.file("openssl.log"));
        if (openssl.wait() != 0) throw std::runtime_error(support::read_all(dir_.file("openssl.log")));
        start({"-m", "distributed.cli.dask_scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0",
               "--no-dashboard", "--scheduler-file", dir_.file("scheduler.json")});
        start({"-m", "distributed.cli.dask_worker", "--scheduler-file", dir_.file("scheduler.json"), "--nthreads", "2",
               "--nworkers", "1", "--no-nanny", "--no-dashboard", "--local-directory", dir_.file("worker"),
               "--protocol", "tls", "--host", "127.0.0.1", "--memory-limit", "0"});
    }
    scheduler_file file() const { return {dir_.file("scheduler.json")}; }
    std::string path(const std::string& name) const { return dir_.file(name); }
    tls_options tls() const {
        return {.ca = path("ca.pem"), .certificate = path("client.pem"), .key = path("client.key")};
    }

private:
    void start(std::vector<std::string> command) {
        command.insert(command.begin(), support::dask_python());
        command.insert(command.end(), {"--tls-ca-file", path("ca.pem"), "--tls-cert", path("cluster.pem"), "--tls-key",
                                       path("cluster.key")});
        processes_.push_back(std::make_unique<support::process>(std::move(command), dir_.file("log")));
    }
    support::scratch_dir dir_;
    std::vector<std::unique_ptr<support::process>> processes_;
};

} // namespace

TEST_CASE("a cluster that talks TLS", "[client]") {
    static const tls_cluster cluster; // of all sections
    client_options patient{.tls = cluster.tls(), .timeout = std::chrono::minutes(1)};
    const Client client(cluster.file(), patient);
    const std::string address = client.address();
    CHECK(address.starts_with("tls://127.0.0.1:"));
    client.wait_for_workers(1, std::chrono::minutes(1));
    CHECK(client.ncores().begin()->first.starts_with("tls://"));

    SECTION("tasks, by the client's connection and certificates") {
        joblot::parallel_backend guard{joblot::dask::backend{.scheduler_host = address}};
        const auto values = joblot::Parallel().map(support::right_value, std::views::iota(0, 20));
        CHECK(std::ranges::equal(values, std::views::iota(0, 20) | std::views::transform(support::right_value)));
    }
    SECTION("certificates of the environment") {
        ::setenv("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", cluster.path("ca.pem").c_str(), 1);
        ::setenv("DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT", cluster.path("client.pem").c_str(), 1);
        ::setenv("DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY", cluster.path("client.key").c_str(), 1);
        CHECK(Client(address).ncores().size() == 1);
        for (const char* name : {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE", "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT",
                                 "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"})
            ::unsetenv(name);
    }
    SECTION("what is wrong is said at once") {
        const auto with = [&](const tls_options& tls) { return failure_of([&] { const Client c(address, tls); }); };
        tls_options wrong = cluster.tls();
        wrong.ca = cluster.path("other.pem");
        CHECK(contains(with(wrong), "not signed by the authority"));
        wrong = cluster.tls();
        wrong.certificate = cluster.path("other.pem");
        wrong.key = cluster.path("other.key");
        CHECK(contains(with(wrong), "accept the certificate"));
        wrong = cluster.tls();
        wrong.key = cluster.path("missing");
        CHECK(contains(with(wrong), "cannot be read from " + cluster.path("missing")));
        CHECK(contains(with({}), "needs a file"));
        // Not the other's protocol:
        CHECK(contains(failure_of([&] { const Client c("tcp" + address.substr(3)); }), "does it want tls://"));
        const std::string plain = "tls" + shared_cluster().address().substr(3);
        CHECK(contains(failure_of([&] { const Client c(plain, cluster.tls()); }), "does not speak TLS"));
    }
}

#else

TEST_CASE("a tls:// address without OpenSSL", "[client]") {
    CHECK(contains(failure_of([&] { const Client c("tls://127.0.0.1:8786"); }), "needs OpenSSL"));
}

#endif
