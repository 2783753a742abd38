// SPDX-License-Identifier: BSL-1.0
// main of the test programs: their worker processes are themselves.

#include "engine.hpp"

#include <joblot/wire/remote_exception.hpp>

#include <catch2/catch_session.hpp>

int main(int argc, char** argv) {
    joblot::register_exception<int>(); // tests throw numbers, and want to see the same ones
    joblot::init(argc, argv);
    return Catch::Session().run(argc, argv);
}
