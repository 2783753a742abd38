// SPDX-License-Identifier: BSL-1.0
// Clusters that a Client starts on this machine: what they are made of, and that they end however their owner ends.

#include "../support/child.hpp"
#include "../support/sanitizers.hpp"
#include "cluster.hpp"
#include "environment.hpp"
#include "failure.hpp"

#include <joblot/dask/client.hpp>
#include <joblot/dask/local/local_cluster.hpp>

#include <csignal>
#include <cstdlib>
#include <optional>
#include <thread>

namespace {

using support::contains;
using support::failure_of;
using support::variable;

using joblot::dask::Client;
using joblot::dask::local_cluster_options;
using joblot::dask::engine::local_cluster;

/// Processes whose command line names a folder.
std::vector<pid_t> processes_of(const std::string& folder) {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const std::string name = entry.path().filename().string();
        if (name.find_first_not_of("0123456789") != name.npos) continue;
        const auto pid = static_cast<pid_t>(std::stol(name));
        if (support::read_all("/proc/" + name + "/cmdline").find(folder) != std::string::npos) found.push_back(pid);
    }
    return found;
}
/// The members of the process groups that these lead: workers do not have the folder in their command line.
std::vector<pid_t> with_groups_of(const std::vector<pid_t>& leaders) {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const std::string name = entry.path().filename().string();
        if (name.find_first_not_of("0123456789") != name.npos) continue;
        const auto pid = static_cast<pid_t>(std::stol(name));
        if (std::ranges::find(leaders, ::getpgid(pid)) != leaders.end()) found.push_back(pid);
    }
    return found;
}
bool all_gone(const std::vector<pid_t>& all) {
    return support::eventually([&] { return std::ranges::all_of(all, support::is_gone); });
}
std::vector<std::string> folders() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::temp_directory_path())) {
        if (entry.path().filename().string().starts_with("joblot-dask-")) found.push_back(entry.path().string());
    }
    return found;
}

/// While it lives, temporary folders are made apart from those of other tests.
struct own_folders {
    support::scratch_dir dir;
    variable place{"TMPDIR", dir.path().c_str()};
};

local_cluster_options with_dashboard(local_cluster_options options = {}) {
    options.python = support::dask_python();
    return options;
}
/// Without a dashboard, which costs a scheduler 1.3 s of CPU time.
local_cluster_options with_python(local_cluster_options options = {}) {
    options.dashboard_address = "";
    return with_dashboard(options);
}

int workers_seen(const std::string& address) { return static_cast<int>(Client(address).ncores().size()); }

/// How all addresses of a local cluster begin.
const std::string scheme = joblot::dask::engine::has_tls ? "tls://127.0.0.1:" : "tcp://127.0.0.1:";

/// What a Python that wants to connect with a cluster says. @param security Of its client.
std::string python_sees(const std::string& address, const std::string& security, const std::string& file) {
    const std::string script = "import sys\n"
                               "from distributed import Client\n"
                               "from distributed.security import Security\n"
                               "address, file = sys.argv[1:]\n"
                               "try:\n"
                               "    with Client(address, timeout=20, security=" +
                               security +
                               ") as client:\n"
                               "        print('sum', client.submit(sum, [40, 2]).result())\n"
                               "except Exception as e:\n"
                               "    print('refused', type(e).__name__)\n";
    return joblot::dask::engine::output_of({support::dask_python(), "-c", script, address, file}, support::patience)
        .text.value_or("");
}

} // namespace

TEST_CASE("a local cluster lets nobody in who cannot read its certificate", "[local_cluster]") {
    if constexpr (!joblot::dask::engine::has_tls) SKIP("a program without OpenSSL");
    namespace fs = std::filesystem;
    const own_folders own;
    std::string pem;
    {
        const Client client(with_python({.threads_per_worker = 1}));
        const std::string address = client.address();
        pem = client.tls().certificate;
        CHECK((fs::status(pem).permissions() & (fs::perms::group_all | fs::perms::others_all)) == fs::perms::none);
        CHECK((fs::status(fs::path(pem).parent_path()).permissions() &
               (fs::perms::group_all | fs::perms::others_all)) == fs::perms::none);

        std::vector<std::string> doors{address};
        for (const auto& [worker, threads] : client.ncores()) doors.push_back(worker);
        CHECK(doors.size() == 2);
        const std::string forged = own.dir.file("forged.pem");
        joblot::dask::engine::own_certificate().write(forged);
        for (const std::string& door : doors) {
            const std::string plain = "tcp" + door.substr(3);
            CHECK(contains(failure_of([&] { const Client stranger(plain); }), "failed while"));
            CHECK(contains(failure_of([&] { const Client s(door, {.ca = pem, .certificate = forged, .key = forged}); }),
                           "does not accept the certificate"));
            CHECK(contains(failure_of([&] { const Client s(door, {.ca = forged, .certificate = pem, .key = pem}); }),
                           "its certificate is not signed"));
        }
        CHECK(contains(python_sees("tcp" + address.substr(3), "None", pem), "refused"));
        const char* const security =
            "Security(tls_ca_file=file, tls_client_cert=file, tls_client_key=file, require_encryption=True)";
        CHECK(contains(python_sees(address, security, pem), "sum 42"));

        // Python and programs on its workers have the certificate in their environment.
        CHECK(joblot::Parallel({.backend = joblot::dask::backend{.client = &client}})(
                  joblot::delayed(workers_seen)(address), joblot::delayed(workers_seen)(address)) == std::tuple(1, 1));
    }
    CHECK_FALSE(support::exists(pem));
}

TEST_CASE("a local cluster without TLS is to be had", "[local_cluster]") {
    const Client client(with_python({.threads_per_worker = 1, .tls = false}));
    CHECK(client.address().starts_with("tcp://127.0.0.1:"));
    CHECK(client.tls().ca.empty());
    CHECK(Client(client.address()).ncores().size() == 1);
}

TEST_CASE("a local cluster has what was asked for, on loopback only, and ends with its client", "[local_cluster]") {
    const own_folders own;
    const auto before = folders();
    std::vector<pid_t> processes;
    {
        const Client client(with_dashboard({.workers = 2, .threads_per_worker = 3}));
        const std::string address = client.scheduler_info()["address"];
        CHECK(address.starts_with(scheme));
        CHECK(client.address() == address);
        const auto workers = client.ncores();
        CHECK(workers.size() == 2);
        for (const auto& [worker, threads] : workers) {
            CHECK(worker.starts_with(scheme));
            CHECK(threads == 3);
        }
        const bool has_bokeh = support::dask_python().find("2026") != std::string::npos;
        CHECK(client.dashboard_link().starts_with(has_bokeh ? "http://127.0.0.1:" : ""));
        CHECK(client.dashboard_link().empty() != has_bokeh);
        for (const std::string& folder : folders()) {
            if (std::ranges::find(before, folder) != before.end()) continue;
            const auto leaders = processes_of(folder);
            CHECK(leaders.size() == 2);
            processes = with_groups_of(leaders);
        }
        CHECK(processes.size() >= 4);               // the scheduler, the nannies' process, and two workers
        const Client second(address, client.tls()); // it can be reached like any other
        CHECK(second.ncores() == workers);
    }
    CHECK(all_gone(processes));
    CHECK(folders() == before);
}

TEST_CASE("Client{} starts a cluster with the Python of JOBLOT_PYTHON", "[local_cluster]") {
    const variable python("JOBLOT_PYTHON", support::dask_python().c_str());
    const variable none("DASK_SCHEDULER_ADDRESS", std::nullopt);
    Client client;
    CHECK(client.ncores().size() == 1);
    CHECK(client.ncores().begin()->second == joblot::cpu_count());
    client.close();
    CHECK(contains(failure_of([&] { static_cast<void>(client.ncores()); }), "closed"));
}

TEST_CASE("a local cluster ends when its owner is killed", "[local_cluster][fork]") {
    if (support::under_tsan) SKIP("no threads in a forked child");
    const support::scratch_dir dir;
    const pid_t owner = ::fork();
    REQUIRE(owner >= 0);
    if (owner == 0) {
        try {
            const local_cluster cluster(with_python({.workers = 2}));
            const auto client = Client(cluster.address(), cluster.tls());
            client.wait_for_workers(2, std::chrono::seconds(60));
            support::publish(dir.file("folder"), cluster.folder().string());
            support::sleep_for_ever();
        } catch (const std::exception& e) {
            std::fprintf(stderr, "%s\n", e.what());
        }
        ::_exit(1);
    }
    const std::string folder = support::await(dir.file("folder"));
    REQUIRE_FALSE(folder.empty());
    const auto processes = with_groups_of(processes_of(folder));
    CHECK(processes.size() >= 4);
    ::kill(owner, SIGKILL);
    ::waitpid(owner, nullptr, 0);
    CHECK(all_gone(processes));
    CHECK(support::eventually([&] { return !support::exists(folder); }));
}

TEST_CASE("a forked child leaves its parent's cluster alone", "[local_cluster][fork]") {
    auto client = std::make_unique<Client>(with_python());
    CHECK(support::run_in_child([&] {
              const bool refused = contains(failure_of([&] { static_cast<void>(client->ncores()); }), "fork");
              client.reset();
              return refused;
          }) == "");
    CHECK(client->ncores().size() == 1);
}

TEST_CASE("a thread may start a cluster and end", "[local_cluster]") {
    std::unique_ptr<Client> client;
    std::thread([&] { client = std::make_unique<Client>(with_python()); }).join();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    CHECK(client->ncores().size() == 1);
}

TEST_CASE("no Python, no Dask", "[local_cluster]") {
    const support::scratch_dir dir;
    const auto fake = [&](const std::string& name, const std::string& script) {
        std::ofstream(dir.file(name)) << "#!/bin/sh\n" << script << "\n";
        std::filesystem::permissions(dir.file(name), std::filesystem::perms::owner_all);
        return dir.file(name);
    };
    const std::string missing = dir.file("missing");
    const std::string none = failure_of([&] { const Client client(local_cluster_options{.python = missing}); });
    CHECK(contains(none, missing + " (from the option `python`) does not run"));
    CHECK(contains(none, "pip install"));
    const std::string without = fake("without", "echo joblot False False");
    const variable python("JOBLOT_PYTHON", without.c_str());
    const variable nowhere("DASK_SCHEDULER_ADDRESS", std::nullopt);
    CHECK(contains(failure_of([] { const Client client; }), without + " (from JOBLOT_PYTHON) has no Dask"));
    const variable not_set("JOBLOT_PYTHON", std::nullopt);
    const variable environment("VIRTUAL_ENV", dir.path().c_str());
    const variable path("PATH", dir.path().c_str());
    const std::string tried = failure_of([] { const Client client; });
    CHECK(contains(tried, dir.file("bin/python") + " (from VIRTUAL_ENV) does not run"));
    CHECK(contains(tried, "python3 (from PATH) does not run"));
}

TEST_CASE("a cluster that cannot start says what its processes wrote", "[local_cluster]") {
    const own_folders own;
    const auto before = folders();
    const std::string failed = failure_of([] { const Client client(with_python({.memory_limit = "muchtoomuch"})); });
    CHECK(contains(failed, "workers"));
    CHECK(contains(failed, "muchtoomuch"));
    CHECK(folders() == before);
    CHECK_THROWS_AS(Client(with_python({.workers = 0})), std::invalid_argument);
}

TEST_CASE("a scheduler that dies is known to its client", "[local_cluster]") {
    const own_folders own;
    const auto before = folders();
    const Client client(with_python());
    for (const std::string& folder : folders()) {
        if (std::ranges::find(before, folder) != before.end()) continue;
        for (const pid_t pid : processes_of(folder)) {
            if (contains(support::read_all("/proc/" + std::to_string(pid) + "/cmdline"), "dask_scheduler"))
                ::kill(pid, SIGKILL);
        }
    }
    CHECK(support::eventually(
        [&] { return contains(failure_of([&] { static_cast<void>(client.scheduler_info()); }), "signal 9"); }));
}
