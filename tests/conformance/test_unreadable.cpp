// SPDX-License-Identifier: BSL-1.0
// An element that cannot be read fails the call, as "reading the input", whatever the range is and however it is run;
// the tasks before it run, and no task is to blame.

#include "../support/backends.hpp"

#include <joblot/delayed.hpp>

#include <catch2/catch_test_macros.hpp>

#include <list>
#include <ranges>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::failed_task;
using joblot::options;
using joblot::Parallel;

constexpr int bad = 5;

/// While `armed`, the copy of the one with the number `bad` throws; in a worker process nothing does.
struct item {
    int number = 0;

    explicit item(int n) : number(n) {}
    item() = default;
    item(const item& other) : number(other.number) {
        if (armed && number == bad) throw std::out_of_range("no copy of " + std::to_string(number));
    }
    item(item&&) noexcept = default;
    item& operator=(item&&) noexcept = default;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(number);
    }
    static inline bool armed = false;
};

int ten_times(const item& x) { return 10 * x.number; }
int sum(const item& x, int n) { return x.number + n; }

struct armed {
    armed() { item::armed = true; }
    ~armed() { item::armed = false; }
};

template <class C>
C items(int n) {
    C all;
    for (int i = 0; i < n; ++i) all.emplace_back(i);
    return all;
}

/// Makes a call that must end with what the element has thrown, as an error of the input.
template <class Call>
void check_input_error(Call call) {
    try {
        call();
        FAIL("the call must throw");
    } catch (const std::out_of_range& e) {
        CHECK(e.what() == std::string("no copy of 5"));
        REQUIRE(failed_task(e).has_value());
        CHECK(failed_task(e)->index == bad);
        CHECK(failed_task(e)->label == "reading the input");
    }
}

/// All forms of a call with a range of tasks.
template <class R>
void check_all_forms(const options& o, R&& tasks) {
    const Parallel parallel(o);
    {
        INFO("a list");
        check_input_error([&] { (void)parallel(tasks); });
    }
    {
        INFO("outcomes");
        check_input_error([&] { (void)parallel.outcomes(tasks); });
    }
    {
        INFO("persist");
        check_input_error([&] { (void)parallel.persist(tasks); });
    }
    {
        INFO("a generator");
        std::vector<int> got;
        check_input_error([&] {
            for (int r : parallel.generator(tasks)) got.push_back(r);
        });
        CHECK(got == std::vector{0, 10, 20, 30, 40});
    }
    {
        INFO("an unordered generator");
        std::size_t got = 0;
        check_input_error([&] {
            for ([[maybe_unused]] auto&& r : parallel.generator_unordered(tasks)) ++got;
        });
        CHECK(got == bad);
    }
}

} // namespace

TEST_CASE("an element that cannot be read fails the call, in a range of any kind", "[errors][inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = GENERATE(1, 2);
    const int retries = GENERATE(0, 2);
    const joblot::batch_size_option batch = GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{4});
    const options o{.n_jobs = n_jobs, .batch_size = batch, .retries = retries};
    const options all_at_once{
        .n_jobs = n_jobs, .batch_size = batch, .pre_dispatch = joblot::everything, .retries = retries};
    const armed now;

    auto indexed = items<std::vector<item>>(9);
    auto streamed = items<std::list<item>>(9);
    check_all_forms(o, indexed | views::transform(delayed(ten_times)));
    check_all_forms(o, streamed | views::transform(delayed(ten_times)));
    check_all_forms(all_at_once, streamed | views::transform(delayed(ten_times)));
    check_input_error([&] { (void)Parallel(o).map(sum, indexed, views::iota(0)); });
    check_input_error([&] { (void)Parallel(o).map(sum, streamed, views::iota(0)); });
}

TEST_CASE("the tasks before an element that cannot be read run, and their failure is the one that comes out",
          "[errors][inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const bool outcomes = GENERATE(false, true);
    const auto picky = +[](const item& x) {
        if (x.number == 2) throw std::domain_error("two");
        return x.number;
    };
    auto indexed = items<std::vector<item>>(9);
    const auto tasks = indexed | views::transform(delayed(picky, "picky"));
    const Parallel parallel({.n_jobs = 2, .batch_size = 9});
    const armed now;
    if (outcomes) { // the failure of a task is a result
        check_input_error([&] { (void)parallel.outcomes(tasks); });
        return;
    }
    try {
        (void)parallel(tasks);
        FAIL("the call must throw");
    } catch (const std::domain_error& e) {
        CHECK(failed_task(e)->index == 2);
        CHECK(failed_task(e)->label == "picky");
    }
}

TEST_CASE("a task that must be copied to be called, and cannot be, is an element that cannot be read",
          "[errors][inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory); // elsewhere it is not copied, but written
    const auto consume = +[](item&& x) { return x.number; };
    std::vector<decltype(delayed(consume)(item(0)))> tasks;
    tasks.reserve(9);
    for (int i = 0; i < 9; ++i) tasks.push_back(delayed(consume)(item(i)));
    const armed now;
    check_input_error([&] { (void)Parallel({.n_jobs = 2})(tasks); });
    check_input_error([&] { (void)Parallel({.n_jobs = 2, .retries = 1}).outcomes(tasks); });
    std::list<decltype(delayed(consume)(item(0)))> same;
    for (int i = 0; i < 9; ++i) same.push_back(delayed(consume)(item(i)));
    check_input_error([&] { (void)Parallel({.n_jobs = 2})(same); });
}

TEST_CASE("what a task throws while it runs is its own error, also where it copies", "[errors][inputs]") {
    const auto copies = +[](const item& x) { return item(x).number; };
    const armed now;
    try {
        (void)Parallel({.n_jobs = 2})(views::iota(0, 9) |
                                      views::transform([&](int i) { return delayed(copies, "copies")(item(i)); }));
        FAIL("the call must throw");
    } catch (const std::out_of_range& e) {
        CHECK(failed_task(e)->label == "copies");
    }
}
