// SPDX-License-Identifier: BSL-1.0
// The life of workers: reused from call to call, replaced after so many tasks, prepared by worker_init, ended when
// nobody needs them.

#include "support.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <cstdlib>
#include <ctime>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using namespace std::chrono_literals;
using joblot::delayed;
using joblot::Parallel;
using joblot::processes;

int pid_after_meeting(int i, const std::string& dir) {
    support::meet(dir, i, 3);
    return ::getpid();
}
/// The processes of a call in which three workers take part.
std::set<pid_t> three_workers(const joblot::backend_choice& backend) {
    const support::scratch_dir dir;
    const auto pids = Parallel({.n_jobs = 3, .backend = backend, .batch_size = 1})(
        views::iota(0, 3) | views::transform([&](int i) { return delayed(pid_after_meeting)(i, dir.path()); }));
    return {pids.begin(), pids.end()};
}
bool all_gone(const std::set<pid_t>& pids) {
    return support::eventually([&] { return std::ranges::all_of(pids, support::is_gone); });
}

int times_prepared = 0;
void prepare() { ++times_prepared; }
std::pair<pid_t, int> who_prepared(int) { return {::getpid(), times_prepared}; }

void fail_to_prepare() { throw std::runtime_error("no licence for this machine"); }
void fail_oddly() { throw 42; } // main has made the type known, so it could come out as it is
void fail_more_oddly() { throw 4.2L; }
void die_while_preparing() {
    std::fprintf(stderr, "preparing goes wrong\n");
    ::_exit(8);
}

std::string environment_value(const std::string& name) {
    const char* const value = std::getenv(name.c_str());
    return value ? value : "not set";
}
std::vector<std::string> in_worker(const joblot::options& options, const std::string& name) {
    return Parallel(options)(views::iota(0, 2) |
                             views::transform([&](int) { return delayed(environment_value)(name); }));
}

/// An argument that throws when it is to be sent.
struct unwritable {
    int value = 0;
    template <class Archive>
    void save(Archive&) const {
        throw std::domain_error("cannot be written");
    }
    template <class Archive>
    void load(Archive&) {}
};
int take_unwritable(const unwritable& what) { return what.value; }

/// What this process has used so far.
std::chrono::nanoseconds cpu_time() {
    timespec used{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

std::string message_of_failure(const processes& backend) {
    try {
        support::pool_works(Parallel({.n_jobs = backend.n_jobs.value_or(2), .backend = backend}));
    } catch (const joblot::backend_error& e) {
        return e.what();
    }
    return "";
}

} // namespace

TEST_CASE("workers are other processes, and the same ones in later calls", "[pool]") {
    const std::set<pid_t> first = three_workers("processes");
    CHECK(first.size() == 3);
    CHECK(!first.contains(::getpid()));
    CHECK(three_workers("processes") == first);
    CHECK(first.contains(support::some_worker()));
    CHECK(three_workers(processes{}) == first); // equal descriptions share them
}

TEST_CASE("workers of different descriptions are different", "[pool]") {
    const pid_t plain = support::some_worker();
    CHECK(support::some_worker(processes{.inner_max_num_threads = 1}) != plain);
    CHECK(support::some_worker() == plain);
}

TEST_CASE("one job is done by a worker process, too", "[pool]") { CHECK(support::some_worker() != ::getpid()); }

TEST_CASE("two calls at the same time have workers of their own", "[pool]") {
    const support::scratch_dir dir;
    std::set<pid_t> pids[2];
    const auto one_of_two = [](int i, const std::string& folder) {
        support::meet(folder, i, 2);
        return ::getpid();
    };
    std::vector<std::jthread> callers;
    for (int caller = 0; caller != 2; ++caller)
        callers.emplace_back([&, caller] {
            const auto got = Parallel({.n_jobs = 1, .backend = "processes"})(
                views::iota(caller, caller + 1) |
                views::transform([&](int i) { return delayed(one_of_two)(i, dir.path()); }));
            pids[caller].insert(got.begin(), got.end());
        });
    callers.clear();
    CHECK(pids[0].size() == 1);
    CHECK(pids[0] != pids[1]);
}

TEST_CASE("a worker is replaced after max_tasks_per_worker tasks", "[pool]") {
    const joblot::batch_size_option batch =
        GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{1}, joblot::batch_size_option{10});
    // a description of its own: no other test leaves workers that have done some of their tasks
    const processes fresh{.max_tasks_per_worker = 3, .idle_timeout = 1min + 7ms};
    const auto pids =
        Parallel({.n_jobs = 1, .backend = fresh, .batch_size = batch}).map(support::own_pid, views::iota(0, 12));
    std::map<pid_t, int> tasks;
    for (const pid_t pid : pids) ++tasks[pid];
    CHECK(tasks.size() >= 4);
    for (const auto& [pid, count] : tasks) {
        CHECK(count <= 3);
        CHECK(all_gone({pid}));
    }
}

TEST_CASE("worker_init runs once in each worker", "[pool][worker_init]") {
    const processes prepared{.worker_init = prepare};
    for (int call = 0; call != 3; ++call)
        for (const auto& [pid, times] :
             Parallel({.n_jobs = 2, .backend = prepared, .batch_size = 1}).map(who_prepared, views::iota(0, 10))) {
            CHECK(pid != ::getpid());
            CHECK(times == 1);
        }
    CHECK(times_prepared == 0);
    CHECK(Parallel({.n_jobs = 1, .backend = "processes"}).map(who_prepared, views::iota(0, 1)).front().second == 0);
}

TEST_CASE("worker_init runs in each replacement of a worker", "[pool][worker_init]") {
    const processes prepared{.worker_init = prepare, .max_tasks_per_worker = 1};
    for (const auto& [pid, times] : Parallel({.n_jobs = 1, .backend = prepared}).map(who_prepared, views::iota(0, 3)))
        CHECK(times == 1);
}

TEST_CASE("what worker_init throws is in the backend_error", "[pool][worker_init]") {
    const std::set<pid_t> before = support::children();
    const std::string message = message_of_failure({.worker_init = fail_to_prepare});
    CHECK(message.find("worker_init") != std::string::npos);
    CHECK(message.find("no licence for this machine") != std::string::npos);
    for (const auto init : {fail_oddly, fail_more_oddly})
        CHECK(message_of_failure({.worker_init = init}).find("worker_init failed") != std::string::npos);
    // those that failed are not kept: they would stay for minutes
    CHECK(support::no_new_children(before));
    CHECK(support::pool_works(Parallel({.n_jobs = 2, .backend = "processes"})));
}

TEST_CASE("a worker_init that ends the process is a backend_error with its stderr", "[pool][worker_init]") {
    const std::string message = message_of_failure({.worker_init = die_while_preparing});
    CHECK(message.find("exit status 8") != std::string::npos);
    CHECK(message.find("preparing goes wrong") != std::string::npos);
    CHECK(support::pool_works(Parallel({.n_jobs = 2, .backend = "processes"})));
}

TEST_CASE("a forked worker's worker_init that throws is in the backend_error", "[pool][worker_init][fork]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    const std::string message =
        message_of_failure({.start_method = joblot::start_method::fork, .worker_init = fail_to_prepare});
    CHECK(message.find("worker_init") != std::string::npos);
    CHECK(message.find("no licence for this machine") != std::string::npos);
    CHECK(support::pool_works(Parallel({.n_jobs = 2, .backend = "processes"})));
}

TEST_CASE("a forked worker whose worker_init throws anything does not go on as a second copy of the program",
          "[pool][worker_init][fork]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    const support::scratch_dir dir;
    const pid_t here = ::getpid();
    const std::string message =
        message_of_failure({.n_jobs = 1, .start_method = joblot::start_method::fork, .worker_init = fail_oddly});
    if (::getpid() != here) {
        support::first_to_create(dir.file("a copy was here"));
        ::_exit(1);
    }
    CHECK_FALSE(support::exists(dir.file("a copy was here")));
    CHECK(message.find("worker_init") != std::string::npos);
}

TEST_CASE("inner_max_num_threads is in the workers' environment", "[pool][inner_threads]") {
    for (const char* name : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}) {
        INFO(name);
        const std::string here = environment_value(name);
        for (const std::string& value :
             in_worker({.n_jobs = 2, .backend = processes{.inner_max_num_threads = 3}}, name))
            CHECK(value == "3");
        const joblot::parallel_backend guard{"processes", {.inner_max_num_threads = 5}};
        for (const std::string& value : in_worker({.n_jobs = 2}, name)) CHECK(value == "5");
        CHECK(environment_value(name) == here);
    }
}

TEST_CASE("without inner_max_num_threads a worker may use its fair share", "[pool][inner_threads]") {
    if (std::getenv("OMP_NUM_THREADS")) SKIP("OMP_NUM_THREADS is set here");
    const int share = std::max(1, joblot::cpu_count() / 2);
    const processes fresh{.idle_timeout = 1min + 3ms}; // a description of its own: workers of this call
    for (const std::string& value : in_worker({.n_jobs = 2, .backend = fresh}, "OMP_NUM_THREADS"))
        CHECK(value == std::to_string(share));
}

TEST_CASE("idle workers end after idle_timeout, and a later call has new ones", "[pool]") {
    const processes short_lived{.idle_timeout = 50ms};
    const std::set<pid_t> first = three_workers(short_lived);
    CHECK(first.size() == 3);
    CHECK(all_gone(first));
    CHECK(support::eventually([&] { // and none is left as a zombie
        const auto now = support::children();
        return std::ranges::none_of(first, [&](pid_t pid) { return now.contains(pid); });
    }));
    CHECK(support::pool_works(Parallel({.n_jobs = 3, .backend = short_lived})));
}

TEST_CASE("an idle worker that is killed is replaced, and left as no zombie", "[pool][crash]") {
    const pid_t worker = support::some_worker();
    ::kill(worker, SIGKILL);
    CHECK(support::pool_works(Parallel({.n_jobs = 2, .backend = "processes"})));
    CHECK(support::some_worker() != worker);
    CHECK(support::eventually([&] { return !support::children().contains(worker); }));
}

TEST_CASE("a short idle_timeout holds, too, when workers with a long one are idle", "[pool]") {
    support::some_worker();
    const auto begin = std::chrono::steady_clock::now();
    CHECK(all_gone({support::some_worker(processes{.idle_timeout = 20ms})}));
    CHECK(std::chrono::steady_clock::now() - begin < 5s); // no measure of speed: 250 times as long
}

TEST_CASE("a worker that was started and then given nothing is idle, and so is the pool", "[pool]") {
    const processes fresh{.idle_timeout = 1min + 11ms}; // a description of its own: a new worker
    const auto tasks =
        views::iota(0, 4) | views::transform([](int i) { return delayed(take_unwritable)(unwritable{i}); });
    for (const auto& outcome : Parallel({.n_jobs = 1, .backend = fresh}).outcomes(tasks))
        CHECK_THROWS_AS(outcome.value(), std::domain_error);
    const auto before = cpu_time();
    std::this_thread::sleep_for(500ms);
    CHECK(cpu_time() - before < 100ms); // no measure of speed: to do nothing takes none
    CHECK(support::pool_works(Parallel({.n_jobs = 1, .backend = fresh})));
}

TEST_CASE("idle_timeout must be positive", "[pool]") {
    CHECK_THROWS_AS(processes{.idle_timeout = 0ms}.make(), std::invalid_argument);
}
