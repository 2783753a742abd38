// SPDX-License-Identifier: BSL-1.0
// Calls on a stock cluster: every way to make one, where its tasks run, under which name, and what is left afterwards.

#include "cluster.hpp"

#include "../support/stderr_capture.hpp"

#include <atomic>
#include <future>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::all_right;
using support::on;
using support::on_cluster;
using support::right_value;
using support::shared_cluster;
using support::tasks_in_call;

auto right_tasks() { return views::iota(0, tasks_in_call) | views::transform(delayed(right_value, "right_value")); }

/// The Dask worker, a Python process, that the task runs under; 0 where it runs in the test's own process.
pid_t worker_of(pid_t caller) { return ::getpid() == caller ? 0 : ::getppid(); }

pid_t slow_worker_of(int, pid_t caller) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return worker_of(caller);
}

} // namespace

TEST_CASE("the example with nothing but an address runs on the cluster, and says so", "[calls]") {
    const joblot::dask::Client client{shared_cluster().address()};
    const std::string address = client.scheduler_info()["address"];
    CHECK(address == shared_cluster().address());
    std::vector<int> results;
    support::stderr_capture captured;
    {
        const joblot::parallel_backend guard{joblot::dask::backend{.scheduler_host = address}};
        results = Parallel({.n_jobs = 2, .verbose = 100})(right_tasks());
    }
    const std::vector<std::string> lines = captured.writes();
    CHECK(all_right(results));
    REQUIRE(lines.size() >= 2);
    CHECK(lines.front() == "[Parallel(n_jobs=2)]: Using backend DaskDistributedBackend with 4 concurrent workers.\n");
    CHECK(lines.back().find(" 20 | elapsed:") != std::string::npos);
    CHECK(lines.back().ends_with(" finished\n"));
    support::check_clean(shared_cluster());
}

TEST_CASE("every way to make a call gives the right results", "[calls]") {
    const joblot::parallel_backend guard{on_cluster()};
    const Parallel parallel;
    CHECK(all_right(parallel(right_tasks())));
    CHECK(all_right(parallel.map(right_value, views::iota(0, tasks_in_call))));
    const auto [number, text] =
        parallel(delayed(right_value)(2), delayed([](std::string s) { return s + "!"; })(std::string("yes")));
    CHECK(number == right_value(2));
    CHECK(text == "yes!");
    std::vector<int> generated;
    for (const int value : parallel.generator(right_tasks())) generated.push_back(value);
    CHECK(all_right(generated));
    std::vector<int> unordered(tasks_in_call, -1);
    for (const auto& done : parallel.generator_unordered(right_tasks())) unordered[done.index] = done.value;
    CHECK(all_right(unordered));
    for (const auto& outcome : parallel.outcomes(right_tasks())) CHECK(outcome.has_value());
    CHECK(parallel(views::iota(0, 0) | views::transform(delayed(right_value))).empty());
    support::check_clean(shared_cluster());
}

TEST_CASE("a cluster is chosen by a name with its address too", "[calls]") {
    const std::string name = "dask:" + shared_cluster().address();
    CHECK(all_right(Parallel({.backend = name.c_str()})(right_tasks())));
    const joblot::parallel_backend guard{"dask.distributed", {.address = shared_cluster().address()}};
    const auto workers =
        Parallel()(views::iota(0, 4) | views::transform([](int i) { return delayed(slow_worker_of)(i, ::getpid()); }));
    CHECK(std::ranges::count(workers, 0) == 0);
}

TEST_CASE("tasks run on all threads of all workers, each thread with a process of its own", "[calls]") {
    const support::scratch_dir dir;
    const auto pids = Parallel({.backend = on_cluster(), .batch_size = 1})(
        views::iota(0, 4) | views::transform([&](int i) {
            return delayed([](int me, const std::string& folder) {
                support::meet(folder, me, 4);
                return std::pair(static_cast<int>(::getppid()), joblot::this_task::worker_id());
            })(i, dir.path());
        }));
    std::multiset<int> workers;
    std::set<int> ids;
    for (const auto& [worker, id] : pids) {
        workers.insert(worker);
        ids.insert(id);
    }
    CHECK(workers.count(shared_cluster().worker(1).pid()) == 2);
    CHECK(workers.count(shared_cluster().worker(2).pid()) == 2);
    CHECK(ids == std::set{0, 1, 2, 3});
}

TEST_CASE("one worker with one thread: the tasks run there, and not in the caller", "[calls]") {
    support::dask_cluster cluster(1);
    const auto workers = Parallel({.backend = on(cluster)})(
        views::iota(0, 10) | views::transform([](int i) { return delayed(slow_worker_of)(i, ::getpid()); }));
    CHECK(std::ranges::count(workers, cluster.worker(1).pid()) == 10);
    support::check_clean(cluster);
}

TEST_CASE("Dask shows a batch under the function's name, and a failed one as a failure", "[calls]") {
    const joblot::parallel_backend guard{on_cluster()};
    Parallel({.batch_size = 5})(views::iota(0, tasks_in_call) | views::transform(delayed(right_value, "good_one")));
    CHECK(shared_cluster().history("good_one", "memory") == 4);
    CHECK(shared_cluster().history("good_one", "erred") == 0);
    const auto tasks = views::iota(0, 4) | views::transform(delayed(
                                               [](int i) {
                                                   if (i == 2) throw std::runtime_error("no");
                                                   return i;
                                               },
                                               "bad_one"));
    const auto outcomes = Parallel({.batch_size = 1}).outcomes(tasks);
    CHECK(std::ranges::count_if(outcomes, [](const auto& o) { return o.has_value(); }) == 3);
    CHECK(shared_cluster().history("bad_one", "memory") == 3);
    CHECK(shared_cluster().history("bad_one", "erred") == 1);
    support::check_clean(shared_cluster());
}

TEST_CASE("large arguments and results arrive whole", "[calls]") {
    const auto scaled = [](const std::vector<double>& values, double by) {
        std::vector<double> result(values);
        for (double& value : result) value *= by;
        return result;
    };
    const std::vector<std::size_t> sizes{0, 1, 8'000, 8'192, 9'000, 500'000};
    const auto tasks = sizes | views::transform([&](std::size_t size) {
                           std::vector<double> values(size);
                           std::iota(values.begin(), values.end(), 0.5);
                           return delayed(scaled)(std::move(values), 3.0);
                       });
    const auto results = Parallel({.backend = on_cluster(), .batch_size = 1})(tasks);
    REQUIRE(results.size() == sizes.size());
    for (std::size_t i = 0; i != sizes.size(); ++i) {
        REQUIRE(results[i].size() == sizes[i]);
        bool same = true;
        for (std::size_t k = 0; k != sizes[i]; ++k)
            same = same && results[i][k] == 3.0 * (0.5 + static_cast<double>(k));
        CHECK(same);
    }
    support::check_clean(shared_cluster());
}

TEST_CASE("a broadcast value comes to each worker once, and goes with its last handle", "[calls]") {
    const support::scratch_dir dir;
    {
        const auto table = joblot::broadcast(std::vector<double>(100'000, 2.5));
        // The inode of the memory that the task sees the table in: one for each worker.
        const auto where = [](int me, const std::string& folder,
                              const joblot::broadcasted<std::vector<double>>& shared) {
            support::meet(folder, me, 4);
            const auto address = reinterpret_cast<std::uintptr_t>(shared.span().data());
            std::string inode;
            std::ifstream maps("/proc/self/maps");
            for (std::string line; std::getline(maps, line);) {
                unsigned long begin = 0, end = 0, offset = 0;
                char rights[8] = {}, device[16] = {}, number[24] = {};
                std::sscanf(line.c_str(), "%lx-%lx %7s %lx %15s %23s", &begin, &end, rights, &offset, device, number);
                if (begin <= address && address < end) inode = number;
            }
            return std::tuple(static_cast<int>(::getppid()), inode, shared.span()[99'999]);
        };
        for (int round = 0; round != 2; ++round) {
            const std::string folder = dir.file(std::to_string(round));
            std::filesystem::create_directory(folder);
            const auto seen = Parallel({.backend = on_cluster(), .batch_size = 1})(
                views::iota(0, 4) | views::transform([&](int i) { return delayed(where)(i, folder, table); }));
            std::set<std::pair<int, std::string>> copies;
            for (const auto& [worker, inode, value] : seen) {
                CHECK(value == 2.5);
                CHECK(inode != "0");
                copies.emplace(worker, inode);
            }
            CHECK(copies.size() == 2);
        }
    }
    support::check_clean(shared_cluster());
}

TEST_CASE("progress counts the tasks of a batch that runs", "[calls]") {
    const support::scratch_dir dir;
    const auto task = [](int i, const std::string& folder) {
        if (i != 9) std::this_thread::sleep_for(std::chrono::milliseconds(100));
        return i != 9 || support::eventually([&] { return support::exists(folder + "/seen"); });
    };
    std::size_t last = 0; // events come one at a time
    bool in_order = true;
    const auto seen = [&](const joblot::progress_event& e) {
        in_order = in_order && e.done >= last && e.done <= 10;
        last = e.done;
        if (e.done > 1 && e.done < 10) support::publish(dir.file("seen"), "");
    };
    const auto results = Parallel({.backend = on_cluster(), .progress = seen, .batch_size = 10})(
        views::iota(0, 10) | views::transform([&](int i) { return delayed(task)(i, dir.path()); }));
    CHECK(results == std::vector<bool>(10, true));
    CHECK(in_order);
    CHECK(last == 10);
    support::check_clean(shared_cluster());
}

TEST_CASE("a worker that joins later takes part in the call", "[calls]") {
    support::dask_cluster cluster(1);
    const support::scratch_dir dir;
    auto call = std::async(std::launch::async, [&] {
        return Parallel({.backend = on(cluster), .batch_size = 1})(
            views::iota(0, 2) | views::transform([&](int i) {
                return delayed([](int me, const std::string& folder) {
                    support::meet(folder, me, 2); // with one worker of one thread they never would
                    return static_cast<int>(::getppid());
                })(i, dir.path());
            }));
    });
    REQUIRE(support::eventually(
        [&] { return support::exists(dir.file("here-0")) || support::exists(dir.file("here-1")); }));
    cluster.add_worker();
    const std::vector<int> met = call.get();
    CHECK(std::set<int>(met.begin(), met.end()) == std::set<int>{cluster.worker(1).pid(), cluster.worker(2).pid()});
    support::check_clean(cluster);
}

TEST_CASE("a call inside a task stays inside the worker's process", "[calls]") {
    const auto nested = [](int i) {
        const auto pids =
            Parallel({.n_jobs = 2}).map([](int) { return static_cast<int>(::getpid()); }, views::iota(0, 4));
        return std::ranges::count(pids, static_cast<int>(::getpid())) == 4 && i >= 0;
    };
    const auto inside = Parallel({.backend = on_cluster()}).map(nested, views::iota(0, 4));
    CHECK(std::ranges::count(inside, true) == 4);
}

TEST_CASE("calls of several threads at once share the cluster", "[calls]") {
    std::atomic<int> right = 0;
    {
        std::vector<std::jthread> callers;
        for (int i = 0; i != 4; ++i)
            callers.emplace_back([&] {
                if (all_right(Parallel({.backend = on_cluster()})(right_tasks()))) ++right;
            });
    }
    CHECK(right == 4);
    support::check_clean(shared_cluster());
}

TEST_CASE("a program is uploaded once, and its files go with the worker", "[calls]") {
    support::dask_cluster cluster(1);
    CHECK(all_right(Parallel({.backend = on(cluster)})(right_tasks())));
    const auto plugins = cluster.state().at("plugins").size();
    const auto files = cluster.ask({{"ask", "files"}}).front();
    CHECK(std::ranges::count_if(files.items(), [](const auto& f) { return f.key().starts_with("joblot"); }) >= 1);
    CHECK(all_right(Parallel({.backend = on(cluster)})(right_tasks())));
    CHECK(cluster.state().at("plugins").size() == plugins);
    CHECK(cluster.ask({{"ask", "files"}}).front().size() == files.size());
    const auto children = cluster.ask({{"ask", "children"}}).front().get<std::vector<pid_t>>();
    CHECK(!children.empty());
    cluster.worker(1).signal(SIGTERM);
    CHECK(cluster.worker(1).wait() != -1);
    for (const pid_t child : children) CHECK(support::eventually([&] { return support::is_gone(child); }));
    int left = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(cluster.folder() + "/worker-1"))
        if (entry.path().filename().string().starts_with("joblot")) ++left;
    CHECK(left == 0);
}
