// SPDX-License-Identifier: BSL-1.0
// What the library asks of backends written outside of it, and what it does about those that break their contract.

#include "../support/backends.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::job;
using joblot::Parallel;

// A backend made of one function; counts the calls that are inside of it.
class scripted_backend final : public joblot::backend {
public:
    explicit scripted_backend(std::function<void(job&)> script, int workers = 3)
        : script_{std::move(script)}, workers_{workers} {}
    std::string name() const override { return "ScriptedBackend"; }
    int effective_n_jobs(int) const override { return workers_; }
    void run(job& j) override { script_(j); }

private:
    std::function<void(job&)> script_;
    int workers_;
};

joblot::backend_choice scripted(std::function<void(job&)> script, int workers = 3) {
    return std::shared_ptr<joblot::backend>{std::make_shared<scripted_backend>(std::move(script), workers)};
}

void work_until_over(job& j, int id) {
    do j.work(id);
    while (j.wait());
}

auto tasks(int n) {
    return views::iota(0, n) | views::transform(delayed([](int i) { return 2 * i; }));
}

bool doubled(const std::vector<int>& results, int n) {
    return std::ranges::equal(results, views::iota(0, n), {}, {}, [](int i) { return 2 * i; });
}

template <class Generator>
int read_all(Generator generator) {
    int read = 0;
    for ([[maybe_unused]] auto&& value : generator) ++read;
    return read;
}

} // namespace

TEST_CASE("a backend of std::async is five lines", "[backend]") {
    const Parallel parallel({.backend = scripted([](job& j) {
                                 std::vector<std::future<void>> workers;
                                 for (int id = 0; id < j.n_jobs(); ++id)
                                     workers.push_back(
                                         std::async(std::launch::async, work_until_over, std::ref(j), id));
                             })});
    CHECK(doubled(parallel(tasks(500)), 500));
    CHECK(read_all(parallel.generator(tasks(500))) == 500);
    CHECK(read_all(parallel.generator_unordered(tasks(500))) == 500);
}

TEST_CASE("a worker that waits for room leaves when another claims the last task", "[backend]") {
    std::atomic<bool> room_made = false;
    const auto script = [&](job& j) {
        const std::jthread other([&j] { work_until_over(j, 1); });
        room_made.wait(false);
        // Should `other` not be asleep by then, it sees the end without being woken, and this shows nothing.
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        work_until_over(j, 0);
    };
    const Parallel parallel({.backend = scripted(script, 2), .batch_size = 4, .pre_dispatch = 8});
    std::atomic<int> ran = 0;
    auto counted = views::iota(0, 9) | views::filter([](int) { return true; }) | // of unknown size
                   views::transform(delayed([&ran](int i) { return ++ran, 2 * i; }));
    auto results = parallel.generator(std::move(counted));
    REQUIRE(support::eventually([&] { return ran == 8; })); // all that may be ahead: `other` goes to sleep
    auto it = results.begin();
    CHECK(*it == 0);
    ++it;
    CHECK(*it == 2);
    ++it; // room for two: too little to wake anybody for, enough to read the last task and find the end
    room_made = true;
    room_made.notify_all();
    REQUIRE(support::eventually([&] { return ran == 9; }));
    int more = 0;
    for (; it != results.end(); ++it) ++more;
    CHECK(more == 7);
}

TEST_CASE("fewer workers than the call may have are enough", "[backend]") {
    const int id = GENERATE(0, 2);
    const Parallel parallel({.backend = scripted([id](job& j) { work_until_over(j, id); })});
    CHECK(doubled(parallel(tasks(100)), 100));
    CHECK(read_all(parallel.generator(tasks(100))) == 100);
    const auto own_id = [](int) { return joblot::this_task::worker_id(); };
    const auto ids = parallel(views::iota(0, 10) | views::transform(delayed(own_id)));
    CHECK(std::ranges::count(ids, id) == 10);
}

TEST_CASE("a worker may leave and another come with the same id", "[backend]") {
    const Parallel parallel({.backend = scripted([](job& j) {
                                 do std::thread{[&j] { j.work(1); }}.join();
                                 while (j.wait());
                             })});
    CHECK(doubled(parallel(tasks(100)), 100));
    CHECK(read_all(parallel.generator(tasks(30))) == 30);
}

TEST_CASE("a backend that claims and runs batches itself", "[backend]") {
    std::atomic<int> batches{0};
    const Parallel parallel({.backend = scripted([&batches](job& j) {
                                 do {
                                     joblot::worker w(j, 0);
                                     while (const joblot::batch b = j.claim(w)) {
                                         ++batches;
                                         j.run(b, w);
                                     }
                                 } while (j.wait());
                             }),
                             .batch_size = 5});
    CHECK(doubled(parallel(tasks(50)), 50));
    CHECK(batches == 10);
}

TEST_CASE("a backend that returns before the work is done is a backend_error", "[backend]") {
    const Parallel does_nothing({.backend = scripted([](job&) {})});
    CHECK_THROWS_AS(does_nothing(tasks(10)), joblot::backend_error);
    CHECK_THROWS_AS(does_nothing.outcomes(tasks(10)), joblot::backend_error);
    CHECK_THROWS_AS(read_all(does_nothing.generator(tasks(10))), joblot::backend_error);
    const Parallel one_batch({.backend = scripted([](job& j) {
                                  joblot::worker w(j, 0);
                                  if (const joblot::batch b = j.claim(w)) j.run(b, w);
                              }),
                              .batch_size = 3});
    CHECK_THROWS_AS(one_batch(tasks(10)), joblot::backend_error);
    CHECK(doubled(one_batch(tasks(3)), 3));
}

TEST_CASE("a backend that throws in the middle: its error, unless a task had failed", "[backend][errors]") {
    const auto throws_after_work = [](job& j) {
        j.work(0);
        throw std::logic_error{"the backend's own"};
    };
    const Parallel parallel({.backend = scripted(throws_after_work)});
    CHECK_THROWS_AS(parallel(tasks(10)), std::logic_error);
    CHECK_THROWS_AS(read_all(parallel.generator(tasks(3))), std::logic_error);
    CHECK_THROWS_AS(parallel(views::iota(0, 10) | views::transform(delayed([](int i) {
                                 if (i == 4) throw i;
                             }))),
                    int);
}

TEST_CASE("abort ends a call with the given error", "[backend][errors]") {
    const Parallel parallel({.backend = scripted([](job& j) {
                                 j.abort(std::make_exception_ptr(joblot::backend_error{"lost"}));
                                 work_until_over(j, 0);
                             })});
    CHECK_THROWS_AS(parallel(tasks(10)), joblot::backend_error);
    CHECK_THROWS_AS(read_all(parallel.generator(tasks(10))), joblot::backend_error);
}

TEST_CASE("a backend object lives as long as a generator that it works for", "[backend][generator]") {
    std::weak_ptr<joblot::backend> watched;
    {
        auto backend = std::make_shared<scripted_backend>([](job& j) { work_until_over(j, 0); });
        watched = backend;
        auto generator =
            Parallel({.backend = joblot::backend_choice{std::shared_ptr<joblot::backend>{std::move(backend)}}})
                .generator(tasks(100));
        CHECK_FALSE(watched.expired());
        CHECK(*generator.begin() == 0);
    }
    CHECK(watched.expired());
}
