// SPDX-License-Identifier: BSL-1.0
// A program that never calls joblot::init: a call on a cluster must refuse at once, and show the line that is missing.
//
//     no_init ADDRESS

#include <joblot/dask.hpp>

#include <iostream>
#include <ranges>
#include <string>

int main(int, char** argv) {
    try {
        joblot::Parallel({.backend = joblot::dask::backend{.scheduler_host = argv[1]}})
            .map([](int i) { return i; }, std::views::iota(0, 4));
    } catch (const joblot::backend_error& e) {
        std::cout << e.what() << "\n";
        return std::string(e.what()).find("joblot::init(argc, argv)") == std::string::npos;
    }
    std::cout << "the call was made\n";
    return 2;
}
