// SPDX-License-Identifier: BSL-1.0
// Tasks that end their worker process, each in a way of its own: only that task fails, and its siblings are run again.

#include "support.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <sys/mman.h>

#include <csignal>
#include <string>
#include <thread>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using joblot::worker_crashed;
using support::right_value;
using support::victim;

constexpr bool sanitized = support::under_asan || support::under_tsan;

enum class deed { segfault, killed, abort, exit_3, quick_exit_4, stack_overflow };

void write_to_nowhere() {
    void* const forbidden = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *static_cast<volatile int*>(forbidden) = 1;
}

[[gnu::noinline]] int recurse(volatile char* caller, int depth) {
    volatile char room[1024];
    room[depth % 1024] = *caller;
    if (depth == 1 << 30) return 0; // never: no compiler may see that it does not end
    return recurse(room, depth + 1) + room[depth % 1024];
}

void commit(deed what, const std::string& dir) {
    std::fprintf(stderr, "last words of task %zu\n", joblot::this_task::index());
    for (const int signal : {SIGSEGV, SIGABRT}) std::signal(signal, SIG_DFL); // a forked task has the test program's
    char start = 1;
    switch (what) {
    case deed::segfault:
        return write_to_nowhere();
    case deed::killed:
        support::publish(dir + "/pid", std::to_string(::getpid()));
        return support::sleep_for_ever();
    case deed::abort:
        std::abort();
    case deed::exit_3:
        std::exit(3);
    case deed::quick_exit_4:
        ::_exit(4);
    case deed::stack_overflow:
        recurse(&start, 0);
    }
}

int may_die(int i, deed what, const std::string& dir) {
    if (i == victim) commit(what, dir);
    return right_value(i);
}

int dies_once(int i, deed what, const std::string& dir) {
    if (i == victim && support::first_to_create(dir + "/tried")) commit(what, dir);
    return right_value(i);
}

int dies_always_counting(int i, const std::string& dir) {
    if (i != victim) return right_value(i);
    for (int attempt = 0; !support::first_to_create(dir + "/" + std::to_string(attempt));) ++attempt;
    ::_exit(5);
}

/// Kills, again and again, whoever publishes its number in the folder.
class killer {
public:
    explicit killer(const std::string& dir)
        : thread_([file = dir + "/pid"](const std::stop_token& over) {
              while (!over.stop_requested()) {
                  if (support::exists(file)) {
                      const pid_t pid = support::await_pid(file);
                      std::filesystem::remove(file);
                      ::kill(pid, SIGKILL);
                  }
                  std::this_thread::sleep_for(std::chrono::milliseconds(1));
              }
          }) {}

private:
    std::jthread thread_;
};

struct expected_end {
    const char* name;
    deed what;
    int signal;      // 0: none
    int exit_status; // likewise
};

// A sanitizer catches some signals itself and exits.
void check_end(const worker_crashed& e, const expected_end& expected) {
    CHECK(e.index() == victim);
    CHECK(e.label() == "ill-fated");
    CHECK(e.stderr_tail().find("last words of task 4\n") != std::string::npos);
    CHECK(std::string(e.what()).find("task 4 (ill-fated)") != std::string::npos);
    CHECK(std::string(e.what()).find("last words of task 4") != std::string::npos);
    CHECK(e.signal().has_value() != e.exit_status().has_value());
    if (sanitized && expected.signal) return;
    CHECK(e.signal().value_or(0) == expected.signal);
    CHECK(e.exit_status().value_or(0) == expected.exit_status);
}

expected_end any_end() {
    return GENERATE(expected_end{"segmentation fault", deed::segfault, SIGSEGV, 0},
                    expected_end{"SIGKILL from outside", deed::killed, SIGKILL, 0},
                    expected_end{"abort", deed::abort, SIGABRT, 0}, expected_end{"exit", deed::exit_3, 0, 3},
                    expected_end{"_exit", deed::quick_exit_4, 0, 4},
                    expected_end{"stack overflow", deed::stack_overflow, SIGSEGV, 0});
}

} // namespace

TEST_CASE("a task that ends its worker fails alone, with how the worker ended", "[crash]") {
    const expected_end end = any_end();
    INFO(end.name);
    const support::scratch_dir dir;
    const killer hunter(dir.path());
    support::check_isolated<worker_crashed>(
        support::big_batches(), [&](int i) { return delayed(may_die, "ill-fated")(i, end.what, dir.path()); },
        [&](const worker_crashed& e) { check_end(e, end); });
}

TEST_CASE("a forked task that ends its worker fails alone", "[crash][fork]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    const expected_end end = any_end();
    if (support::under_asan && end.what == deed::exit_3)
        SKIP("what the owner's other threads had looks leaked at exit");
    INFO(end.name);
    const support::scratch_dir dir;
    const killer hunter(dir.path());
    support::check_isolated<worker_crashed>(
        support::big_batches(joblot::processes{.start_method = joblot::start_method::fork}),
        [&](int i) { return delayed(may_die, "ill-fated")(i, end.what, dir.path()); },
        [&](const worker_crashed& e) { check_end(e, end); });
}

TEST_CASE("a task that ends its worker once succeeds when it is tried again", "[crash][retries]") {
    const expected_end end = any_end();
    INFO(end.name);
    const support::scratch_dir dir;
    const killer hunter(dir.path());
    support::check_retried(support::big_batches(),
                           [&](int i) { return delayed(dies_once, "ill-fated")(i, end.what, dir.path()); });
    CHECK(support::exists(dir.file("tried")));
}

TEST_CASE("a crash that does not go away is tried as often as asked for, and no more", "[crash][retries]") {
    const support::scratch_dir dir;
    joblot::options options = support::big_batches();
    options.retries = 2;
    const auto tasks = views::iota(0, support::tasks_in_call) |
                       views::transform([&](int i) { return delayed(dies_always_counting)(i, dir.path()); });
    CHECK_THROWS_AS(Parallel(options)(tasks), worker_crashed);
    CHECK(support::exists(dir.file("2")));
    CHECK_FALSE(support::exists(dir.file("3")));
}

TEST_CASE("a generator hands out the results before a crash first", "[crash][generator]") {
    const support::scratch_dir dir;
    std::vector<int> read;
    try {
        for (const int value : Parallel(support::big_batches())
                                   .generator(views::iota(0, support::tasks_in_call) | views::transform([&](int i) {
                                                  return delayed(may_die, "ill-fated")(i, deed::abort, dir.path());
                                              })))
            read.push_back(value);
        FAIL("the generator must throw");
    } catch (const worker_crashed& e) {
        check_end(e, {"abort", deed::abort, SIGABRT, 0});
    }
    CHECK(std::ranges::equal(read, views::iota(0, victim) | views::transform(right_value)));
}

TEST_CASE("when every task crashes the outcomes say so for each", "[crash]") {
    const auto outcomes =
        Parallel(support::big_batches()).outcomes(views::iota(0, 12) | views::transform(delayed([](int i) {
                                                      ::_exit(i + 1);
                                                  })));
    REQUIRE(outcomes.size() == 12);
    for (int i = 0; i != 12; ++i) {
        try {
            outcomes[static_cast<std::size_t>(i)].value();
            FAIL("task " << i << " cannot have a value");
        } catch (const worker_crashed& e) {
            CHECK(e.index() == static_cast<std::size_t>(i));
            CHECK(e.exit_status() == i + 1);
        }
    }
}

TEST_CASE("only the last of what a worker wrote to stderr is kept, its end whole", "[crash][output]") {
    const auto chatty = [](int) {
        for (int i = 0; i != 2000; ++i) std::fprintf(stderr, "line %d of many\n", i);
        std::fprintf(stderr, "the end, without a newline");
        std::abort();
    };
    try {
        Parallel({.n_jobs = 1, .backend = "processes"})(views::iota(0, 1) | views::transform(delayed(chatty)));
        FAIL("the call must throw");
    } catch (const worker_crashed& e) {
        CHECK(e.stderr_tail().ends_with("line 1999 of many\nthe end, without a newline"));
        CHECK(e.stderr_tail().size() < 10'000);
    }
}
