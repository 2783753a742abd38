// SPDX-License-Identifier: BSL-1.0
// Results of C++ that stay on the cluster: what Python sees of them, later tasks, and workers that die.

#include "cluster.hpp"
#include "failure.hpp"
#include "published.hpp"

#include <joblot/dask/data/desired_keys.hpp>

#include <algorithm>
#include <array>
#include <complex>
#include <cstddef>
#include <functional>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using joblot::dask::Client;
using support::contains;
using support::dask_cluster;
using support::evaluated;
using support::failure_of;
using support::on;
using support::shared_cluster;

std::vector<double> ramp(int n) {
    std::vector<double> values(static_cast<std::size_t>(n));
    std::iota(values.begin(), values.end(), 0.0);
    return values;
}
double sum_of_persisted(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }
std::vector<double> half_of(const std::vector<double>& values) {
    return {values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2)};
}

/// How many keys have a value on the cluster.
long count_in_memory(dask_cluster& cluster) {
    const joblot::dask::engine::json tasks = cluster.tasks();
    return std::count_if(tasks.begin(), tasks.end(), [](const auto& task) { return task.at("state") == "memory"; });
}

/// A dataset of ours, as long as this lives.
template <class Results>
class named {
public:
    named(const Client& client, std::string name, const Results& results) : client_(client), name_(std::move(name)) {
        client_.publish_dataset(name_, results);
    }
    named(const named&) = delete;
    named& operator=(const named&) = delete;
    ~named() { client_.unpublish_dataset(name_); }

private:
    const Client& client_;
    const std::string name_;
};

template <class F>
std::string as_python_sees(const Client& client, F f, const std::string& expression) {
    const auto results = Parallel({.backend = joblot::dask::backend{.client = &client}})
                             .persist(views::iota(0, 3) | views::transform(delayed(f)));
    const named seen(client, "seen", results);
    return evaluated(shared_cluster(), "(lambda v: " + expression + ")(client.gather(client.get_dataset('seen'))[2])");
}

} // namespace

TEST_CASE("Python reads results that C++ has left on the cluster", "[persist]") {
    {
        const Client client{shared_cluster().address()};
        const std::string array = "(type(v).__name__, v.dtype.str, v.shape, v.tolist())";
        CHECK(as_python_sees(
                  client, [](int i) { return std::vector<double>(2, i); }, array) ==
              "('ndarray', '<f8', (2,), [2.0, 2.0])");
        CHECK(as_python_sees(
                  client,
                  [](int i) {
                      const auto x = static_cast<float>(i);
                      return std::vector<std::array<float, 3>>{{1, 2, 3}, {4, 5, x}};
                  },
                  array) == "('ndarray', '<f4', (2, 3), [[1.0, 2.0, 3.0], [4.0, 5.0, 2.0]])");
        CHECK(as_python_sees(
                  client, [](int i) { return std::array<bool, 2>{i == 2, false}; }, array) ==
              "('ndarray', '|b1', (2,), [True, False])");
        CHECK(as_python_sees(
                  client, [](int) { return std::vector<std::complex<float>>{{1, -1}}; }, array) ==
              "('ndarray', '<c8', (1,), [(1-1j)])");
        CHECK(as_python_sees(client, ramp, "(v.shape, v.flags.writeable or True)") == "((2,), True)");
        CHECK(as_python_sees(
                  client, [](int i) { return ramp(i * 500'000); }, "(v.shape, float(v.sum()))") ==
              "((1000000,), 499999500000.0)");
        CHECK(as_python_sees(client, [](int i) { return i; }, "repr(v)") == "2");
        CHECK(as_python_sees(client, [](int i) { return 0.25 * i; }, "repr(v)") == "0.5");
        CHECK(as_python_sees(client, [](int i) { return i == 2; }, "repr(v)") == "True");
        CHECK(as_python_sees(client, [](int i) { return std::complex<double>(i, 1); }, "repr(v)") == "(2+1j)");
        CHECK(as_python_sees(client, [](int i) { return "text" + std::to_string(i); }, "repr(v)") == "b'text2'");
        CHECK(as_python_sees(
                  client, [](int i) { return std::vector(2, static_cast<std::byte>(i)); }, "repr(v)") ==
              "b'\\x02\\x02'");
        CHECK(as_python_sees(client, [](int i) { return std::pair(i, i); }, "type(v).__name__") == "bytes");
    }
    CHECK(evaluated(shared_cluster(), "list(client.list_datasets())") == "[]");
    support::check_clean(shared_cluster());
}

TEST_CASE("what is published stays when its handle, its client and its name go, in that order", "[persist]") {
    dask_cluster cluster(1);
    {
        const Client client{cluster.address()};
        const auto one = Parallel({.backend = joblot::dask::backend{.client = &client}})
                             .persist(views::iota(4, 5) | views::transform(delayed(ramp)));
        client.publish_dataset("one", one[0]);
        CHECK(contains(failure_of([&] { client.publish_dataset("one", one); }),
                       "the name \"one\" is taken on the Dask cluster at " + cluster.address()));
        CHECK(client.dataset("one").chunks<double>().size() == 1);
    }
    CHECK(evaluated(cluster, "client.get_dataset('one').result().tolist()") == "[0.0, 1.0, 2.0, 3.0]");
    const Client other{cluster.address()};
    other.unpublish_dataset("one");
    other.unpublish_dataset("never there");
    support::check_clean(cluster);
}

TEST_CASE("results are read by later tasks without coming to the client, and their keys go with the handles",
          "[persist]") {
    dask_cluster cluster(2);
    {
        const joblot::parallel_backend guard{on(cluster)};
        const Parallel p;
        auto ramps = p.persist(views::iota(100'000, 100'006) | views::transform(delayed(ramp)));
        CHECK(cluster.tasks().size() == 6);
        const auto halves =
            p.persist(ramps | views::transform([](const auto& r) { return delayed(half_of)(std::cref(r)); }));
        ramps.clear(); // Dask keeps how they are made, as the halves may be needed again; not their values
        CHECK(support::eventually([&] { return count_in_memory(cluster) == 6; }));
        const auto sums =
            p(halves | views::transform([](const auto& h) { return delayed(sum_of_persisted)(std::cref(h)); }));
        CHECK(sums[4] == 50'001.0 * 50'002 / 2);
        CHECK(cluster.history("half_of", "memory") == 6);
        // On other backends they are brought here.
        CHECK(Parallel({.backend = "threads"})(halves | views::transform([](const auto& h) {
                                                   return delayed(sum_of_persisted)(std::cref(h));
                                               })) == sums);
        CHECK(contains(failure_of([&] {
                           Parallel({.backend = "processes"})(halves | views::transform([](const auto& h) {
                                                                  return delayed(sum_of_persisted)(std::cref(h));
                                                              }));
                       }),
                       "is on a Dask cluster"));
        CHECK(halves[0].get().size() == 50'000);
    }
    support::check_clean(cluster);
}

TEST_CASE("a result whose worker dies is computed again, with the arguments that it needs", "[persist]") {
    dask_cluster cluster(2);
    {
        const joblot::parallel_backend guard{on(cluster)};
        const Parallel p;
        const auto factor = joblot::broadcast(std::vector<double>(100'000, 3.0));
        auto scaled = p.persist(views::iota(0, 6) | views::transform([&](int i) {
                                    return delayed([](int k, const std::vector<double>& f) {
                                        return std::vector<double>(f.begin(), f.begin() + 1000 * (k + 1));
                                    })(i, factor);
                                }));
        cluster.worker(1).signal(SIGKILL);
        const auto sums =
            p(scaled | views::transform([](const auto& s) { return delayed(sum_of_persisted)(std::cref(s)); }));
        CHECK(sums == std::vector<double>{3000, 6000, 9000, 12000, 15000, 18000});
        CHECK(scaled[5]->size() == 6000);
    }
    support::check_clean(cluster);
}

TEST_CASE("results are computed again when the last copy of a broadcast value went with them", "[persist]") {
    dask_cluster cluster(1);
    auto lose_all = [&, number = std::size_t{0}]() mutable { cluster.replace_worker(++number); };
    {
        const Client client{cluster.address()};
        const joblot::parallel_backend guard{joblot::dask::backend{.client = &client}};
        const Parallel p;
        const auto table = joblot::broadcast(ramp(100'000)); // not small enough to travel in the graph
        const auto scale = [](int k, const std::vector<double>& values) {
            std::vector<double> result(values.begin(), values.begin() + 100);
            for (double& x : result) x *= k;
            return result;
        };
        auto scaled = p.persist(views::iota(0, 6) | views::transform([&](int k) { return delayed(scale)(k, table); }));
        const auto halves =
            p.persist(scaled | views::transform([](const auto& s) { return delayed(half_of)(std::cref(s)); }));
        const auto sums = [&] {
            return p(halves | views::transform([](const auto& h) { return delayed(sum_of_persisted)(std::cref(h)); }));
        };
        const std::vector<double> expected{0, 1225, 2450, 3675, 4900, 6125};
        SECTION("for tasks that read them") {
            lose_all();
            CHECK(sums() == expected);
            scaled.clear(); // what was made of them still can be made again
            lose_all();
            CHECK(sums() == expected);
        }
        SECTION("for who reads them here") {
            lose_all();
            CHECK(halves[2].get()[49] == 98);
        }
        SECTION("for who reads their dataset") {
            lose_all();
            CHECK(support::eventually([&] { return cluster.tasks().empty(); }));
            client.publish_dataset("halves", halves);
            CHECK(evaluated(cluster, "float(client.gather(client.get_dataset('halves'))[5].sum())") == "6125.0");
            client.unpublish_dataset("halves");
        }
        SECTION("or for nobody") {
            lose_all();
            CHECK(support::eventually([&] { return cluster.tasks().empty(); }));
            joblot::dask::engine::check_there(*halves[0].place()); // it is under way, and not waited for
        }
    }
    support::check_clean(cluster);
}

TEST_CASE("a result that cannot be computed again is an error that names it", "[persist]") {
    dask_cluster cluster(1);
    {
        const joblot::parallel_backend guard{on(cluster)};
        const Parallel p;
        // The argument is too large for the graph: it is data on the worker, and dies with it.
        const auto results = p.persist(views::iota(0, 1) |
                                       views::transform([](int) { return delayed(half_of, "halve")(ramp(100'000)); }));
        cluster.replace_worker(1);
        const std::string why = failure_of([&] {
            p(results | views::transform([](const auto& r) { return delayed(sum_of_persisted)(std::cref(r)); }));
        });
        CHECK(contains(why, "of the persisted result of \"halve\" is not on the cluster any more"));
        CHECK(contains(failure_of([&] { static_cast<void>(results[0].get()); }),
                       "the persisted result of \"halve\" could not be brought here"));
    }
    support::check_clean(cluster);
}

TEST_CASE("a call that fails leaves none of its results on the cluster; one that is tried again does", "[persist]") {
    dask_cluster cluster(1);
    const support::scratch_dir dir;
    {
        const joblot::parallel_backend guard{on(cluster)};
        const auto task = [](int i, const std::string& folder) {
            if (i == 3 && support::first_to_create(folder + "/failed")) throw std::runtime_error("for once");
            return i;
        };
        const auto tasks = views::iota(0, 6) | views::transform([&](int i) { return delayed(task)(i, dir.path()); });
        CHECK_THROWS_AS(Parallel().persist(tasks), std::runtime_error);
        support::check_clean(cluster);
        std::filesystem::remove(dir.file("failed"));
        const auto results = Parallel({.retries = 1}).persist(tasks);
        CHECK(results[3].get() == 3);
        CHECK(cluster.tasks().size() == 6);
    }
    support::check_clean(cluster);
}

TEST_CASE("results that are not on a cluster are not published there, nor read on another one", "[persist]") {
    const Client client{shared_cluster().address()};
    CHECK_THROWS_AS(client.publish_dataset("x", joblot::persisted<int>(3)), std::invalid_argument);
    const auto here = Parallel({.backend = joblot::dask::backend{.client = &client}})
                          .persist(views::iota(4, 5) | views::transform(delayed(ramp)));
    const dask_cluster other(1);
    CHECK(contains(failure_of([&] { Parallel({.backend = on(other)})(delayed(sum_of_persisted)(std::cref(here[0]))); }),
                   "the persisted result of \"ramp\" is on the Dask cluster at " + shared_cluster().address()));
}
