// SPDX-License-Identifier: BSL-1.0
// What calls leave behind: no descriptor, no process, no zombie, no file in shared memory; and what workers inherit.

#include "start_methods.hpp"
#include "support.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <sys/wait.h>

#include <csignal>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

namespace {

namespace views = std::views;
using namespace std::chrono_literals;
using joblot::delayed;
using joblot::Parallel;
using support::forked;

joblot::processes short_lived() { return {.idle_timeout = 30ms}; }

int sometimes_bad(int i, int what) {
    if (i != support::victim) return i;
    if (what == 1) ::_exit(1);
    if (what == 2) throw std::runtime_error("bad");
    if (what == 3) support::sleep_for_ever();
    return i;
}
std::vector<double> large_value(std::vector<double> values) { return values; }
double first_of(int, std::span<const double> values) { return values[0]; }

/// Calls of every kind, those that end badly included.
void use_everything(const joblot::backend_choice& backend) {
    for (int what = 0; what != 4; ++what) {
        joblot::options options = support::big_batches(backend);
        if (what == 3) options.timeout = 100ms;
        static_cast<void>(Parallel(options).outcomes(
            views::iota(0, 20) | views::transform([&](int i) { return delayed(sometimes_bad)(i, what); })));
    }
    const Parallel parallel({.n_jobs = 2, .backend = backend});
    parallel.map(large_value, std::vector(4, std::vector<double>(1U << 18)));
    const auto table = joblot::broadcast(std::vector<double>(1000));
    parallel(views::iota(0, 4) | views::transform([&](int i) { return delayed(first_of)(i, table); }));
    for (const int value : parallel.generator(views::iota(0, 100) | views::transform(delayed(support::right_value))))
        if (value > 100) break;
}

/// How many descriptors are open when what the pool is still closing is closed.
std::size_t settled_descriptors() {
    std::this_thread::sleep_for(100ms);
    return support::open_descriptors().size();
}

std::set<std::string> names_in(const char* folder) {
    std::set<std::string> names;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(folder, none))
        names.insert(entry.path().filename().string());
    return names;
}

std::vector<std::string> descriptors_of_worker(const joblot::backend_choice& backend) {
    return Parallel({.n_jobs = 1, .backend = backend})
        .map([](int) { return support::open_descriptors(); }, views::iota(0, 1))
        .front();
}
int number_of(const std::string& descriptor) { return std::stoi(descriptor); }

struct signals {
    bool pipe_is_default = false;
    bool any_blocked = false;
    char input = '?';
};
signals look_at_signals(int) {
    struct sigaction pipe{};
    ::sigaction(SIGPIPE, nullptr, &pipe);
    sigset_t blocked;
    ::sigprocmask(SIG_BLOCK, nullptr, &blocked);
    signals seen{.pipe_is_default = pipe.sa_handler == SIG_DFL};
    for (int s = 1; s != 32; ++s) seen.any_blocked = seen.any_blocked || sigismember(&blocked, s) == 1;
    seen.input = ::read(STDIN_FILENO, &seen.input, 1) == 0 ? 'e' : 'x'; // 'e': at its end
    return seen;
}

} // namespace

TEST_CASE("no descriptor, process or file is left when the workers have ended", "[traces]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    const auto backend = GENERATE(joblot::backend_choice(short_lived()), joblot::backend_choice(forked()));
    const std::set<pid_t> before = support::children();
    use_everything(backend); // the pool itself comes with the first use
    REQUIRE(support::no_new_children(before));
    const std::size_t descriptors = settled_descriptors();
    const auto files = names_in("/dev/shm");
    for (int round = 0; round != 3; ++round) use_everything(backend);
    CHECK(support::no_new_children(before)); // zombies count as children
    CHECK(support::eventually([&] { return support::open_descriptors().size() <= descriptors; }));
    for (const std::string& name : names_in("/dev/shm")) {
        INFO(name);
        CHECK((files.contains(name) || name.find("joblot") == name.npos)); // others may use the folder, too
    }
}

TEST_CASE("workers that are kept keep their descriptors, and calls add none", "[traces]") {
    const Parallel parallel({.n_jobs = 2, .backend = "processes"});
    const auto three = [](int i, const std::string& dir) {
        support::meet(dir, i, 2);
        return i;
    };
    const support::scratch_dir dir;
    Parallel({.n_jobs = 2, .backend = "processes", .batch_size = 1})(
        views::iota(0, 2) | views::transform([&](int i) { return delayed(three)(i, dir.path()); })); // both are there
    const std::size_t before = support::open_descriptors().size();
    for (int i = 0; i != 20; ++i) REQUIRE(support::pool_works(parallel));
    CHECK(support::open_descriptors().size() == before);
}

TEST_CASE("a worker has its standard streams, its connections, and nothing of its owner", "[traces]") {
    const int inherited = ::open("/dev/null", O_RDONLY); // NOLINT: without O_CLOEXEC, as careless code does it
    REQUIRE(inherited >= 0);
    support::some_worker(); // there is more than one
    const auto descriptors = descriptors_of_worker(joblot::processes{.max_tasks_per_worker = 1});
    ::close(inherited);
    CHECK(descriptors.size() >= 4);
    std::size_t lifelines = 0; // of a number of its own: a pipe that ends with the program, and nothing else
    for (const std::string& d : descriptors) {
        INFO(d);
        if (number_of(d) <= 6) continue;
        CHECK(d.find("pipe:") != std::string::npos);
        ++lifelines;
    }
    CHECK(lifelines <= 1);
}

TEST_CASE("a program that a task starts gets nothing of the worker's connections", "[traces]") {
    const auto listing = [](int) {
        std::string text;
        std::FILE* const program = ::popen("ls /proc/self/fd", "r");
        if (!program) throw std::runtime_error("popen");
        for (int c = 0; (c = std::fgetc(program)) != EOF;) text += static_cast<char>(c);
        ::pclose(program);
        return text;
    };
    const std::string text = Parallel({.n_jobs = 1, .backend = "processes"}).map(listing, views::iota(0, 1)).front();
    CHECK(text == "0\n1\n2\n3\n"); // 3 is the folder that it lists
}

TEST_CASE("a worker has no input, no blocked signals, and default handlers", "[traces]") {
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before); // nothing that a caller does to itself is the workers' business
    const auto seen = Parallel({.n_jobs = 1, .backend = joblot::processes{.max_tasks_per_worker = 2}})
                          .map(look_at_signals, views::iota(0, 1))
                          .front();
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    CHECK(seen.pipe_is_default);
    CHECK_FALSE(seen.any_blocked);
    CHECK(seen.input == 'e');
}

TEST_CASE("a program whose standard streams are closed has workers all the same", "[traces]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    const pid_t child = ::fork();
    if (child == 0) {
        for (int number = 0; number != 3; ++number) ::close(number);
        ::alarm(60);
        ::_exit(support::pool_works(Parallel({.n_jobs = 2, .backend = "processes"})) ? 0 : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
}

TEST_CASE("a program that has taken all descriptors gets a backend_error, and workers when some are free", "[traces]") {
    if (support::under_asan || support::under_tsan) SKIP("the sanitizers need descriptors of their own");
    const std::set<pid_t> before = support::children();
    std::vector<int> taken;
    for (int number = 0; (number = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) taken.push_back(number);
    std::string message;
    try {
        support::some_worker(joblot::processes{.max_tasks_per_worker = 3});
    } catch (const joblot::backend_error& e) {
        message = e.what();
    }
    for (const int number : taken) ::close(number);
    CHECK(message.find("ulimit -n") != std::string::npos);
    CHECK(support::no_new_children(before));
    CHECK(support::some_worker(joblot::processes{.max_tasks_per_worker = 3}) > 0);
}
