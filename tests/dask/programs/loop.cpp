// SPDX-License-Identifier: BSL-1.0
// A program that makes calls on the cluster whose scheduler it is given, and ends with 0 if all went well.
//
//     loop ADDRESS [--tls CA CERTIFICATE KEY] [--workers N] [--until FILE] [--no-init]
//
// --workers: waits for so many first, and wants its tasks on all of them. --until: the last call, of tasks called
// `simulate`, goes on until there is such a file. --no-init: it forgets joblot::init, which cannot end well.

#include "../../support/engine.hpp"

#include <joblot/dask.hpp>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <numeric>
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

int square(int i) { return i * i; }
int simulate(int i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return i;
}
double sum_of(const std::vector<double>& values, const joblot::broadcasted<std::vector<double>>& more) {
    return std::accumulate(more->begin(), more->end(), std::accumulate(values.begin(), values.end(), 0.0));
}
std::string home(int) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    char host[256] = {};
    ::gethostname(host, sizeof host - 1);
    return host + std::string(":") + std::to_string(::getppid()); // namespaces share the host's name, not processes
}

void require(bool fine, const char* what) {
    if (!fine) throw std::runtime_error(std::string("wrong: ") + what);
}

void check_results() {
    const auto squares = Parallel({.verbose = 10}).map(square, views::iota(0, 1000));
    require(std::ranges::equal(squares, views::iota(0, 1000) | views::transform(square)), "squares");
    const auto table = joblot::broadcast(std::vector<double>(200'000, 1.0));
    const auto tasks = views::iota(0, 4) |
                       views::transform([&](int i) { return delayed(sum_of)(std::vector<double>(50'000, i), table); });
    const auto sums = Parallel({.batch_size = 1})(tasks);
    for (int i = 0; i != 4; ++i)
        require(sums[static_cast<std::size_t>(i)] == 200'000.0 + 50'000.0 * i, "sums of large arguments");
    const auto copies =
        Parallel({.batch_size = 1}).map([](int i) { return std::vector<int>(100'000, i); }, views::iota(0, 4));
    for (int i = 0; i != 4; ++i)
        require(copies[static_cast<std::size_t>(i)] == std::vector<int>(100'000, i), "large results");
}

void check_failure() {
    try {
        Parallel().map([](int i) { return i == 3 ? throw std::out_of_range("three") : i; }, views::iota(0, 8));
    } catch (const std::out_of_range& e) {
        return require(e.what() == std::string("three"), "text of an exception");
    }
    require(false, "an exception that does not come");
}

void run(const std::vector<std::string>& words) {
    const auto option = [&](const std::string& name) { return std::ranges::find(words, name); };
    const auto number = [&](const std::string& name) {
        return option(name) == words.end() ? 0 : std::stoi(*(option(name) + 1));
    };
    joblot::dask::client_options options;
    if (const auto tls = option("--tls"); tls != words.end()) options.tls = {*(tls + 1), *(tls + 2), *(tls + 3)};
    const joblot::dask::Client client(words.at(0), options);
    if (const int workers = number("--workers"))
        client.wait_for_workers(static_cast<std::size_t>(workers), std::chrono::seconds(60));
    const joblot::parallel_backend guard{joblot::dask::backend{.client = &client}};
    check_results();
    check_failure();
    if (const int workers = number("--workers")) {
        const auto homes = Parallel({.batch_size = 1}).map(home, views::iota(0, 10 * workers));
        require(std::set<std::string>(homes.begin(), homes.end()).size() == static_cast<std::size_t>(workers),
                "workers used");
    }
    if (const auto until = option("--until"); until != words.end()) {
        const auto wanted = [file = *(until + 1)](int) { return !std::filesystem::exists(file); };
        Parallel({.batch_size = 1})(views::iota(0) | views::take_while(wanted) |
                                    views::transform(delayed(simulate, "simulate")));
    }
}

} // namespace

int main(int argc, char** argv) {
    const bool forgets = std::string(argv[argc - 1]) == "--no-init";
    if (!forgets) joblot::init(argc, argv);
    try {
        run({argv + 1, argv + argc});
    } catch (const std::exception& e) {
        std::cerr << "loop: " << e.what() << "\n";
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
