// SPDX-License-Identifier: BSL-1.0
// What the workers of a cluster were given is gone or broken: the program's file, its folder, the module, or there was
// no room for it. It is brought again, by the client that gave it and by others, and nobody waits for ever.

#include "cluster.hpp"
#include "failure.hpp"

#include <sys/mount.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <future>
#include <stop_token>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::all_right;
using support::contains;
using support::dask_cluster;
using support::failure_of;
using support::on;
using support::right_value;
using support::tasks_in_call;
using namespace std::chrono_literals;

/// A call of which all tasks run on one worker.
bool works_on(const std::string& address, const std::string& worker,
              std::chrono::milliseconds patience = support::patience) {
    joblot::dask::backend backend = on(address, patience);
    backend.workers = {worker};
    return all_right(Parallel({.backend = backend}).map(right_value, views::iota(0, tasks_in_call)));
}
/// What goes wrong in such a call; "" where nothing does.
std::string trouble_on(const std::string& address, const std::string& worker,
                       std::chrono::milliseconds patience = support::patience) {
    bool works = true;
    const std::string text = failure_of([&] { works = works_on(address, worker, patience); });
    return text == "nothing was thrown" ? (works ? "" : "wrong results") : text;
}

/// All files of a worker that are the program, or were to become it.
std::vector<fs::path> programs_in(const std::string& folder) {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        if (entry.path().filename().string().starts_with("joblot-")) found.push_back(entry.path());
    }
    return found;
}
/// The one file that it must be.
fs::path program_in(const std::string& folder) {
    const auto found = programs_in(folder);
    REQUIRE(found.size() == 1);
    return found.front();
}
bool is_whole(const fs::path& file) {
    return fs::is_regular_file(file) && fs::file_size(file) == fs::file_size("/proc/self/exe") &&
           (fs::status(file).permissions() & fs::perms::owner_exec) != fs::perms::none;
}

/// Makes a call in a process of its own, on "worker-1". @return What it printed; "" if all went well.
std::string other_client(const dask_cluster& cluster, const std::string& log) {
    ::setenv("JOBLOT_TEST_ADDRESS", cluster.address().c_str(), 1);
    support::process client({"/proc/self/exe", "one call of another client"}, log);
    const bool fine = client.wait() == 0;
    return fine ? std::string() : "failed: " + support::read_all(log);
}

} // namespace

// Run by the others, in a process of its own.
TEST_CASE("one call of another client", "[.other_client]") {
    const char* const address = std::getenv("JOBLOT_TEST_ADDRESS");
    REQUIRE(address);
    CHECK(works_on(address, "worker-1"));
}

TEST_CASE("the program on a worker is gone or broken: it is brought again", "[lost]") {
    const std::vector<std::pair<std::string, std::function<void(const fs::path&)>>> damages{
        {"deleted", [](const fs::path& file) { fs::remove(file); }},
        {"folder deleted", [](const fs::path& file) { fs::remove_all(file.parent_path()); }},
        {"cut off",
         [](const fs::path& file) { // a program that runs is not cut off
             const fs::path copy = file.parent_path() / "copy";
             fs::copy_file(file, copy);
             fs::resize_file(copy, 4711);
             fs::rename(copy, file);
         }},
        {"empty",
         [](const fs::path& file) {
             fs::remove(file);
             std::ofstream(file).flush();
             fs::permissions(file, fs::perms::owner_all);
         }},
        {"another program",
         [](const fs::path& file) {
             fs::remove(file);
             fs::copy_file("/bin/true", file);
         }},
        {"may not be run", [](const fs::path& file) { fs::permissions(file, fs::perms::owner_read); }},
        {"may not be touched", [](const fs::path& file) { fs::permissions(file, fs::perms::none); }},
        {"a link to nowhere",
         [](const fs::path& file) {
             fs::remove(file);
             fs::create_symlink("/nowhere", file);
         }},
        {"a pipe", [](const fs::path& file) {
             fs::remove(file);
             REQUIRE(::mkfifo(file.c_str(), 0700) == 0);
         }}};
    dask_cluster cluster(2);
    const std::string folder = cluster.folder() + "/worker-1";
    REQUIRE(works_on(cluster.address(), "worker-1"));
    REQUIRE(works_on(cluster.address(), "worker-2"));
    for (const auto& [name, damage] : damages) {
        CAPTURE(name);
        damage(program_in(folder));
        CHECK(trouble_on(cluster.address(), "worker-1") == "");
        CHECK(is_whole(program_in(folder)));
        damage(program_in(folder));
        CHECK(other_client(cluster, cluster.folder() + "/client.log") == "");
        CHECK(is_whole(program_in(folder)));
    }
    support::check_clean(cluster);
}

TEST_CASE("the program goes from a worker in the middle of a call", "[lost]") {
    dask_cluster cluster(1);
    const support::scratch_dir dir;
    const auto waits = [](int i, const std::string& in) {
        support::publish(in + "/" + std::to_string(i), "");
        support::await(in + "/go");
        return right_value(i);
    };
    auto call = std::async(std::launch::async, [&] {
        return Parallel({.backend = on(cluster), .batch_size = 1})(
            views::iota(0, tasks_in_call) | views::transform([&](int i) { return delayed(waits)(i, dir.path()); }));
    });
    REQUIRE(support::eventually([&] { return support::exists(dir.file("0")); }));
    fs::remove(program_in(cluster.folder() + "/worker-1"));
    support::publish(dir.file("go"), "");
    CHECK(all_right(call.get()));
    CHECK(is_whole(program_in(cluster.folder() + "/worker-1")));
    support::check_clean(cluster);
}

TEST_CASE("a worker without the module that runs the program: it is given it again, or the call ends", "[lost]") {
    dask_cluster cluster(1);
    REQUIRE(works_on(cluster.address(), "worker-1"));
    const std::vector<std::string> plugins = cluster.state().at("plugins");
    int ours = 0;
    for (const std::string& plugin : plugins) {
        if (!plugin.starts_with("joblot_shim_")) continue; // newer versions have some of their own
        ++ours;
        cluster.ask({{"ask", "evaluate"}, {"expression", "client.unregister_worker_plugin('" + plugin + "')"}});
    }
    CHECK(ours == 1);
    cluster.add_worker();
    REQUIRE(cluster.has_workers(2));
    const std::string trouble = trouble_on(cluster.address(), "worker-2", 10s);
    CAPTURE(trouble); // newer versions end a worker that cannot import what a task names
    CHECK((trouble.empty() || contains(trouble, "has had no worker")));
    support::check_clean(cluster);
}

TEST_CASE("the disk of a worker is full for a while", "[lost]") {
    const support::scratch_dir dir;
    const std::string small = dir.file("small");
    fs::create_directory(small);
    if (::mount("none", small.c_str(), "tmpfs", 0, "size=128k") != 0)
        SKIP("a small file system cannot be mounted here");
    {
        dask_cluster cluster(0);
        cluster.add_worker({.folder = small});
        REQUIRE(cluster.has_workers(1));
        for (int i = 0; i != 2; ++i) {
            const std::string failed = trouble_on(cluster.address(), "worker-1");
            CAPTURE(failed);
            CHECK(contains(failed, "worker tcp://127.0.0.1:"));
            CHECK(contains(failed, small + "/"));
            CHECK(contains(failed, "No space left on device"));
            CHECK(failed.find('\n') == failed.npos);
            CHECK(programs_in(small).empty());
            const std::string other = other_client(cluster, dir.file("log" + std::to_string(i)));
            CHECK(contains(other, "No space left on device"));
            CHECK(programs_in(small).empty());
        }
        REQUIRE(::mount("none", small.c_str(), "tmpfs", MS_REMOUNT, "size=1g") == 0);
        CHECK(trouble_on(cluster.address(), "worker-1") == "");
        fs::remove(program_in(small));
        CHECK(other_client(cluster, dir.file("log2")) == "");
        CHECK(is_whole(program_in(small)));
        support::check_clean(cluster);
    }
    CHECK(::umount2(small.c_str(), MNT_DETACH) == 0);
}

TEST_CASE("a call that is stopped does not wait for a worker that does not answer", "[lost]") {
    dask_cluster cluster(2);
    cluster.worker(2).signal(SIGSTOP);
    std::stop_source source;
    auto stopped = std::async(std::launch::async, [&] {
        return Parallel({.backend = on(cluster), .stop = source.get_token()})
            .map(right_value, views::iota(0, tasks_in_call));
    });
    CHECK(stopped.wait_for(std::chrono::milliseconds(300)) == std::future_status::timeout);
    auto second = std::async(std::launch::async, [&] { // waits for what the first one does
        return Parallel({.backend = on(cluster), .stop = source.get_token()})
            .map(right_value, views::iota(0, tasks_in_call));
    });
    CHECK(second.wait_for(std::chrono::milliseconds(300)) == std::future_status::timeout);
    source.request_stop();
    CHECK_THROWS_AS(stopped.get(), joblot::cancelled);
    CHECK_THROWS_AS(second.get(), joblot::cancelled);
    cluster.worker(2).signal(SIGCONT);
    CHECK(works_on(cluster.address(), "worker-2"));
    support::check_clean(cluster);
}
