// SPDX-License-Identifier: BSL-1.0
// The thread benchmarks with joblot: the call as a user writes it, options and all, every time.
#include "workload.hpp"

#include <joblot/joblot.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <ranges>

namespace {

struct counted {
    void operator()(bench::histogram& bins, std::uint32_t sample) const { ++bins[sample]; }
    void operator()(bench::histogram& bins, const bench::histogram& more) const {
        for (std::size_t k = 0; k != bins.size(); ++k) bins[k] += more[k];
    }
};

struct joblot_peer {
    int workers;
    int verbose;

    template <class F>
    std::vector<double> operator()(std::size_t n, F f) const {
        return joblot::Parallel({.n_jobs = workers, .backend = joblot::threads{}, .verbose = verbose})(
            std::views::iota(std::size_t{0}, n) | std::views::transform(joblot::delayed(f)));
    }
    template <class F>
    double sum(std::size_t n, F f) const {
        return joblot::Parallel({.n_jobs = workers, .verbose = verbose})
            .reduce(std::views::iota(std::size_t{0}, n) | std::views::transform(joblot::delayed(f)), 0.0,
                    std::plus<>());
    }
    template <class F>
    bench::histogram count(std::size_t n, F f) const {
        return joblot::Parallel({.n_jobs = workers, .verbose = verbose})
            .reduce(std::views::iota(std::size_t{0}, n) | std::views::transform(joblot::delayed(f)), bench::histogram{},
                    counted());
    }
};

} // namespace

int main(int argc, char** argv) {
    return bench::run_case(argc, argv, [](const bench::parameters& p) { return joblot_peer{p.workers, p.verbose}; });
}
