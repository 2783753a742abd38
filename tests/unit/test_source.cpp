// SPDX-License-Identifier: BSL-1.0
// Reading tasks from ranges: how far, in which order, what is moved and what is left; no threads.
#include <joblot/dispatch/purity.hpp>
#include <joblot/dispatch/source.hpp>
#include <joblot/dispatch/zip.hpp>

#include <catch2/catch_test_macros.hpp>

#include <list>
#include <memory>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

using joblot::delayed;
using namespace joblot::detail;
namespace views = std::views;

namespace {

int twice(int i) { return 2 * i; }

// Only its type is.
[[maybe_unused]] auto tasks_to(int n) { return views::iota(0, n) | views::transform(delayed(twice)); }

// A range that notes each element that is read, and cannot be indexed.
auto noting(std::vector<int>& read, int n) {
    return views::iota(0, n) | views::transform([&read](int i) {
               read.push_back(i);
               return delayed(twice)(i);
           });
}

template <class View>
using tasks_of = task_buffer<std::remove_cvref_t<std::ranges::range_reference_t<View>>>;

} // namespace

TEST_CASE("a reader reads as far as asked and not one element further") {
    std::vector<int> read;
    auto range = noting(read, 5);
    task_reader<decltype(range), false> reader(range);
    tasks_of<decltype(range)> tasks;
    REQUIRE(read.empty());
    reader.read(2, tasks);
    REQUIRE(read == std::vector{0, 1});
    REQUIRE_FALSE(reader.state().exhausted);
    reader.read(3, tasks);
    REQUIRE(read.size() == 5);
    REQUIRE_FALSE(reader.state().exhausted); // nobody looked yet
    reader.read(1, tasks);
    REQUIRE(reader.state().exhausted);
    REQUIRE(reader.state().count == 5);
    REQUIRE(tasks.size() == 5);
    for (std::size_t i = 0; i != 5; ++i) REQUIRE(tasks.call(i) == 2 * static_cast<int>(i));
    reader.read(1, tasks); // the end stays the end
    REQUIRE(tasks.size() == 5);
}

TEST_CASE("an error of the range ends the input after the tasks before it") {
    for (const int bad : {0, 1, 4}) {
        auto range = views::iota(0, 5) | views::transform([bad](int i) {
                         if (i == bad) throw std::runtime_error("no element " + std::to_string(i));
                         return delayed(twice)(i);
                     });
        task_reader<decltype(range), false> reader(range);
        tasks_of<decltype(range)> tasks;
        reader.read(100, tasks);
        REQUIRE(tasks.size() == static_cast<std::size_t>(bad));
        REQUIRE(reader.state().count == static_cast<std::size_t>(bad));
        REQUIRE(reader.state().exhausted);
        REQUIRE(reader.state().error);
        REQUIRE_THROWS_AS(std::rethrow_exception(reader.state().error), std::runtime_error);
    }
}

TEST_CASE("tasks of a borrowed container are copied, those of an owned one moved") {
    const auto length = [](const std::string& s) { return s.size(); };
    std::list tasks{delayed(length)(std::string(100, 'a')), delayed(length)(std::string(200, 'b'))};
    {
        task_reader<decltype(tasks), false> reader(tasks);
        tasks_of<decltype(tasks)> read;
        reader.read(9, read);
        REQUIRE(read.call(1) == 200);
        REQUIRE(std::get<0>(tasks.front().arguments()).size() == 100);
    }
    task_reader<decltype(tasks), true> reader(tasks);
    tasks_of<decltype(tasks)> read;
    reader.read(9, read);
    REQUIRE(read.call(0) == 100);
    REQUIRE(std::get<0>(tasks.front().arguments()).empty());
}

TEST_CASE("an indexed source of borrowed tasks leaves them as they are") {
    std::vector tasks{delayed([](std::string s) { return s + "!"; })(std::string(50, 'x'))};
    indexed_source<decltype(tasks)::iterator, false> source(tasks.begin(), 1);
    REQUIRE(source.call(0).size() == 51);
    REQUIRE(source.call(0).size() == 51);
    indexed_source<decltype(tasks)::iterator, true> owned(tasks.begin(), 1);
    REQUIRE(owned.call_again(0).size() == 51);
    REQUIRE(owned.call(0).size() == 51);
    REQUIRE(std::get<0>(tasks[0].arguments()).empty());
}

TEST_CASE("a task with a mutable functor is copied before it is called where it is not ours") {
    std::vector tasks{delayed([n = 0](int step) mutable { return n += step; })(3)};
    indexed_source<decltype(tasks)::iterator, false> source(tasks.begin(), 1);
    REQUIRE(source.call(0) == 3);
    REQUIRE(source.call(0) == 3);
}

TEST_CASE("which ranges are indexed by several threads at once") {
    std::vector<int> numbers{1, 2, 3};
    const auto impure = [](int i) { return i; };
    STATIC_REQUIRE(indexable<decltype(tasks_to(3))>);
    STATIC_REQUIRE(indexable<decltype(numbers | views::transform(delayed(twice)))>);
    STATIC_REQUIRE(indexable<decltype(numbers | views::drop(1) | views::reverse | views::take(1) |
                                      views::transform(delayed(twice)))>);
    STATIC_REQUIRE(indexable<decltype(std::span(numbers) | views::transform(delayed(twice)))>);
    STATIC_REQUIRE(indexable<std::vector<joblot::task<int (*)(int), int>>&>);
    STATIC_REQUIRE_FALSE(indexable<decltype(numbers | views::transform(impure) | views::transform(delayed(twice)))>);
    STATIC_REQUIRE_FALSE(indexable<decltype(numbers | views::filter(impure) | views::transform(delayed(twice)))>);
    STATIC_REQUIRE_FALSE(indexable<decltype(views::iota(0) | views::transform(delayed(twice)))>);
    STATIC_REQUIRE_FALSE(indexable<std::list<joblot::task<int (*)(int), int>>&>);
}

TEST_CASE("zipped ranges end with the shortest, indexed or not") {
    const auto sum = [](int a, int b) { return a + b; };
    std::vector<int> three{10, 20, 30};
    zip_tasks zipped(sum, views::all(three), views::iota(0));
    STATIC_REQUIRE(decltype(zipped)::is_indexed);
    auto by_index = zipped.by_index();
    REQUIRE(by_index.size() == 3);
    REQUIRE(by_index[2]() == 32);
    STATIC_REQUIRE(indexable<decltype(by_index)>);

    std::list<int> two{1, 2};
    zip_tasks listed(sum, views::all(three), views::all(two));
    STATIC_REQUIRE_FALSE(decltype(listed)::is_indexed);
    std::vector<int> results;
    for (auto&& t : listed) results.push_back(std::move(t)());
    REQUIRE(results == std::vector{11, 22});
}
