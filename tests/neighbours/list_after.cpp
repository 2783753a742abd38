// SPDX-License-Identifier: BSL-1.0
// Every macro of the list comes behind joblot's headers, and before the calls.
#include <joblot/joblot.hpp>
#include <joblot/std_exceptions.hpp>
// behind those
#include "macros_of_others.hpp"
// behind them
#include "call.hpp"

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    joblot::register_std_exceptions();
    return make_calls();
}
