// SPDX-License-Identifier: BSL-1.0
// What comes out of a call whose tasks fail, and what still runs after the failure.

#include "../support/backends.hpp"
#include "../support/events.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <exception>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using joblot::batch_size_option;
using joblot::delayed;
using joblot::failed_task;
using joblot::Parallel;

// Has no std base, and four constructor arguments.
struct four_fields {
    int a = 0;
    std::string b;
    double c = 0;
    char d = 0;
    four_fields() = default; // to be filled by serialize
    four_fields(int a_, std::string b_, double c_, char d_) : a{a_}, b{std::move(b_)}, c{c_}, d{d_} {}
    template <class Archive>
    void serialize(Archive& archive) {
        archive(a, b, c, d);
    }
};

struct numbered : std::exception {
    numbered() = default;
    explicit numbered(int i) : number{i}, text{"task " + std::to_string(i)} {}
    const char* what() const noexcept override { return text.c_str(); }
    template <class Archive>
    void serialize(Archive& archive) {
        archive(number, text);
    }
    int number = 0;
    std::string text;
};

// Worker processes come by here, too.
[[maybe_unused]] const bool registered =
    (joblot::register_exception<four_fields>(), joblot::register_exception<numbered>(), true);

template <class F>
auto call(int n_jobs, int n, F f, batch_size_option batch = {}) {
    return Parallel({.n_jobs = n_jobs, .batch_size = batch})(views::iota(0, n) | views::transform(delayed(f)));
}

} // namespace

TEST_CASE("[J19] an exception arrives with its own type and content", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    CHECK_THROWS_AS(call(n_jobs, 3, [](int) { throw std::domain_error{"division by zero"}; }), std::domain_error);
    try {
        call(n_jobs, 5, [](int i) {
            if (i == 3) throw four_fields{1, "two", 3.0, '4'};
        });
        FAIL("the call must throw");
    } catch (const four_fields& e) {
        CHECK(e.a == 1);
        CHECK(e.b == "two");
        CHECK(e.c == 3.0);
        CHECK(e.d == '4');
    }
}

TEST_CASE("what is thrown need not be an exception class", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    try {
        call(n_jobs, 20, [](int i) {
            if (i == 11) throw 42;
        });
        FAIL("the call must throw");
    } catch (const int& number) {
        CHECK(number == 42);
        REQUIRE(failed_task().has_value());
        CHECK(failed_task()->index == 11);
        CHECK(failed_task(std::current_exception())->index == 11);
        CHECK(failed_task(number)->index == 11);
    }
    if (backend.shared_memory)
        CHECK_THROWS_AS(call(n_jobs, 2, [](int) { throw "text"; }), const char*);
    else // a pointer means nothing in another process
        CHECK_THROWS_AS(call(n_jobs, 2, [](int) { throw "text"; }), joblot::remote_error);
}

TEST_CASE("the exception is the same object that the task threw", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const std::exception_ptr original = std::make_exception_ptr(numbered{7});
    try {
        call(n_jobs, 10, [&original](int i) {
            if (i == 5) std::rethrow_exception(original);
        });
        FAIL("the call must throw");
    } catch (const numbered&) {
        CHECK(std::current_exception() == original);
    }
}

TEST_CASE("failed_task names index and label, by reference, by pointer and in catch (...)", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const auto fail_at_13 = [](int i) {
        if (i == 13) throw numbered{i};
        return i;
    };
    const auto tasks = views::iota(0, 30) | views::transform(delayed(fail_at_13, "the thirteenth"));
    const Parallel parallel({.n_jobs = n_jobs});
    try {
        parallel(tasks);
        FAIL("the call must throw");
    } catch (const std::exception& e) {
        const auto task = failed_task(e);
        REQUIRE(task.has_value());
        CHECK(task->index == 13);
        CHECK(task->label == "the thirteenth");
    }
    try {
        parallel(tasks);
    } catch (...) {
        REQUIRE(failed_task().has_value());
        CHECK(failed_task()->index == 13);
        CHECK(failed_task(std::current_exception())->label == "the thirteenth");
    }
    CHECK_FALSE(failed_task().has_value());
}

TEST_CASE("a task without a label still has one", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    try {
        call(2, 3, [](int) { throw numbered{0}; });
    } catch (const numbered& e) {
        CHECK_FALSE(failed_task(e)->label.empty());
    }
}

TEST_CASE("failed_task knows nothing about exceptions that did not come from a call", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    for (int round = 0; round < 20; ++round) {
        try {
            call(2, 3, [](int i) { throw numbered{i}; });
        } catch (const numbered& e) {
            CHECK(failed_task(e).has_value());
        }
        try { // of the same size, so likely in the same place
            throw numbered{round};
        } catch (const numbered& e) {
            CHECK_FALSE(failed_task(e).has_value());
            CHECK_FALSE(failed_task().has_value());
            CHECK_FALSE(failed_task(std::current_exception()).has_value());
        }
    }
    CHECK_FALSE(failed_task(std::exception_ptr{}).has_value());
}

TEST_CASE("[J20] an error late in the input is reported", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const Parallel parallel({.n_jobs = n_jobs, .pre_dispatch = 16});
    const auto late = [](int i) {
        if (i == 7 || i == 29) throw numbered{i};
    };
    CHECK_THROWS_AS(parallel(views::iota(0, 30) | views::transform(delayed(late))), numbered);
}

TEST_CASE("of tasks that fail together, the lowest index comes out", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    constexpr int n_jobs = 4;
    support::meeting_point all{n_jobs};
    const auto together = [&all](int i) {
        all.arrive_and_wait();
        throw numbered{i};
    };
    try {
        call(n_jobs, 100, together, 1);
        FAIL("the call must throw");
    } catch (const numbered& e) {
        CHECK(e.number == 0);
        CHECK(failed_task(e)->index == 0);
    }
}

TEST_CASE("the lowest index comes out even when it fails last", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    constexpr int n_jobs = 3;
    support::meeting_point all{n_jobs};
    std::atomic<int> turn{n_jobs - 1};
    const auto backwards = [&](int i) {
        all.arrive_and_wait();
        support::eventually([&] { return turn <= i; });
        if (i == turn) --turn;
        throw numbered{i};
    };
    try {
        call(n_jobs, n_jobs, backwards, 1);
        FAIL("the call must throw");
    } catch (const numbered& e) {
        CHECK(e.number == 0);
        CHECK(failed_task(e)->index == 0);
    }
}

TEST_CASE("[J21] [J22] [J23] after a failure nothing new starts, and what runs is told and waited for", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(1, 2, 4);
    const batch_size_option batch = GENERATE(batch_size_option{}, batch_size_option{1}, batch_size_option{10});
    support::overlap running;
    std::atomic<int> told{0};
    const auto task = [&](int i) {
        const support::counting inside{running};
        if (i == 0) throw numbered{i};
        told += support::eventually([] { return joblot::this_task::stop_requested(); });
    };
    CHECK_THROWS_AS(call(n_jobs, 100, task, batch), numbered);
    CHECK(running.inside() == 0);
    CHECK(running.entered() <= n_jobs);
    CHECK(told == running.entered() - 1); // [J35] a task that polls sees its sibling's failure
}

TEST_CASE("one worker stops exactly at the failing task", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int fails_at = GENERATE(0, 1, 5, 9);
    const batch_size_option batch = GENERATE(batch_size_option{}, batch_size_option{1}, batch_size_option{4});
    std::vector<int> ran;
    try {
        call(
            1, 10,
            [&](int i) {
                ran.push_back(i);
                if (i == fails_at) throw numbered{i};
            },
            batch);
        FAIL("the call must throw");
    } catch (const numbered& e) {
        CHECK(e.number == fails_at);
    }
    CHECK(std::ranges::equal(ran, views::iota(0, fails_at + 1)));
}

TEST_CASE("[J25] the same object works after an error, and after any number of them", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const Parallel parallel({.n_jobs = n_jobs});
    const auto maybe = [](int i, bool fail) {
        if (fail && i % 7 == 3) throw numbered{i};
        return i;
    };
    const auto tasks = [&](bool fail) {
        return views::iota(0, 50) | views::transform([maybe, fail](int i) { return delayed(maybe)(i, fail); });
    };
    for (int round = 0; round < (backend.costly ? 6 : 30); ++round) {
        CHECK_THROWS_AS(parallel(tasks(true)), numbered);
        CHECK(std::ranges::equal(parallel(tasks(false)), views::iota(0, 50)));
    }
}

TEST_CASE("[J26] with progress lines on, the task's own error comes out", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int fails_at = GENERATE(0, 3);
    // verbose is high, but the lines go through a callback so that the test prints nothing itself
    const Parallel parallel({.n_jobs = n_jobs, .progress = [](const joblot::progress_event&) {}});
    const auto task = [fails_at](int i) {
        if (i == fails_at) throw numbered{i};
    };
    CHECK_THROWS_AS(parallel(views::iota(0, 10) | views::transform(delayed(task))), numbered);
}

TEST_CASE("[J27] an error three calls deep arrives as itself, with the outer task's index", "[errors][nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const Parallel parallel({.n_jobs = n_jobs});
    const auto inner = [&](int i) {
        if (i == 4) throw numbered{400};
        return i;
    };
    const auto middle = [&](int i) {
        if (i == 2) parallel(views::iota(0, 6) | views::transform(delayed(inner)));
        return i;
    };
    const auto outer = [&](int i) {
        if (i == 1) parallel(views::iota(0, 6) | views::transform(delayed(middle)));
        return i;
    };
    try {
        parallel(views::iota(0, 6) | views::transform(delayed(outer)));
        FAIL("the call must throw");
    } catch (const numbered& e) {
        CHECK(e.number == 400);
        REQUIRE(failed_task(e).has_value());
        CHECK(failed_task(e)->index == 1);
    }
}

TEST_CASE("a task may catch the error of a nested call and go on", "[errors][nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const Parallel parallel({.n_jobs = n_jobs});
    const auto outer = [&](int i) {
        try {
            parallel(views::iota(0, 20) | views::transform(delayed([i](int k) {
                         if (k == i) throw numbered{k};
                     })));
        } catch (const numbered& e) {
            return static_cast<int>(failed_task(e)->index);
        }
        return -1;
    };
    CHECK(std::ranges::equal(parallel(views::iota(0, 20) | views::transform(delayed(outer))), views::iota(0, 20)));
}

TEST_CASE("an error in the tuple form names its position", "[errors][tuple]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const auto fine = [] { return 1; };
    const auto broken = []() -> std::string { throw numbered{1}; };
    try {
        Parallel({.n_jobs = n_jobs})(delayed(fine)(), delayed(broken, "broken")(), delayed(fine)());
        FAIL("the call must throw");
    } catch (const numbered& e) {
        REQUIRE(failed_task(e).has_value());
        CHECK(failed_task(e)->index == 1);
        CHECK(failed_task(e)->label == "broken");
    }
}

TEST_CASE("an exception outlives the call and crosses threads", "[errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    std::exception_ptr kept;
    std::thread{[&] {
        try {
            Parallel({.n_jobs = 2})(views::iota(0, 3) | views::transform(delayed([](int i) { throw numbered{i}; })));
        } catch (...) {
            kept = std::current_exception();
        }
    }}.join();
    REQUIRE(kept);
    CHECK_THROWS_AS(std::rethrow_exception(kept), numbered);
}
