// SPDX-License-Identifier: BSL-1.0
// Ten tasks of 0.1 s on a Dask cluster: one that it starts on this machine, or the one at the address that it is given.
#include <joblot/dask.hpp>
#include <joblot/dask/engine.hpp>
#include <joblot/joblot.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

using joblot::delayed, joblot::Parallel;
namespace views = std::views;

int long_running_function(int i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return i;
}

void run(joblot::dask::Client client) {
    const std::string address = client.scheduler_info()["address"];
    joblot::parallel_backend guard{joblot::dask::backend{.scheduler_host = address}};

    // The progress lines tell that the backend is indeed the cluster.
    const std::vector<int> numbers =
        Parallel({.n_jobs = 2, .verbose = 100})(views::iota(0, 10) | views::transform(delayed(long_running_function)));

    for (const int number : numbers) std::cout << number << ' ';
    std::cout << '\n';
}

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    try {
        run(argc > 1 ? joblot::dask::Client(argv[1]) : joblot::dask::Client());
    } catch (const std::exception& e) {
        std::cerr << e.what() << '\n';
        return 1;
    }
}
