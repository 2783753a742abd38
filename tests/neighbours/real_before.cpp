// SPDX-License-Identifier: BSL-1.0
// Real headers with many macros, before joblot's.
#if __has_include(<Python.h>)
#include <Python.h> // wants to be the first of all
#endif
// behind it
#include "real_headers.hpp"
// behind those
#include <joblot/joblot.hpp>
#include <joblot/std_exceptions.hpp>
// behind them
#include "call.hpp"

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    return make_calls();
}
