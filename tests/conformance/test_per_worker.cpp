// SPDX-License-Identifier: BSL-1.0
// per_worker: a value for each worker of a call, on every backend.

#include "../support/backends.hpp"
#include "../support/scratch.hpp"
#include "../support/waiting.hpp"

#include <joblot/per_worker.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using joblot::per_worker;

/// Says when it comes and goes, by a file for each; and which value of its process it is.
struct noted {
    explicit noted(const std::string& dir) : folder(dir), number(++made) {
        if (!support::first_to_create(name("made"))) throw std::runtime_error("made twice");
    }
    ~noted() { support::first_to_create(name("gone")); }
    noted(const noted&) = delete;
    noted& operator=(const noted&) = delete;

    [[nodiscard]] std::string name(const std::string& what) const {
        return folder + "/" + std::to_string(::getpid()) + "." + std::to_string(number) + "." + what;
    }

    std::string folder;
    int number;
    int uses = 0;
    static inline std::atomic<int> made{0};
};
/// Makes one; can be sent.
struct noted_maker {
    std::string folder;
    noted operator()() const { return noted(folder); }
};
using noted_handle = per_worker<noted, noted_maker>;

struct use {
    long pid;
    int worker;
    int number;
    int uses;
};
use count_uses(int, noted& value) {
    std::this_thread::yield();
    return {::getpid(), joblot::this_task::worker_id(), value.number, ++value.uses};
}

std::size_t files_named(const support::scratch_dir& folder, const std::string& end) {
    const auto all = std::filesystem::directory_iterator(folder.path());
    return static_cast<std::size_t>(
        std::ranges::count_if(all, [&](const auto& entry) { return entry.path().string().ends_with("." + end); }));
}

int first_element(int i, std::vector<int>& scratch) {
    scratch.push_back(i);
    return scratch.front();
}
int by_handle(int i, const per_worker<std::vector<int>>& scratch) {
    scratch->push_back(i);
    return scratch.local().front() == (*scratch)[0] ? i : -1;
}
struct fails {
    int operator()() const { throw std::runtime_error("no connection"); }
};
int uses_it(int i, int& value) { return i + value; }

} // namespace

TEST_CASE("[per_worker] each worker makes a value once in a call, and all are gone after it", "[per_worker]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(60);
    const support::scratch_dir folder;
    const noted_handle handle(noted_maker{folder.path()});
    std::size_t made = 0;
    for (int round = 0; round != 2; ++round) {
        const auto uses = Parallel({.n_jobs = n_jobs, .batch_size = 3})(
            views::iota(0, n) | views::transform([&](int i) { return delayed(count_uses)(i, handle); }));
        std::set<std::pair<long, int>> values;
        std::set<std::pair<long, int>> workers;
        for (const use& u : uses) {
            values.emplace(u.pid, u.number);
            workers.emplace(u.pid, u.worker);
        }
        CHECK(values.size() == workers.size()); // one for each
        int counted = 0;
        for (const auto& [pid, number] : values) {
            std::set<int> seen; // one task after the other: each use is counted
            for (const use& u : uses) {
                if (u.pid == pid && u.number == number) seen.insert(u.uses);
            }
            CHECK(*seen.begin() == 1);
            CHECK(*seen.rbegin() == static_cast<int>(seen.size()));
            counted += static_cast<int>(seen.size());
        }
        CHECK(counted == n);
        made += values.size();
        CHECK(files_named(folder, "made") == made);
        if (backend.tells_end_of_call)
            CHECK(support::eventually([&] { return files_named(folder, "gone") == made; }));
        else if (round == 1)
            CHECK(files_named(folder, "gone") > 0); // those of the first call
    }
}

TEST_CASE("[per_worker] a task takes the value, or the handle", "[per_worker]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const per_worker<std::vector<int>> scratch;
    const Parallel p({.n_jobs = n_jobs});
    const auto firsts =
        p(views::iota(0, 20) | views::transform([&](int i) { return delayed(first_element)(i, scratch); }));
    for (std::size_t i = 0; i != firsts.size(); ++i) CHECK(firsts[i] <= static_cast<int>(i));
    const auto same = p(views::iota(0, 20) | views::transform([&](int i) { return delayed(by_handle)(i, scratch); }));
    for (std::size_t i = 0; i != same.size(); ++i) CHECK(same[i] == static_cast<int>(i));
    std::size_t count = 0;
    for (const int i :
         p.generator(views::iota(0, 20) | views::transform([&](int k) { return delayed(by_handle)(k, scratch); })))
        count += i >= 0;
    CHECK(count == 20);
}

TEST_CASE("[per_worker] what cannot be made fails the task that asked", "[per_worker]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const per_worker connection{fails()};
    CHECK_THROWS_AS(Parallel({.n_jobs = 2})(views::iota(0, 4) |
                                            views::transform([&](int i) { return delayed(uses_it)(i, connection); })),
                    std::runtime_error);
    CHECK_THROWS_AS(connection.local(), std::logic_error);
}

TEST_CASE("[per_worker] closures make values where they need not travel", "[per_worker]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const std::vector<int> begin{7, 8};
    const per_worker scratch([&] { return begin; });
    const auto firsts = Parallel({.n_jobs = 2})(
        views::iota(0, 9) | views::transform([&](int i) { return delayed(first_element)(i, scratch); }));
    CHECK(firsts == std::vector<int>(9, 7));
}

TEST_CASE("[per_worker] tasks of a call inside of a task have values of their own", "[per_worker]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    struct nested {
        static int inner(int i, std::vector<int>& scratch) {
            scratch.push_back(i);
            return scratch.front();
        }
        static bool outer(int i, const per_worker<std::vector<int>>& scratch) {
            scratch->assign(1, 100 + i);
            const auto all = Parallel({.n_jobs = 1})(
                views::iota(5, 9) | views::transform([&](int k) { return delayed(inner)(k, scratch); }));
            return all == std::vector<int>(4, 5) && *scratch == std::vector<int>{100 + i};
        }
    };
    const per_worker<std::vector<int>> scratch;
    for (const bool right : Parallel({.n_jobs = 2})(
             views::iota(0, 6) | views::transform([&](int i) { return delayed(&nested::outer)(i, scratch); })))
        CHECK(right);
}
