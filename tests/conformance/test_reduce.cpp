// SPDX-License-Identifier: BSL-1.0
// Results that are combined, dropped, or handed to a function as they come.

#include "../support/backends.hpp"
#include "../support/scratch.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace views = std::views;
using namespace std::chrono_literals;
using joblot::delayed;
using joblot::Parallel;

double term(int i) { return 1.0 / (1.0 + i); }
int same(int i) { return i; }
std::string word(int i) { return std::string(static_cast<std::size_t>(i % 7), static_cast<char>('a' + i % 26)); }
std::unique_ptr<int> in_a_box(int i) { return std::make_unique<int>(i); }

double fails_at(int i, int which) {
    if (i == which) throw std::runtime_error("task " + std::to_string(i));
    return i;
}
double fails_often(int i) {
    if (i % 10 == 7) throw std::runtime_error("no " + std::to_string(i));
    return i;
}

struct boxes_joined {
    void operator()(std::unique_ptr<int>& a, std::unique_ptr<int>&& b) const { *a += *b; }
};
struct words_counted {
    using counts = std::map<std::string, int>;
    void operator()(counts& all, const std::string& one) const { ++all[one]; }
    void operator()(counts& all, const counts& more) const {
        for (const auto& [text, n] : more) all[text] += n;
    }
};
struct binned {
    using bins = std::array<int, 16>;
    void operator()(bins& all, int i) const { ++all[static_cast<std::size_t>(i % 16)]; }
    void operator()(bins& all, const bins& more) const {
        for (std::size_t k = 0; k != all.size(); ++k) all[k] += more[k];
    }
};
/// For tasks: joined, they say in what order that was done.
struct joined_text {
    std::string operator()(const std::string& a, const std::string& b) const { return "(" + a + b + ")"; }
};
std::string letter(int i) { return std::string(1, static_cast<char>('a' + i)); }

auto tasks(int n, auto f) { return views::iota(0, n) | views::transform(delayed(f)); }

} // namespace

TEST_CASE("[reduce] the same bits on every backend, for any n_jobs and size of batches", "[reduce]") {
    const int n = 3333;
    static const double expected =
        Parallel({.n_jobs = 1, .backend = joblot::sequential{}}).reduce(tasks(n, &term), 0.0, std::plus<>());
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int few = backend.fewer(n);
    const double wanted =
        few == n
            ? expected
            : Parallel({.n_jobs = 1, .backend = joblot::sequential{}}).reduce(tasks(few, &term), 0.0, std::plus<>());
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    for (const int batch : {0, 7, 1000}) {
        joblot::options o{.n_jobs = n_jobs};
        if (batch) o.batch_size = batch;
        INFO("n_jobs " << n_jobs << ", batches of " << batch);
        if (!batch || backend.most_tasks > n)
            CHECK(Parallel(o).reduce(tasks(few, &term), 0.0, std::plus<>()) == wanted);
    }
    // read one by one
    std::list<int> numbers;
    for (int i = 0; i != few; ++i) numbers.push_back(i);
    CHECK(Parallel({.n_jobs = n_jobs}).reduce(numbers | views::transform(delayed(&term)), 0.0, std::plus<>()) ==
          wanted);
}

TEST_CASE("[reduce] neighbours are combined, and never swapped", "[reduce]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const Parallel p({.n_jobs = n_jobs});
    CHECK(p.reduce(tasks(6, &letter), std::string("-"), joined_text()) == "(-(((ab)(cd))(ef)))");
    CHECK(p.reduce(tasks(1, &letter), std::string("-"), joined_text()) == "(-a)");
    CHECK(p.reduce(tasks(0, &letter), std::string("-"), joined_text()) == "-");
}

TEST_CASE("[reduce] values of any type: numbers, containers, what can only be moved", "[reduce]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(320);
    const Parallel p({.n_jobs = n_jobs});
    CHECK(p.reduce(tasks(n, &same), 5, std::plus<>()) == 5 + n * (n - 1) / 2);
    CHECK(p.reduce(tasks(n, &same), 0.5, std::plus<>()) == 0.5 + n * (n - 1) / 2);
    CHECK(*p.reduce(tasks(n, &in_a_box), std::make_unique<int>(3), boxes_joined()) == 3 + n * (n - 1) / 2);
    words_counted::counts counted;
    for (int i = 0; i != n; ++i) ++counted[word(i)];
    CHECK(p.reduce(tasks(n, &word), words_counted::counts(), words_counted()) == counted);
    binned::bins bins{};
    for (int i = 0; i != n; ++i) ++bins[static_cast<std::size_t>(i % 16)];
    CHECK(p.reduce(tasks(n, &same), binned::bins{}, binned()) == bins);
    CHECK(p.reduce(tasks(n, &same), [] { return binned::bins{}; }, binned()) == bins);
    CHECK(p.reduce(tasks(0, &same), [] { return binned::bins{}; }, binned()) == binned::bins{});
}

TEST_CASE("[reduce] a failure fails the call, as elsewhere", "[reduce]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    try {
        static_cast<void>(
            Parallel({.n_jobs = n_jobs})
                .reduce(views::iota(0, 20) | views::transform([](int i) { return delayed(&fails_at)(i, 11); }), 0.0,
                        std::plus<>()));
        FAIL("nothing was thrown");
    } catch (const std::runtime_error& e) {
        CHECK(std::string(e.what()) == "task 11");
        const auto task = joblot::failed_task(std::current_exception());
        REQUIRE(task);
        CHECK(task->index == 11);
    }
}

TEST_CASE("[reduce] reduce_outcomes leaves out tasks that fail, and tells of them", "[reduce]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(200);
    double expected = 0;
    for (int i = 0; i != n; ++i) expected += i % 10 == 7 ? 0 : i;
    const auto got = Parallel({.n_jobs = n_jobs}).reduce_outcomes(tasks(n, &fails_often), 0.0, std::plus<>());
    CHECK(got.value == expected);
    REQUIRE(got.failures.size() == static_cast<std::size_t>(n / 10));
    for (std::size_t k = 0; k != got.failures.size(); ++k) {
        CHECK(got.failures[k].index() == 10 * k + 7);
        CHECK(got.failures[k].message() == "no " + std::to_string(10 * k + 7));
    }
    std::list<int> numbers;
    for (int i = 0; i != n; ++i) numbers.push_back(i);
    const auto same_one = Parallel({.n_jobs = n_jobs})
                              .reduce_outcomes(numbers | views::transform(delayed(&fails_often)), 0.0, std::plus<>());
    CHECK(same_one.value == expected);
    CHECK(same_one.failures.size() == got.failures.size());
}

namespace {
// Fails at its first two attempts, wherever they are made.
double third_time_lucky(int i, const std::string& folder) {
    for (const char* attempt : {"first", "second"}) {
        if (i % 5 == 3 && support::first_to_create(folder + "/" + std::to_string(i) + attempt))
            throw std::runtime_error("not yet");
    }
    return i;
}
} // namespace

TEST_CASE("[reduce] a task that is tried again is counted once", "[reduce]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(60);
    const support::scratch_dir folder;
    const double sum = Parallel({.n_jobs = n_jobs, .batch_size = 10, .retries = 2})
                           .reduce(views::iota(0, n) | views::transform([&](int i) {
                                       return delayed(&third_time_lucky)(i, folder.path());
                                   }),
                                   0.0, std::plus<>());
    CHECK(sum == n * (n - 1) / 2);
}

TEST_CASE("[reduce] what combine throws comes out of the call", "[reduce]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    struct refuses {
        double operator()(double a, double b) const {
            if (b == 9) throw std::domain_error("nine");
            return a + b;
        }
    };
    const Parallel p({.n_jobs = n_jobs, .retries = 1});
    CHECK_THROWS_AS(p.reduce(tasks(20, &same), 0.0, refuses()), std::domain_error);
    CHECK_THROWS_AS(p.reduce_outcomes(tasks(20, &same), 0.0, refuses()), std::domain_error);
    // and where whole leaves are combined
    struct refuses_leaves {
        double operator()(double a, double b) const {
            if (a > 0 && b > 2000) throw std::domain_error("large");
            return a + b;
        }
    };
    if (backend.most_tasks < 3000) return;
    CHECK_THROWS_AS(p.reduce(views::iota(0, 3000) | views::transform(delayed(&same)), 0.0, refuses_leaves()),
                    std::domain_error);
}

TEST_CASE("[reduce] a function that captures combines where it need not travel, and is refused by name elsewhere",
          "[reduce]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    int more = 0;
    const auto combine = [&more](int a, int b) { return a + b + more; };
    const auto sum = [&] { return Parallel({.n_jobs = 2}).reduce(tasks(20, &same), 0, combine); };
    if (backend.closures)
        CHECK(sum() == 190);
    else
        CHECK_THROWS_WITH(sum(), Catch::Matchers::ContainsSubstring("the function that combines results: "));
}

TEST_CASE("[reduce] combine may make calls of its own", "[reduce]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(!backend.costly);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    struct nested {
        int operator()(int a, int b) const {
            return Parallel({.n_jobs = 2}).reduce(std::vector{delayed(&same)(a), delayed(&same)(b)}, 0, std::plus<>());
        }
    };
    CHECK(Parallel({.n_jobs = n_jobs}).reduce(tasks(20, &same), 0, nested()) == 190);
}

TEST_CASE("[reduce] a stop and a time limit end it", "[reduce]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    std::stop_source stop;
    stop.request_stop();
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .stop = stop.get_token()}).reduce(tasks(20, &same), 0, std::plus<>()),
                    joblot::cancelled);
    struct waits {
        static int run(int i) {
            if (i == 3) support::eventually([] { return joblot::this_task::stop_requested(); });
            return i;
        }
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .timeout = 50ms}).reduce(tasks(8, &waits::run), 0, std::plus<>()),
                    joblot::timeout_error);
    const auto rest =
        Parallel({.n_jobs = 2, .timeout = 200ms}).reduce_outcomes(tasks(8, &waits::run), 0, std::plus<>());
    CHECK(rest.value == 28 - 3);
    REQUIRE(rest.failures.size() == 1);
    CHECK(rest.failures[0].index() == 3);
}

TEST_CASE("[reduce] progress counts tasks", "[reduce]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n = backend.fewer(100);
    std::size_t done = 0;
    const int sum =
        Parallel({.n_jobs = 2, .progress = [&](const joblot::progress_event& e) { done = e.done; }, .batch_size = 10})
            .reduce(tasks(n, &same), 0, std::plus<>());
    CHECK(sum == n * (n - 1) / 2);
    CHECK(done == static_cast<std::size_t>(n));
}

namespace {
struct stays_home { // cannot be sent
    explicit stays_home(int i) : value(i) {}
    virtual ~stays_home() = default;
    int value;
};
stays_home homely(int i) { return stays_home(i); }
void mark(int i, const std::string& folder) {
    if (!support::first_to_create(folder + "/" + std::to_string(i))) throw std::runtime_error("was run twice");
}
} // namespace

TEST_CASE("[for_each] runs each task once, and drops results, also those that cannot be sent", "[for_each]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(50);
    const support::scratch_dir folder;
    const Parallel p({.n_jobs = n_jobs});
    p.for_each(views::iota(0, n) | views::transform([&](int i) { return delayed(&mark)(i, folder.path()); }));
    CHECK(folder.files() == static_cast<std::size_t>(n));
    p.for_each(tasks(n, &homely));
    std::list<int> numbers{1, 2, 3};
    p.for_each(numbers | views::transform(delayed(&homely)));
    CHECK_THROWS_AS(p.for_each(views::iota(0, 20) | views::transform([](int i) { return delayed(&fails_at)(i, 11); })),
                    std::runtime_error);
}

TEST_CASE("[into] hands each result to a function, on the thread of the caller", "[into]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(200);
    const Parallel p({.n_jobs = n_jobs});
    std::map<std::size_t, std::string> got;
    const auto here = std::this_thread::get_id();
    p.into(tasks(n, &word), [&](std::size_t index, std::string text) {
        CHECK(std::this_thread::get_id() == here);
        CHECK(got.emplace(index, std::move(text)).second);
    });
    REQUIRE(got.size() == static_cast<std::size_t>(n));
    for (const auto& [index, text] : got) CHECK(text == word(static_cast<int>(index)));

    std::size_t sum = 0;
    struct quiet {
        static void run(int) {}
    };
    p.into(tasks(10, &quiet::run), [&](std::size_t index) { sum += index; });
    CHECK(sum == 45);
    CHECK_THROWS_AS(p.into(tasks(n, &same), [](std::size_t, int) { throw std::logic_error("the sink"); }),
                    std::logic_error);
    CHECK_THROWS_AS(p.into(tasks(200, &fails_often), [](std::size_t, double) {}), std::runtime_error);
}
