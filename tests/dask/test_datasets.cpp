// SPDX-License-Identifier: BSL-1.0
// Data that Python has published, read by C++ tasks where it lies.

#include "cluster.hpp"
#include "failure.hpp"
#include "published.hpp"

#include <algorithm>
#include <complex>
#include <cstddef>
#include <future>
#include <memory>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using joblot::dask::chunk;
using joblot::dask::Client;
using support::contains;
using support::dask_cluster;
using support::failure_of;
using support::on;
using support::published;
using support::shared_cluster;

double total(chunk<const double> block) { return std::accumulate(block.span().begin(), block.span().end(), 0.0); }
/// What `T` sees of a block: its elements in the order of C's indices.
template <class T>
std::vector<T> in_c_order(chunk<const T> block) {
    std::vector<T> all;
    if (block.ndim() == 0) return {block()};
    if (block.ndim() == 1) {
        for (std::size_t i = 0; i != block.shape()[0]; ++i) all.push_back(block(i));
        return all;
    }
    for (std::size_t i = 0; i != block.shape()[0]; ++i)
        for (std::size_t j = 0; j != block.shape()[1]; ++j) all.push_back(block(i, j));
    return all;
}
template <class T>
std::vector<std::vector<T>> blocks_of(const Client& client, const std::string& name) {
    const auto chunks = client.dataset(name).chunks<T>();
    return Parallel({.backend = joblot::dask::backend{.client = &client}, .batch_size = 1})(
        chunks | views::transform(delayed(in_c_order<T>)));
}

} // namespace

TEST_CASE("an array that Python has published: its blocks are arguments of tasks, with their places", "[datasets]") {
    const published array(shared_cluster(), "X",
                          "client.persist(dask.array.arange(24, chunks=5, dtype='f8').reshape(6, 4).rechunk((4, 3)))");
    {
        const Client client{shared_cluster().address()};
        const joblot::parallel_backend guard{on(shared_cluster())};
        const auto x = client.dataset("X");
        CHECK(x.name() == "X");
        CHECK(x.dtype() == "<f8");
        CHECK(x.shape() == std::vector<std::size_t>{6, 4});
        CHECK(x.blocks() == std::vector<std::size_t>{2, 2});
        const auto chunks = x.chunks<double>();
        REQUIRE(chunks.size() == 4);
        CHECK(chunks[1].name() == "X[0, 1]");
        CHECK(chunks[3].block() == std::vector<std::size_t>{1, 1});
        CHECK(chunks[3].offset() == std::vector<std::size_t>{4, 3});
        const auto sums = Parallel()(chunks | views::transform(delayed(total)));
        CHECK(std::accumulate(sums.begin(), sums.end(), 0.0) == 23 * 12);
        CHECK(sums[1] == 3 + 7 + 11 + 15);
        CHECK(sums[3] == 19 + 23);
        const auto wide = Parallel()(chunks | views::transform(delayed([](const chunk<const double>& c) {
                                         return std::pair(c.shape(), c.strides());
                                     })));
        CHECK(wide[0] == std::pair(std::vector<std::size_t>{4, 3}, std::vector<std::size_t>{3, 1}));
        CHECK(wide[3].first == std::vector<std::size_t>{2, 1});
        CHECK(contains(failure_of([&] { static_cast<void>(chunks[0].size()); }),
                       "X[0, 0] has its numbers on the cluster"));
    }
    // Nothing of ours wants the blocks any more.
    CHECK(support::eventually([&] {
        for (const auto& task : shared_cluster().tasks())
            for (const auto& who : task.at("clients"))
                if (who.get<std::string>().starts_with("joblot")) return false;
        return true;
    }));
}

TEST_CASE("blocks of every order and type of number are read as they are", "[datasets]") {
    const Client client{shared_cluster().address()};
    const auto read = [&]<class T>(T, const std::string& array) {
        const published p(shared_cluster(), "typed", "client.scatter([" + array + "])");
        return blocks_of<T>(client, "typed").at(0);
    };
    CHECK(read(0.0, "numpy.array([[1., 2, 3], [4, 5, 6]])") == std::vector{1.0, 2.0, 3.0, 4.0, 5.0, 6.0});
    CHECK(read(0.0, "numpy.asfortranarray(numpy.array([[1., 2, 3], [4, 5, 6]]))") ==
          std::vector{1.0, 2.0, 3.0, 4.0, 5.0, 6.0});
    CHECK(read(0.0, "numpy.arange(12.).reshape(3, 4)[::2, 1::2]") == std::vector{1.0, 3.0, 9.0, 11.0});
    CHECK(read(0.0, "numpy.broadcast_to(7.5, (2, 2))") == std::vector(4, 7.5));
    CHECK(read(0.0, "numpy.array([1, 2], dtype='>f8')") == std::vector{1.0, 2.0});
    CHECK(read(0.0, "numpy.array(2.5)") == std::vector{2.5});
    CHECK(read(0.0, "numpy.zeros((0, 3))").empty());
    CHECK(read(0.0F, "numpy.array([1, 2], dtype='f4')") == std::vector{1.0F, 2.0F});
    CHECK(read(0, "numpy.array([-1, 2], dtype='i4')") == std::vector{-1, 2});
    CHECK(read(std::uint64_t{0}, "numpy.array([1, 2**63], dtype='u8')") ==
          std::vector{std::uint64_t{1}, std::uint64_t{1} << 63});
    CHECK(read(std::int8_t{0}, "numpy.array([-1, 2], dtype='i1')") == std::vector<std::int8_t>{-1, 2});
    CHECK(read(std::complex<double>{}, "numpy.array([1 + 2j])") == std::vector{std::complex(1.0, 2.0)});
    CHECK(read(std::byte{}, "b'ab'") == std::vector{std::byte{'a'}, std::byte{'b'}});
    CHECK(read(0.0, "pandas.Series([1.5, 2.5])") == std::vector{1.5, 2.5});
    CHECK(read(std::int64_t{0}, "pandas.Series([1, 2], dtype='Int64')") == std::vector<std::int64_t>{1, 2});
    CHECK(read(0.0, "numpy.arange(100000.)").at(99'999) == 99'999.0);
}

TEST_CASE("a column of a data frame is a dataset", "[datasets]") {
    const published column(shared_cluster(), "column",
                           "client.persist(dask.dataframe.from_pandas("
                           "pandas.DataFrame({'a': [1., 2, 3, 4], 'b': list('wxyz')}), npartitions=2)['a'])");
    const Client client{shared_cluster().address()};
    CHECK(client.dataset("column").dtype() == "<f8");
    CHECK(blocks_of<double>(client, "column") == std::vector<std::vector<double>>{{1, 2}, {3, 4}});
}

TEST_CASE("what is no dataset of numbers is refused with its name and its type", "[datasets]") {
    const Client client{shared_cluster().address()};
    CHECK(contains(failure_of([&] { static_cast<void>(client.dataset("nothing")); }),
                   "nothing is published as \"nothing\""));
    const auto refusal = [&](const std::string& value) {
        const published p(shared_cluster(), "odd", value);
        return failure_of([&] { static_cast<void>(client.dataset("odd")); });
    };
    CHECK(contains(refusal("dask.array.ones(4) + 1"), "\"odd\" is not there yet"));
    CHECK(contains(refusal("{'a': 1}"), "\"odd\" is a builtins.dict"));
    CHECK(contains(refusal("client.persist(dask.dataframe.from_pandas(pandas.DataFrame({'a': [1.]}), npartitions=1))"),
                   "\"odd\" is a table; publish a column of it, like frame[\"a\"]"));
    const published array(shared_cluster(), "Y", "client.persist(dask.array.ones(4, dtype='f4'))");
    try {
        static_cast<void>(client.dataset("Y").chunks<double>());
        FAIL("chunks of the wrong type");
    } catch (const std::invalid_argument& e) {
        CHECK(contains(e.what(), "dataset \"Y\" has elements of dtype <f4, and was asked for chunks of dtype <f8"));
    }
    // Of futures one learns it from the task.
    const auto from_task = [&](const std::string& value) -> std::string {
        const published p(shared_cluster(), "Z", "client.scatter([" + value + "])");
        try {
            blocks_of<double>(client, "Z");
        } catch (const joblot::serialization_error& e) {
            return e.what();
        }
        return "nothing was thrown";
    };
    CHECK(contains(from_task("numpy.ones(2, dtype='i8')"),
                   "Z[0] cannot be read as numbers of dtype <f8: its dtype is <i8"));
    CHECK(contains(from_task("numpy.array([None])"),
                   "Z[0] cannot be read as numbers of dtype <f8: it has elements of dtype object"));
    CHECK(contains(from_task("'text'"), "builtins.str"));
    CHECK(contains(from_task("pandas.Series(['a'])"), "a column of"));
    CHECK(contains(from_task("numpy.ma.masked_array([1., 2.], [True, False])"), "masked"));
}

TEST_CASE("tasks run where their blocks are, and the blocks do not come to the client", "[datasets]") {
    const published array(shared_cluster(), "L", "client.persist(dask.array.ones(8_000_000, chunks=1_000_000))");
    const Client client{shared_cluster().address()};
    const auto holders = [&] {
        std::set<std::string> all;
        const auto tasks = shared_cluster().tasks(); // by name: `items` refers to it
        for (const auto& [key, task] : tasks.items())
            if (key.find("ones") != key.npos) all.insert(key + " " + task.at("workers").dump());
        return all;
    };
    const auto is_there = [](const std::string& task) { return task.find("tcp://") != task.npos; };
    REQUIRE(support::eventually([&] { return std::ranges::count_if(holders(), is_there) == 8; }));
    const auto before = holders();
    const auto chunks = client.dataset("L").chunks<double>();
    // One after the other, so that none has to go elsewhere.
    for (const auto& c : chunks) {
        const auto [sum] = Parallel({.backend = joblot::dask::backend{.client = &client}})(delayed(total)(c));
        CHECK(sum == 1'000'000);
    }
    CHECK(holders() == before);
}

TEST_CASE("a task may read several blocks, with other arguments", "[datasets]") {
    const published x(shared_cluster(), "A", "client.persist(dask.array.ones(400_000, chunks=100_000))");
    const published y(shared_cluster(), "B", "client.persist(dask.array.full(400_000, 2., chunks=100_000))");
    const Client client{shared_cluster().address()};
    const joblot::parallel_backend guard{joblot::dask::backend{.client = &client}};
    const auto a = client.dataset("A").chunks<double>(), b = client.dataset("B").chunks<double>();
    const auto weights = joblot::broadcast(std::vector<double>(100'000, 0.5));
    const auto dot = [](std::span<const double> one, chunk<const double> other, const std::vector<double>& w, int i) {
        double sum = i;
        for (std::size_t k = 0; k != one.size(); ++k) sum += one[k] * other.span()[k] * w[k];
        return sum;
    };
    const auto sums = Parallel()(views::iota(0, 16) | views::transform([&](int i) {
                                     return delayed(dot)(a[static_cast<std::size_t>(i % 4)],
                                                         b[static_cast<std::size_t>(i / 4)], weights, i);
                                 }));
    for (int i = 0; i != 16; ++i) CHECK(sums[static_cast<std::size_t>(i)] == 100'000.0 + i);
}

TEST_CASE("a block whose worker dies under a task is computed again by Dask", "[datasets]") {
    dask_cluster cluster(2);
    const support::scratch_dir dir;
    const published array(cluster, "X", "client.persist(dask.array.arange(8, chunks=2, dtype='f8'))");
    const Client client{cluster.address()};
    const auto chunks = client.dataset("X").chunks<double>();
    const auto task = [](chunk<const double> c, const std::string& folder) {
        if (c.block()[0] == 2 && support::first_to_create(folder + "/killed")) {
            ::kill(::getppid(), SIGKILL);
            support::sleep_for_ever();
        }
        return total(c);
    };
    const auto sums = Parallel({.backend = on(cluster), .batch_size = 1})(
        chunks | views::transform([&](const auto& c) { return delayed(task)(c, dir.path()); }));
    CHECK(sums == std::vector{1.0, 5.0, 9.0, 13.0});
    CHECK(support::exists(dir.file("killed")));
}

TEST_CASE("a block that dies with its worker for good is an error that names its dataset", "[datasets]") {
    dask_cluster cluster(2);
    const published array(cluster, "S", "client.scatter([numpy.full(3, 1.), numpy.full(3, 2.)])");
    const Client client{cluster.address()};
    const auto chunks = client.dataset("S").chunks<double>();
    const auto task = [](chunk<const double> c) {
        if (c.block()[0] == 1) {
            ::kill(::getppid(), SIGKILL);
            support::sleep_for_ever();
        }
        return c.size();
    };
    const std::string why = failure_of(
        [&] { Parallel({.backend = on(cluster), .batch_size = 1})(chunks | views::transform(delayed(task))); });
    CHECK(contains(why, "a part of dataset \"S\""));
    CHECK(contains(why, "not on the cluster any more"));
}

TEST_CASE("a dataset that is unpublished in mid-call stays until the call ends", "[datasets]") {
    dask_cluster cluster(1);
    const support::scratch_dir dir;
    published array(cluster, "X", "client.persist(dask.array.ones(8, chunks=2))");
    {
        const Client client{cluster.address()};
        auto call = std::async(std::launch::async, [&] {
            const auto task = [](chunk<const double> c, const std::string& folder) {
                support::publish(folder + "/begun", "");
                support::await(folder + "/go");
                return total(c);
            };
            return Parallel({.backend = on(cluster), .batch_size = 1})(
                client.dataset("X").chunks<double>() |
                views::transform([&](const auto& c) { return delayed(task)(c, dir.path()); }));
        });
        support::await(dir.file("begun"));
        array.unpublish();
        support::publish(dir.file("go"), "");
        CHECK(call.get() == std::vector(4, 2.0));
    }
    support::check_clean(cluster);
}

TEST_CASE("a dataset stays as long as one of two handles does", "[datasets]") {
    dask_cluster cluster(1);
    published array(cluster, "X", "client.persist(dask.array.ones(8, chunks=2))");
    {
        const Client client{cluster.address()};
        const auto chunks = client.dataset("X").chunks<double>();
        static_cast<void>(client.dataset("X")); // comes and goes
        array.unpublish();
        const auto sums = Parallel({.backend = on(cluster)})(chunks | views::transform(delayed(total)));
        CHECK(sums == std::vector(4, 2.0));
    }
    support::check_clean(cluster);
}

TEST_CASE("Python code that fails to make a block: the error is Python's", "[datasets]") {
    const published bad(shared_cluster(), "bad",
                        "client.persist(dask.array.ones(4, chunks=2).map_blocks(lambda b: 1 / 0, dtype='f8'))");
    const Client client{shared_cluster().address()};
    const auto chunks = client.dataset("bad").chunks<double>();
    const std::string why = failure_of([&] {
        Parallel({.backend = joblot::dask::backend{.client = &client}})(chunks | views::transform(delayed(total)));
    });
    CHECK(contains(why, "ZeroDivisionError"));
}

TEST_CASE("a large block is read where memory is limited", "[datasets]") {
    dask_cluster cluster(1, {.memory_limit = "600MB"});
    const published array(cluster, "large", "client.persist(dask.array.ones(25_000_000, chunks=25_000_000))");
    const Client client{cluster.address()};
    const auto [sum] = Parallel({.backend = on(cluster)})(delayed(total)(client.dataset("large").chunks<double>()[0]));
    CHECK(sum == 25'000'000);
}

TEST_CASE("on other backends, and on other clusters, chunks are refused", "[datasets]") {
    const published array(shared_cluster(), "X", "client.persist(dask.array.ones(4, chunks=2))");
    const Client client{shared_cluster().address()};
    const auto chunks = client.dataset("X").chunks<double>();
    const auto run = [&](const joblot::backend_choice& backend) {
        return failure_of([&] { Parallel({.backend = backend})(chunks | views::transform(delayed(total))); });
    };
    CHECK(contains(run("threads"), "X[0] has its numbers on the cluster"));
    CHECK(contains(run("processes"), "is on a Dask cluster"));
    const dask_cluster other(1);
    CHECK(contains(run(on(other)), "dataset \"X\" is on the Dask cluster at " + shared_cluster().address()));
}
