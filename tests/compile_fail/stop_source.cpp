// SPDX-License-Identifier: BSL-1.0
// The source of a stop, where its token belongs.
// expect: joblot: a call is stopped by a token
#include <joblot/joblot.hpp>

#include <stop_token>

int main() {
    const std::stop_source source;
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const joblot::Parallel parallel({.stop = source.get_token()});
#else
    [[maybe_unused]] const joblot::Parallel parallel({.stop = source});
#endif
}
