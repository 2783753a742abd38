// SPDX-License-Identifier: BSL-1.0
// Every macro of the list is there before joblot's headers.
#include "headers_of_others.hpp"
// behind those
#include "macros_of_others.hpp"
// behind them
#include <joblot/init.hpp>
#include <joblot/joblot.hpp>
#include <joblot/std_exceptions.hpp>
#ifdef JOBLOT_TEST_DASK
#include <joblot/dask.hpp>
#include <joblot/dask/engine.hpp>
#endif

#include "call.hpp"

#if !defined(timeout) || !defined(check) || !defined(min) || !defined(I)
#error a macro of somebody else is gone
#endif

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    joblot::register_std_exceptions();
    return make_calls();
}
