// SPDX-License-Identifier: BSL-1.0
// Real headers with many macros, behind joblot's.
#include <joblot/joblot.hpp>
#include <joblot/std_exceptions.hpp>
// behind those
#include "real_headers.hpp"
#if __has_include(<Python.h>)
#include <Python.h>
#endif
// behind them
#include "call.hpp"

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    return make_calls();
}
