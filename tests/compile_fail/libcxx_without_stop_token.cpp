// SPDX-License-Identifier: BSL-1.0
// libc++ has `std::stop_token` behind a switch.
// expect-clang: #error joblot needs std::stop_token, .* compile and link with -fexperimental-library
// flags: -stdlib=libc++
// fixed flags: -stdlib=libc++ -fexperimental-library
#include <joblot/joblot.hpp>

#include <ranges>
#include <vector>

using joblot::Parallel, joblot::delayed;

int square(int x);

int square(int x) { return x * x; }

int main() {
    const std::vector<int> squares =
        Parallel({.n_jobs = 2})(std::views::iota(0, 10) | std::views::transform(delayed(square)));
    return squares[0];
}
