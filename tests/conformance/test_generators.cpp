// SPDX-License-Identifier: BSL-1.0
// Parallel::generator: order, laziness, back-pressure, errors after results, lifetime.

#include "../support/backends.hpp"
#include "../support/events.hpp"
#include "../support/inputs.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <variant>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::identity;

template <class Generator>
auto collect(Generator&& generator) {
    std::vector<std::ranges::range_value_t<std::remove_cvref_t<Generator>>> values;
    for (auto&& value : generator) values.push_back(std::move(value));
    return values;
}

auto infinite() { return views::iota(0) | views::transform(delayed(identity)); }

} // namespace

TEST_CASE("a generator yields every result in task order", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(GENERATE_COPY(0, 1, 2, 100, backend.shared_memory ? 1000 : 500));
    const joblot::batch_size_option batch =
        GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{1}, joblot::batch_size_option{13});
    const Parallel parallel({.n_jobs = n_jobs, .batch_size = batch});
    CHECK(std::ranges::equal(collect(parallel.generator(views::iota(0, n) | views::transform(delayed(identity)))),
                             views::iota(0, n)));
    CHECK(std::ranges::equal(collect(parallel.generator(support::numbers(n) | views::transform(delayed(identity)))),
                             views::iota(0, n)));
}

TEST_CASE("a generator is a move-only input range of R&&", "[generator]") {
    using tasks = decltype(views::iota(0, 1) | views::transform(delayed(identity)));
    using generator = decltype(std::declval<const Parallel&>().generator(std::declval<tasks>()));
    static_assert(std::ranges::input_range<generator>);
    static_assert(!std::ranges::forward_range<generator>);
    static_assert(std::is_same_v<std::ranges::range_reference_t<generator>, int&&>);
    static_assert(std::movable<generator>);
    static_assert(!std::copyable<generator>);
    static_assert(std::is_same_v<generator, joblot::generator<int>>);
    SUCCEED();
}

TEST_CASE("void tasks yield std::monostate, move-only results can be taken", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    auto silent = parallel.generator(views::iota(0, 7) | views::transform(delayed([](int) {})));
    static_assert(std::is_same_v<std::ranges::range_value_t<decltype(silent)>, std::monostate>);
    CHECK(collect(std::move(silent)).size() == 7);
    const auto box = [](int i) { return std::make_unique<int>(i); };
    int expected = 0;
    for (std::unique_ptr<int> p : parallel.generator(views::iota(0, 20) | views::transform(delayed(box))))
        CHECK(*p == expected++);
    CHECK(expected == 20);
    const auto odd = [](int i) { return i % 2 == 1; };
    int index = 0;
    for (const bool value : parallel.generator(views::iota(0, 100) | views::transform(delayed(odd))))
        CHECK(value == odd(index++));
}

TEST_CASE("an infinite input is read only as far as the reader goes", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const int wanted = backend.fewer(300);
    std::vector<int> first;
    for (auto&& value : parallel.generator(infinite())) {
        first.push_back(value);
        if (std::ssize(first) == wanted) break;
    }
    CHECK(std::ranges::equal(first, views::iota(0, wanted)));
    CHECK(std::ranges::equal(parallel.generator(infinite()) | views::take(10), views::iota(0, 10)));
}

TEST_CASE("[J11] where the reader's own thread works, reading drives it one task at a time", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.in_caller);
    support::event_log log;
    const auto make = [&log](int i) {
        log.add("P", i);
        return delayed([&log](int k) {
            log.add("C", k);
            return k;
        })(i);
    };
    auto generator = Parallel({.batch_size = 1}).generator(views::iota(0, 3) | views::transform(make));
    log.add("created ", 0);
    for (auto&& value : generator) log.add("R", value);
    CHECK(log.events() == std::vector<std::string>{"created 0", "P0", "C0", "R0", "P1", "C1", "R1", "P2", "C2", "R2"});
}

TEST_CASE("[J41] work starts before the first read", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && !backend.in_caller);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::atomic<int> started{0};
    auto generator = Parallel({.n_jobs = n_jobs}).generator(views::iota(0, 10) | views::transform(delayed([&](int i) {
                                                                ++started;
                                                                return i;
                                                            })));
    CHECK(support::eventually([&] { return started > 0; }));
    CHECK(collect(std::move(generator)).size() == 10);
}

TEST_CASE("results are handed out while later tasks still run", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && !backend.in_caller);
    const int n_jobs = GENERATE(1, 2, 4);
    support::gate last_may_end;
    bool opened_in_time = true;
    const auto task = [&](int i) {
        if (i == 5) opened_in_time = last_may_end.wait();
        return i;
    };
    int read = 0;
    for (auto&& value : Parallel({.n_jobs = n_jobs, .batch_size = GENERATE(1, 3)})
                            .generator(views::iota(0, 6) | views::transform(delayed(task)))) {
        CHECK(value == read);
        if (++read == 5) last_may_end.open();
    }
    CHECK(opened_in_time);
    CHECK(read == 6);
}

TEST_CASE("[J45] a generator never reads more than pre_dispatch tasks ahead of its reader", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = GENERATE(1, 2, 4);
    const int limit = GENERATE(1, 2, 3, 8);
    const joblot::batch_size_option batch =
        GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{1}, joblot::batch_size_option{5});
    std::atomic<int> asked{0}; // how many results the reader has asked for
    std::atomic<int> reads{0};
    std::atomic<int> too_far{0};
    const auto make = [&](int i) {
        if (++reads > asked + limit) ++too_far;
        return delayed(identity)(i);
    };
    auto generator = Parallel({.n_jobs = n_jobs, .batch_size = batch, .pre_dispatch = limit})
                         .generator(views::iota(0) | views::transform(make));
    if (!backend.in_caller) CHECK(support::eventually([&] { return reads > 0; }));
    ++asked;
    auto next = generator.begin();
    for (int i = 0; i < 40; ++i) {
        CHECK(*next == i);
        // a reader that is slow lets the workers come to rest: they must stop at the limit
        if (i % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds{1});
        ++asked;
        ++next;
    }
    CHECK(too_far == 0);
}

TEST_CASE("[J45] an unread generator stops at the default read-ahead", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    std::atomic<int> reads{0};
    std::atomic<int> ran{0};
    const auto make = [&](int i) {
        ++reads;
        return delayed([&ran](int k) {
            ++ran;
            return k;
        })(i);
    };
    {
        auto generator = Parallel({.n_jobs = 2, .batch_size = 1}).generator(views::iota(0) | views::transform(make));
        if (!backend.in_caller) CHECK(support::eventually([&] { return ran > 0; }));
    }
    CHECK(reads <= 4);
    CHECK(ran <= reads);
}

TEST_CASE("results before the failing one are handed out first", "[generator][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int k = GENERATE(0, 1, 7, 19);
    const joblot::batch_size_option batch =
        GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{1}, joblot::batch_size_option{6});
    const auto task = [k](int i) {
        if (i == k) throw std::runtime_error{"task k"};
        return i;
    };
    auto generator = Parallel({.n_jobs = n_jobs, .batch_size = batch})
                         .generator(views::iota(0, 20) | views::transform(delayed(task, "named")));
    std::vector<int> before;
    try {
        for (auto&& value : generator) before.push_back(value);
        FAIL("the generator must throw");
    } catch (const std::runtime_error& e) {
        CHECK(e.what() == std::string{"task k"});
        REQUIRE(joblot::failed_task(e).has_value());
        CHECK(joblot::failed_task(e)->index == static_cast<std::size_t>(k));
        CHECK(joblot::failed_task(e)->label == "named");
    }
    CHECK(std::ranges::equal(before, views::iota(0, k)));
}

TEST_CASE("[J24] an input that throws ends a generator after the results before it", "[generator][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int k = GENERATE(0, 1, 7, 19, 20);
    auto generator =
        Parallel({.n_jobs = n_jobs}).generator(support::numbers(20, k) | views::transform(delayed(identity)));
    std::vector<int> before;
    try {
        for (auto&& value : generator) before.push_back(value);
        FAIL("the generator must throw");
    } catch (const support::input_failed& e) {
        REQUIRE(joblot::failed_task(e).has_value());
        CHECK(joblot::failed_task(e)->index == static_cast<std::size_t>(k));
    }
    CHECK(std::ranges::equal(before, views::iota(0, k)));
}

TEST_CASE("a generator can be moved before and while it is read", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    auto first = parallel.generator(views::iota(0, 50) | views::transform(delayed(identity)));
    auto second = std::move(first);
    auto next = second.begin();
    CHECK(*next == 0);
    ++next;
    CHECK(*next == 1);
    second = parallel.generator(views::iota(100, 110) | views::transform(delayed(identity))); // drops the old one
    CHECK(std::ranges::equal(collect(std::move(second)), views::iota(100, 110)));
    std::vector<joblot::generator<int>> many;
    for (int i = 0; i < 5; ++i)
        many.push_back(parallel.generator(views::iota(i, i + 3) | views::transform(delayed(identity))));
    for (int i = 0; i < 5; ++i)
        CHECK(std::ranges::equal(collect(many[static_cast<std::size_t>(i)]), views::iota(i, i + 3)));
}

TEST_CASE("reading can go on in a second loop", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    std::atomic<int> ran{0};
    auto generator = parallel.generator(views::iota(0, 20) | views::transform(delayed([&ran](int i) {
                                            ++ran;
                                            return i;
                                        })));
    int read = 0;
    for ([[maybe_unused]] auto&& value : generator)
        if (++read == 5) break;
    int last = -1;
    for (auto&& value : generator) last = value;
    CHECK(last == 19);
    for ([[maybe_unused]] auto&& value : generator) FAIL("an exhausted generator stays exhausted");
    CHECK(ran == 20); // nothing ran twice
}

TEST_CASE("a generator outlives its Parallel, the guard and the tasks' container", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::optional<joblot::generator<std::string>> generator;
    {
        const joblot::parallel_backend inner{{.n_jobs = n_jobs}};
        const auto repeat = delayed([](std::string s, int n) { return s + std::to_string(n); });
        std::vector<decltype(repeat(std::string{}, 0))> tasks;
        for (int i = 0; i < 20; ++i) tasks.push_back(repeat(std::string("a string too long for the small buffer "), i));
        generator.emplace(Parallel{}.generator(std::move(tasks)));
    }
    int i = 0;
    for (auto&& value : *generator) CHECK(value == "a string too long for the small buffer " + std::to_string(i++));
    CHECK(i == 20);
}

TEST_CASE("a generator may be read and destroyed by another thread", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    auto generator = parallel.generator(infinite());
    std::vector<int> read;
    std::thread{[&read, moved = std::move(generator)]() mutable {
        for (auto&& value : moved) {
            read.push_back(value);
            if (read.size() == 50) break;
        }
        auto gone = std::move(moved);
    }}.join();
    CHECK(std::ranges::equal(read, views::iota(0, 50)));
}

TEST_CASE("a generator inside of a task", "[generator][nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const auto sum = [&parallel](int n) {
        int total = 0;
        for (auto&& value : parallel.generator(views::iota(0, n) | views::transform(delayed(identity)))) total += value;
        return total;
    };
    const auto sums = parallel(views::iota(0, 30) | views::transform(delayed(sum)));
    for (int n = 0; n < 30; ++n) CHECK(sums[static_cast<std::size_t>(n)] == n * (n - 1) / 2);
}

TEST_CASE("a call can be made while a generator is being read", "[generator][nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    for (auto&& n : parallel.generator(views::iota(0, 20) | views::transform(delayed(identity))))
        CHECK(std::ranges::equal(parallel(views::iota(0, n) | views::transform(delayed(identity))), views::iota(0, n)));
}

TEST_CASE("[J42] [J43] two generators of one object, and of two, are read side by side", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const Parallel one({.n_jobs = n_jobs});
    const Parallel other({.n_jobs = n_jobs});
    auto a = one.generator(infinite());
    auto b = one.generator(infinite());
    auto c = other.generator(infinite());
    auto ia = a.begin();
    auto ib = b.begin();
    auto ic = c.begin();
    for (int i = 0; i < 100; ++i, ++ia, ++ib, ++ic) {
        CHECK(*ia == i);
        CHECK(*ib == i);
        CHECK(*ic == i);
    }
}

TEST_CASE("[J44] unread and dropped generators keep nobody else from working", "[generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    std::vector<joblot::generator<int>> unread;
    for (int i = 0; i < 8; ++i) unread.push_back(parallel.generator(infinite()));
    CHECK(std::ranges::equal(parallel(views::iota(0, 100) | views::transform(delayed(identity))), views::iota(0, 100)));
    CHECK(std::ranges::equal(parallel.generator(infinite()) | views::take(20), views::iota(0, 20)));
    auto kept = std::move(unread.back());
    unread.clear();
    CHECK(std::ranges::equal(kept | views::take(20), views::iota(0, 20)));
}
