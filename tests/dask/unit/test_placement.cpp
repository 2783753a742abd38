// SPDX-License-Identifier: BSL-1.0
// Numbers of a cluster's threads, as workers come and go.
#include <joblot/dask/call/placement.hpp>

#include <catch2/catch_test_macros.hpp>

#include <map>
#include <string>

namespace {

using joblot::dask::engine::placement;
using numbers = std::map<std::string, int>;

} // namespace

TEST_CASE("threads are numbered from 0 on, without gaps", "[dask][placement]") {
    placement p;
    CHECK(p.threads() == 0);
    CHECK(p.beyond() == 0);
    CHECK(p.first_numbers().empty());
    CHECK(p.update({{"a", 2}, {"b", 1}, {"c", 3}}));
    CHECK(p.first_numbers() == numbers{{"a", 0}, {"b", 2}, {"c", 3}});
    CHECK(p.threads() == 6);
    CHECK(p.beyond() == 6);
    CHECK_FALSE(p.update({{"a", 2}, {"b", 1}, {"c", 3}}));
}

TEST_CASE("a worker keeps its numbers, and those of one that has left are used again", "[dask][placement]") {
    placement p;
    p.update({{"a", 2}, {"b", 2}, {"c", 2}});
    CHECK(p.update({{"a", 2}, {"c", 2}}));
    CHECK(p.first_numbers() == numbers{{"a", 0}, {"c", 4}});
    CHECK(p.threads() == 4);
    CHECK(p.beyond() == 6);
    CHECK(p.update({{"a", 2}, {"c", 2}, {"d", 1}, {"e", 1}, {"f", 3}}));
    CHECK(p.first_numbers() == numbers{{"a", 0}, {"c", 4}, {"d", 2}, {"e", 3}, {"f", 6}});
    CHECK(p.beyond() == 9);
}

TEST_CASE("one that needs more room than a gap has is put behind it", "[dask][placement]") {
    placement p;
    p.update({{"a", 1}, {"b", 1}});
    p.update({{"b", 1}});
    p.update({{"b", 1}, {"c", 2}});
    CHECK(p.first_numbers() == numbers{{"b", 1}, {"c", 2}});
}

TEST_CASE("a worker that came back with other threads is another one", "[dask][placement]") {
    placement p;
    p.update({{"a", 1}, {"b", 1}});
    CHECK(p.update({{"a", 4}, {"b", 1}}));
    CHECK(p.first_numbers() == numbers{{"a", 2}, {"b", 1}});
    CHECK(p.threads() == 5);
}

TEST_CASE("a worker without threads runs nothing", "[dask][placement]") {
    placement p;
    CHECK_FALSE(p.update({{"a", 0}}));
    CHECK(p.threads() == 0);
    CHECK(p.first_numbers().empty());
}

TEST_CASE("when all are gone, numbers begin at 0 again", "[dask][placement]") {
    placement p;
    p.update({{"a", 3}});
    CHECK(p.update({}));
    CHECK(p.threads() == 0);
    CHECK(p.update({{"b", 2}}));
    CHECK(p.first_numbers() == numbers{{"b", 0}});
}

TEST_CASE("the least busy worker is the one with least to do for each thread", "[dask][placement]") {
    placement p;
    CHECK(p.least_busy({}).empty());
    p.update({{"a", 1}, {"b", 4}, {"c", 2}});
    CHECK(p.least_busy({}) == "a");
    CHECK(p.least_busy({{"a", 1}}) == "b");
    CHECK(p.least_busy({{"a", 1}, {"b", 1}, {"c", 0}}) == "c");
    CHECK(p.least_busy({{"a", 1}, {"b", 2}, {"c", 2}, {"gone", 0}}) == "b");
}
