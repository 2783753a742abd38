// SPDX-License-Identifier: BSL-1.0
// What goes wrong on clusters, done for real: workers, schedulers and clients that die, freeze or lose each other.

#include "cluster.hpp"
#include "relay.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <sys/mount.h>

#include <csignal>
#include <cstdlib>
#include <future>
#include <string>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::all_right;
using support::dask_cluster;
using support::on;
using support::right_value;
using support::tasks_in_call;

bool works(const std::string& address) {
    return all_right(Parallel({.backend = on(address)}).map(right_value, views::iota(0, tasks_in_call)));
}

/// Kills the Dask worker that the task runs under, and does not return.
[[noreturn]] void kill_worker() {
    ::kill(::getppid(), SIGKILL);
    support::sleep_for_ever();
    std::abort();
}
int kills_worker_once(int i, const std::string& dir) {
    if (i == 5 && support::first_to_create(dir + "/killed")) kill_worker();
    return right_value(i);
}
int kills_worker(int i) {
    if (i == 0) kill_worker();
    return right_value(i);
}
/// Tells that it runs, and under whom, and returns when it may.
int waits(int i, const std::string& dir) {
    support::publish(dir + "/" + std::to_string(i), std::to_string(::getpid()));
    support::await(dir + "/go");
    return right_value(i);
}
auto waiting_tasks(const std::string& dir) {
    return views::iota(0, tasks_in_call) | views::transform([dir](int i) { return delayed(waits, "waits")(i, dir); });
}
/// A call of tasks that wait for the file "go", made on another thread; it has begun when this returns.
std::future<std::vector<int>> call_that_waits(const joblot::dask::backend& backend, const std::string& dir) {
    auto call = std::async(std::launch::async,
                           [=] { return Parallel({.backend = backend, .batch_size = 1})(waiting_tasks(dir)); });
    const bool begun = support::eventually([&] { return !std::filesystem::is_empty(dir); });
    if (!begun) throw std::runtime_error("the call does not begin");
    return call;
}
void check_processes_gone(const std::string& dir) {
    for (const auto& entry : std::filesystem::directory_iterator(dir)) {
        const std::string text = support::read_all(entry.path().string());
        if (text.empty()) continue;
        const auto pid = static_cast<pid_t>(std::stol(text));
        CHECK(support::eventually([&] { return support::is_gone(pid); }));
    }
}

} // namespace

TEST_CASE("a worker that is killed under a batch: another runs it again", "[faults]") {
    dask_cluster cluster(2);
    const support::scratch_dir dir;
    const int batch_size = GENERATE(1, 4);
    const auto results = Parallel({.backend = on(cluster.address()), .batch_size = batch_size})(
        views::iota(0, tasks_in_call) |
        views::transform([&](int i) { return delayed(kills_worker_once)(i, dir.path()); }));
    CHECK(all_right(results));
    CHECK(support::exists(dir.file("killed")));
    CHECK(cluster.has_workers(1));
    CHECK(works(cluster.address()));
    support::check_clean(cluster);
}

TEST_CASE("workers that die whenever they run a task: a crash of that task, and the nanny's new workers go on",
          "[faults]") {
    dask_cluster cluster(2, {.nanny = true});
    const auto outcomes = Parallel({.backend = on(cluster.address()), .batch_size = 1})
                              .outcomes(views::iota(0, 4) | views::transform(delayed(kills_worker, "deadly")));
    REQUIRE(outcomes.size() == 4);
    try {
        outcomes[0].value();
        FAIL("it cannot have a value");
    } catch (const joblot::worker_crashed& e) {
        CHECK(e.index() == 0);
        CHECK(e.label() == "deadly");
    }
    for (int i = 1; i != 4; ++i) CHECK(outcomes[static_cast<std::size_t>(i)].value() == right_value(i));
    CHECK(cluster.has_workers(2)); // started again by their nannies
    CHECK(works(cluster.address()));
    support::check_clean(cluster);
}

TEST_CASE("a task that wants more memory than its worker may have fails alone, and the worker survives", "[faults]") {
    dask_cluster cluster(1, {.nanny = true, .memory_limit = "400MB"});
    const auto greedy = [](int i) {
        if (i == 3) {
            std::vector<char> far_too_much(2'000'000'000, 'x');
            return static_cast<int>(far_too_much[static_cast<std::size_t>(i)]);
        }
        return right_value(i);
    };
    const auto outcomes = Parallel({.backend = on(cluster.address()), .batch_size = 4})
                              .outcomes(views::iota(0, tasks_in_call) | views::transform(delayed(greedy, "greedy")));
    for (int i = 0; i != tasks_in_call; ++i) {
        const auto& outcome = outcomes.at(static_cast<std::size_t>(i));
        CHECK(outcome.has_value() == (i != 3));
        if (outcome.has_value()) CHECK(outcome.value() == right_value(i));
    }
    try {
        outcomes.at(3).value();
    } catch (const std::bad_alloc&) {
    } catch (const joblot::worker_crashed&) {
    }
    CHECK(works(cluster.address()));
    CHECK(cluster.history("greedy", "erred") <= 1); // the worker is not lost, and nothing has to be computed again
    support::check_clean(cluster);
}

TEST_CASE("all workers go, and the call goes on when others join", "[faults]") {
    dask_cluster cluster(1);
    const support::scratch_dir dir;
    auto call = call_that_waits(on(cluster.address()), dir.path());
    cluster.worker(1).kill_all();
    REQUIRE(cluster.has_workers(0));
    support::publish(dir.file("go"), "");
    cluster.add_worker();
    CHECK(all_right(call.get()));
    support::check_clean(cluster);
}

TEST_CASE("the cluster is restarted in mid-call: the call ends, with results or an error, and the next one works",
          "[faults]") {
    dask_cluster cluster(2, {.nanny = true});
    const support::scratch_dir dir;
    auto call = call_that_waits(on(cluster.address()), dir.path());
    cluster.ask({{"ask", "restart"}});
    support::publish(dir.file("go"), "");
    try {
        CHECK(all_right(call.get()));
    } catch (const joblot::error&) {
    }
    CHECK(cluster.has_workers(2));
    CHECK(works(cluster.address()));
    support::check_clean(cluster);
}

TEST_CASE("the scheduler is killed in mid-call: an error, and no task is left", "[faults]") {
    dask_cluster cluster(1, {.threads = 2});
    const support::scratch_dir dir;
    auto call = call_that_waits(on(cluster.address()), dir.path());
    cluster.scheduler().signal(SIGKILL);
    try {
        call.get();
        FAIL("there is no scheduler any more");
    } catch (const joblot::backend_error& e) {
        CHECK(std::string(e.what()).find(cluster.address()) != std::string::npos);
    }
    CHECK_THROWS_AS(works(cluster.address()), joblot::backend_error);
    cluster.worker(1).signal(SIGTERM); // a worker waits long for its scheduler to come back
    check_processes_gone(dir.path());
}

TEST_CASE("a scheduler that is frozen in mid-call is given up", "[faults]") {
    dask_cluster cluster(1);
    joblot::dask::Client client{cluster.address(), {.liveness_timeout = std::chrono::seconds(2)}};
    const support::scratch_dir dir;
    auto call = call_that_waits({.client = &client}, dir.path());
    cluster.scheduler().signal(SIGSTOP);
    CHECK_THROWS_AS(call.get(), joblot::backend_error);
    cluster.scheduler().signal(SIGCONT);
    support::check_clean(cluster);
    support::publish(dir.file("go"), "");
    CHECK(works(cluster.address()));
    support::check_clean(cluster);
}

TEST_CASE("a connection that is cut in mid-frame ends the call, and the cluster forgets it", "[faults]") {
    const auto direction = GENERATE(support::relay::direction::to_scheduler, support::relay::direction::to_client);
    dask_cluster cluster(1);
    support::relay relay(cluster.address());
    CHECK(works(relay.address()));
    const support::scratch_dir dir;
    auto call = call_that_waits(on(relay.address()), dir.path());
    relay.cut(direction, 16);
    support::publish(dir.file("go"), "");
    CHECK_THROWS_AS(call.get(), joblot::backend_error);
    CHECK(relay.has_cut());
    relay.cut(direction, 0);
    support::check_clean(cluster);
    CHECK(works(relay.address()));
}

TEST_CASE("a scheduler that sends garbage is an error, not a crash", "[faults]") {
    dask_cluster cluster(0);
    support::process liar({"/usr/bin/env", "python3", support::script("liar.py")}, cluster.folder() + "/liar.log",
                          true);
    CHECK_THROWS_AS(works(liar.next_line()), joblot::backend_error);
}

// Run by the next one, in a process of its own.
TEST_CASE("doomed client", "[.doomed]") {
    const char* const address = std::getenv("JOBLOT_TEST_ADDRESS");
    const char* const folder = std::getenv("JOBLOT_TEST_FOLDER");
    REQUIRE((address && folder));
    const std::string dir = folder;
    const auto table = joblot::broadcast(std::vector<double>(100'000, 1.0));
    Parallel({.backend = on(address), .batch_size = 1})(
        views::iota(0, tasks_in_call) | views::transform([&](int i) {
            return delayed([](int me, const std::string& in,
                              const joblot::broadcasted<std::vector<double>>&) { return waits(me, in); },
                           "doomed")(i, dir, table);
        }));
}

TEST_CASE("a client that is killed: the cluster forgets its keys, and its tasks end", "[faults]") {
    dask_cluster cluster(2);
    const support::scratch_dir dir;
    ::setenv("JOBLOT_TEST_ADDRESS", cluster.address().c_str(), 1);
    ::setenv("JOBLOT_TEST_FOLDER", dir.path().c_str(), 1);
    support::process client({"/proc/self/exe", "doomed client"}, cluster.folder() + "/client.log");
    REQUIRE(support::eventually([&] { return support::exists(dir.file("0")) && support::exists(dir.file("1")); }));
    CHECK(cluster.clients().size() == 1);
    CHECK(!cluster.tasks().empty());
    client.signal(SIGKILL);
    CHECK(cluster.has_no_clients());
    support::check_clean(cluster);
    check_processes_gone(dir.path());
    CHECK(works(cluster.address()));
}

TEST_CASE("an adaptive cluster starts workers for the call, from none", "[faults]") {
    const support::scratch_dir dir;
    support::process cluster({support::dask_python(), support::script("adaptive.py"), dir.path()}, dir.file("log"),
                             true, support::forked_python);
    const std::string address = cluster.next_line();
    CHECK(works(address));
    CHECK(works(address));
}

TEST_CASE("an adaptive cluster as it is by default grows where min_concurrency shows it the work", "[faults]") {
    const support::scratch_dir dir;
    support::process cluster({support::dask_python(), support::script("adaptive.py"), dir.path(), "5s"},
                             dir.file("log"), true, support::forked_python);
    joblot::dask::backend backend = on(cluster.next_line());
    backend.min_concurrency = 60;
    // Each task waits until there are two workers, for a while.
    const auto task = [](int i, const std::string& folder) {
        support::publish(folder + "/worker-" + std::to_string(::getppid()), "");
        const auto workers = [&] {
            return std::ranges::count_if(std::filesystem::directory_iterator(folder), [](const auto& entry) {
                return entry.path().filename().string().starts_with("worker-");
            });
        };
        return support::eventually([&] { return workers() > 1; }) ? i : -1;
    };
    const support::scratch_dir seen;
    const auto results = Parallel({.backend = backend, .batch_size = 1})(
        views::iota(0, 60) | views::transform([&](int i) { return delayed(task)(i, seen.path()); }));
    CHECK(std::ranges::equal(results, views::iota(0, 60)));
}

TEST_CASE("a worker whose disk is full: another does the work, or an error says which worker", "[faults]") {
    const support::scratch_dir dir;
    const std::string small = dir.file("small");
    std::filesystem::create_directory(small);
    if (::mount("none", small.c_str(), "tmpfs", 0, "size=128k") != 0)
        SKIP("a small file system cannot be mounted here");
    {
        dask_cluster cluster(0);
        cluster.add_worker({.name = "full", .folder = small});
        REQUIRE(cluster.has_workers(1));
        try {
            works(cluster.address());
            FAIL("the program cannot have been stored");
        } catch (const joblot::error& e) {
            const std::string text = e.what();
            INFO(text);
            CHECK((text.find("No space") != std::string::npos || text.find("full") != std::string::npos));
        }
        support::check_clean(cluster);
    }
    CHECK(::umount2(small.c_str(), MNT_DETACH) == 0);
}
