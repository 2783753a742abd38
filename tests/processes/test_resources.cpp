// SPDX-License-Identifier: BSL-1.0
// Workers that run out of something: memory, shared memory, processes. And workers that say what makes no sense.

#include "../support/child.hpp"
#include "support.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cstring>
#include <new>
#include <numeric>
#include <string>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::right_value;
using support::victim;

constexpr std::size_t megabyte = 1U << 20;

// --- memory

joblot::processes frugal() { return {.memory_limit = 256 * megabyte}; }

int takes_a_gigabyte(int i) {
    if (i != victim) return right_value(i);
    const std::vector<char> much(1024 * megabyte, 'x');
    return much[static_cast<std::size_t>(i)];
}
int takes_a_gigabyte_and_insists(int i) noexcept { return takes_a_gigabyte(i); }
int takes_some(int) {
    const std::vector<char> some(64 * megabyte, 'x');
    return some[5] - 'x';
}

void set_limit(__rlimit_resource which, rlim_t most) {
    const rlimit limit{most, most};
    ::setrlimit(which, &limit);
}

// --- shared memory

std::vector<double> numbers_from(int i, std::size_t count) {
    std::vector<double> numbers(count);
    std::iota(numbers.begin(), numbers.end(), static_cast<double>(i));
    return numbers;
}
std::vector<double> plus_one(std::vector<double> values) {
    for (double& v : values) v += 1;
    return values;
}
/// Large arguments and large results, in several rounds.
bool large_values_are_right() {
    const auto make = [](int i) { return delayed(plus_one)(numbers_from(i, megabyte)); };
    for (int round = 0; round != 2; ++round) {
        const auto results =
            Parallel({.n_jobs = 2, .backend = "processes"})(views::iota(0, 4) | views::transform(make));
        for (int i = 0; i != 4; ++i)
            if (results[static_cast<std::size_t>(i)] != numbers_from(i + 1, megabyte)) return false;
    }
    return true;
}

// --- processes

/// No process can be started any more. root may do what it likes, so this must become somebody else.
void forbid_processes() {
    if (::geteuid() == 0) {
        constexpr uid_t nobody = 65534;
        if (::setuid(nobody) != 0) ::_exit(4);
        ::prctl(PR_SET_DUMPABLE, 1); // the change took /proc/self away, which workers are started from
    }
    set_limit(RLIMIT_NPROC, 1);
}
/// The text of the backend_error of a call, or "" if there is none.
std::string refusal_of(const Parallel& parallel) {
    try {
        support::pool_works(parallel);
    } catch (const joblot::backend_error& e) {
        return e.what();
    }
    return "";
}
bool helps(const std::string& text) { return text.find("ulimit -u") != std::string::npos; }

// --- broken frames

constexpr int own_socket = 3;

int writes_garbage(int i) {
    if (i != victim) return right_value(i);
    const std::string garbage(200, '#');
    if (::send(own_socket, garbage.data(), garbage.size(), 0) != 200) ::_exit(9);
    support::sleep_for_ever();
    return 0;
}
int writes_half_a_head(int i) {
    if (i != victim) return right_value(i);
    const joblot::detail::frame_head head{.kind = joblot::detail::frame_kind::results, .stream_size = 64};
    if (::send(own_socket, &head, sizeof head / 2, 0) != sizeof head / 2) ::_exit(9);
    std::fprintf(stderr, "only half was said\n");
    ::_exit(6);
}
int announces_more_than_there_is(int i) {
    if (i != victim) return right_value(i);
    const joblot::detail::frame_head head{
        .kind = joblot::detail::frame_kind::results, .stream_size = std::uint64_t{1} << 62, .block_count = 1U << 30};
    if (::send(own_socket, &head, sizeof head, 0) != sizeof head) ::_exit(9);
    support::sleep_for_ever();
    return 0;
}
int closes_its_socket(int i) {
    if (i != victim) return right_value(i);
    ::close(own_socket);
    support::sleep_for_ever();
    return 0;
}
int garbage_then_on_with_it(int i) {
    if (i == victim) static_cast<void>(::send(own_socket, "###", 3, 0));
    return right_value(i);
}

/// Tasks in threes: a short one, so that two more are sent; one that sees the last of the three come, which is too
/// much for the socket; and that one.
int garbage_while_owner_sends(int i, const std::vector<std::string>& much, const std::string& dir) {
    const auto arrived = [] {
        int bytes = 0;
        return ::ioctl(own_socket, FIONREAD, &bytes) == 0 && bytes > 50'000;
    };
    for (int wait = 0; i % 3 == 1 && wait != 500 && !support::exists(dir + "/said"); ++wait) {
        if (arrived() && support::first_to_create(dir + "/said")) writes_garbage(victim);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return right_value(i) + (i % 3 == 2 && much.size() != 50'000 ? 1 : 0);
}

} // namespace

TEST_CASE("a task that wants more than memory_limit gets std::bad_alloc", "[memory]") {
    if (support::under_asan || support::under_tsan) SKIP("a sanitizer's own memory is beyond any limit");
    support::check_isolated<std::bad_alloc>(
        support::big_batches(frugal()), [](int i) { return delayed(takes_a_gigabyte, "ill-fated")(i); },
        [](const std::bad_alloc&) {});
}

TEST_CASE("a task that cannot do without more than memory_limit ends its own worker only", "[memory]") {
    if (support::under_asan || support::under_tsan) SKIP("a sanitizer's own memory is beyond any limit");
    support::check_isolated<joblot::worker_crashed>(
        support::big_batches(frugal()), [](int i) { return delayed(takes_a_gigabyte_and_insists, "ill-fated")(i); },
        [](const joblot::worker_crashed& e) {
            CHECK(e.signal() == SIGABRT);
            CHECK(e.stderr_tail().find("bad_alloc") != std::string::npos);
        });
}

TEST_CASE("a task that wants less than memory_limit is left alone, and so is this process", "[memory]") {
    if (support::under_asan || support::under_tsan) SKIP("a sanitizer's own memory is beyond any limit");
    const auto results = Parallel({.n_jobs = 2, .backend = frugal()}).map(takes_some, views::iota(0, 10));
    CHECK(results == std::vector<int>(10, 0));
    CHECK(std::vector<char>(512 * megabyte).size() == 512 * megabyte);
    const auto unlimited = Parallel({.n_jobs = 1, .backend = "processes"}).map(takes_a_gigabyte, views::iota(4, 5));
    CHECK(unlimited.front() == 'x');
}

TEST_CASE("without shared memory large values go another way", "[shared_memory]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    const rlim_t most = GENERATE(rlim_t{4096}, rlim_t{3 * megabyte});
    CHECK(support::run_in_child([&] {
              set_limit(RLIMIT_FSIZE, most); // memory files are files
              return large_values_are_right();
          }) == "");
}

TEST_CASE("a broadcast value for which there is no shared memory is a backend_error", "[shared_memory][broadcast]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    CHECK(support::run_in_child([] {
              set_limit(RLIMIT_FSIZE, 3 * megabyte);
              const auto table = joblot::broadcast(numbers_from(0, megabyte));
              const auto first = [](std::span<const double> values) { return values[0]; };
              try {
                  Parallel({.n_jobs = 2, .backend = "processes"})(
                      views::iota(0, 4) | views::transform([&](int) { return delayed(first)(table); }));
              } catch (const joblot::backend_error& e) {
                  return std::string(e.what()).find("shared memory") != std::string::npos &&
                         support::pool_works(Parallel({.n_jobs = 2, .backend = "processes"}));
              }
              return false;
          }) == "");
}

TEST_CASE("when no process can be started the backend_error says which limit it is", "[process_limit]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    const auto backend =
        GENERATE(joblot::backend_choice("processes"),
                 joblot::backend_choice(joblot::processes{.start_method = joblot::start_method::fork}));
    CHECK(support::run_in_child([&] {
              forbid_processes();
              return helps(refusal_of(Parallel({.n_jobs = 2, .backend = backend})));
          }) == "");
}

TEST_CASE("when no more processes can be started the workers that there are do the work", "[process_limit]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    CHECK(support::run_in_child([] {
              const pid_t worker = support::some_worker();
              forbid_processes();
              return support::pool_works(Parallel({.n_jobs = 4, .backend = "processes"})) &&
                     support::some_worker() == worker &&
                     helps(refusal_of(Parallel({.n_jobs = 4, .backend = joblot::processes{.memory_limit = 1U << 30}})));
          }) == "");
}

TEST_CASE("a worker that sends what is no frame is ended, and its task fails", "[frames]") {
    const auto function = GENERATE(&writes_garbage, &announces_more_than_there_is);
    support::check_isolated<joblot::serialization_error>(
        support::big_batches(), [&](int i) { return delayed(function, "ill-fated")(i); },
        [](const joblot::serialization_error& e) {
            CHECK(std::string(e.what()).find("broken frame") != std::string::npos);
        });
}

TEST_CASE("a worker that ends in the middle of a frame has crashed", "[frames]") {
    support::check_isolated<joblot::worker_crashed>(
        support::big_batches(), [](int i) { return delayed(writes_half_a_head, "ill-fated")(i); },
        [](const joblot::worker_crashed& e) {
            CHECK(e.exit_status() == 6);
            CHECK(e.stderr_tail().ends_with("only half was said\n"));
        });
}

TEST_CASE("a worker that closes its connection and goes on has crashed", "[frames]") {
    support::check_isolated<joblot::worker_crashed>(
        support::big_batches(), [](int i) { return delayed(closes_its_socket, "ill-fated")(i); },
        [](const joblot::worker_crashed& e) { CHECK(e.index() == victim); });
}

TEST_CASE("a broken frame that is read while its owner sends ends the worker, not the call", "[frames]") {
    const support::scratch_dir dir;
    const auto make = [&](int i) {
        const std::vector<std::string> much(i % 3 == 2 ? 50'000 : 0,
                                            "not one of the large blocks, which go another way");
        return delayed(garbage_while_owner_sends)(i, much, dir.path());
    };
    std::vector<decltype(make(0))> tasks; // at hand: of what is read as it goes no two batches are sent
    for (int i = 0; i != 30; ++i) tasks.push_back(make(i));
    const Parallel parallel({.n_jobs = 1, .backend = "processes", .batch_size = 1});
    const auto outcomes = parallel.outcomes(tasks);
    CHECK(support::exists(dir.file("said"))); // else no worker was ever sent two tasks at once
    int failed = 0;
    for (std::size_t i = 0; i != outcomes.size(); ++i) {
        INFO("task " << i);
        if (outcomes[i].has_value()) {
            CHECK(outcomes[i].value() == right_value(static_cast<int>(i)));
        } else {
            ++failed;
            CHECK(i % 3 == 1);
            CHECK_THROWS_AS(outcomes[i].value(), joblot::serialization_error);
        }
    }
    CHECK(failed == 1);
    CHECK(support::pool_works(parallel));
}

TEST_CASE("garbage between frames is an error, never a wrong result", "[frames]") {
    const Parallel parallel(support::big_batches());
    CHECK_THROWS_AS(parallel.map(garbage_then_on_with_it, views::iota(0, 10)), joblot::error);
    CHECK(support::pool_works(parallel));
}
