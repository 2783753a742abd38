// SPDX-License-Identifier: BSL-1.0
// A program of two files that is compiled where no other library can be found: calls on threads and on worker
// processes, whose tasks take standard types, an aggregate, and classes with `serialize`, with `save` and `load`, with
// a `travel`.
#include "types.hpp"

#include <joblot/joblot.hpp>

#include <cstdio>
#include <ranges>
#include <string>
#include <vector>

std::vector<int> squares_on_threads();

static std::string describe(const shelf& s, const price& p, const box& b) {
    std::string text;
    for (const auto& [title, copies] : s.books) text += title + "*" + std::to_string(copies) + " ";
    return text + std::to_string(p.cents()) + " " + std::to_string(b.volume()) + " " + s.label.text;
}

static std::vector<std::string> described(const char* backend) {
    const shelf s{{{"Dune", 2}, {"Emma", 3}}, {"upper"}};
    return joblot::Parallel({.n_jobs = 2, .backend = backend})(
        std::views::iota(0, 4) |
        std::views::transform([s](int i) { return joblot::delayed(describe)(s, price(i), box(i, 2)); }));
}

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    const std::vector<std::string> there = described("processes");
    const bool right =
        there == described("threads") && there[3] == "Dune*2 Emma*3 3 6 upper" && squares_on_threads()[9] == 81;
    std::printf("bare: %s\n", right ? "the same texts" : "WRONG RESULT");
    return right ? 0 : 1;
}
