// SPDX-License-Identifier: BSL-1.0
// The thread benchmarks with joblot: the call as a user writes it, options and all, every time.
#include "workload.hpp"

#include <joblot/joblot.hpp>

#include <ranges>

namespace {

struct joblot_peer {
    int workers;
    int verbose;

    template <class F>
    std::vector<double> operator()(std::size_t n, F f) const {
        return joblot::Parallel({.n_jobs = workers, .backend = joblot::threads{}, .verbose = verbose})(
            std::views::iota(std::size_t{0}, n) | std::views::transform(joblot::delayed(f)));
    }
};

} // namespace

int main(int argc, char** argv) {
    return bench::run_case(argc, argv, [](const bench::parameters& p) { return joblot_peer{p.workers, p.verbose}; });
}
