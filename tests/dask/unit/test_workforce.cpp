// SPDX-License-Identifier: BSL-1.0
// How many batches a call keeps on a cluster, as its workers come and go.
#include <joblot/dask/call/workforce.hpp>

#include <catch2/catch_test_macros.hpp>

#include <optional>

namespace {

using joblot::dask::engine::workforce;
using namespace std::chrono_literals;
constexpr workforce::clock::time_point start{};

} // namespace

TEST_CASE("each thread has a batch and the next one", "[dask][workforce]") {
    workforce w(0, std::nullopt, 10s);
    w.update({{"a", 2}, {"b", 1}}, start);
    CHECK(w.sharers() == 3);
    CHECK(w.capacity() == 6);
    w.update({{"a", 2}, {"b", 1}, {"c", 4}}, start);
    CHECK(w.sharers() == 7);
    CHECK(w.capacity() == 14);
    w.update({{"b", 1}}, start);
    CHECK(w.capacity() == 2);
    CHECK(w.places().first_numbers().at("b") == 2);
}

TEST_CASE("batches that hardly last longer than their way wait in longer rows", "[dask][workforce]") {
    workforce w(0, std::nullopt, 10s);
    w.update({{"a", 2}}, start);
    w.batch_took(10ms);
    CHECK(w.capacity() == 8);
    w.batch_took(200ms);
    CHECK(w.capacity() == 4);
    w.batch_took(2us); // these will soon be longer
    CHECK(w.capacity() == 4);
}

TEST_CASE("max_concurrency is a limit for all of it", "[dask][workforce]") {
    workforce w(0, 3, 10s);
    w.update({{"a", 1}}, start);
    CHECK(w.sharers() == 1);
    CHECK(w.capacity() == 2);
    w.update({{"a", 8}}, start);
    CHECK(w.sharers() == 3);
    CHECK(w.capacity() == 3);
    w.batch_took(10ms);
    CHECK(w.capacity() == 3);
}

TEST_CASE("without a worker some work is still to be seen, and patience ends", "[dask][workforce]") {
    workforce w(0, std::nullopt, 10s);
    CHECK_FALSE(w.deserted());
    w.update({}, start);
    CHECK(w.deserted());
    CHECK(w.sharers() == 1);
    CHECK(w.capacity() == 1);
    CHECK_FALSE(w.given_up(start + 9s));
    w.update({}, start + 9s); // still the same
    CHECK(w.given_up(start + 10s));
    w.update({{"a", 1}}, start + 11s);
    CHECK_FALSE(w.deserted());
    CHECK_FALSE(w.given_up(start + 1h));
    w.update({}, start + 20s);
    CHECK_FALSE(w.given_up(start + 29s));
    CHECK(w.given_up(start + 30s));
}

TEST_CASE("min_concurrency is there before the workers are", "[dask][workforce]") {
    workforce w(20, 30, 10s);
    w.update({{"a", 1}}, start);
    CHECK(w.sharers() == 10);
    CHECK(w.capacity() == 20);
    w.update({{"a", 12}}, start);
    CHECK(w.sharers() == 12);
    CHECK(w.capacity() == 24);
    w.update({{"a", 20}}, start);
    CHECK(w.capacity() == 30);
}
