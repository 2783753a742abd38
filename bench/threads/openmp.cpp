// SPDX-License-Identifier: BSL-1.0
// The thread benchmarks with OpenMP: parallel for, schedule(guided), into a vector.
#include "workload.hpp"

#include <omp.h>

namespace {

struct openmp_peer {
    template <class F>
    std::vector<double> operator()(std::size_t n, F f) const {
        std::vector<double> out(n);
#pragma omp parallel for schedule(guided)
        for (std::size_t i = 0; i < n; ++i) out[i] = f(i);
        return out;
    }
    template <class F>
    double sum(std::size_t n, F f) const {
        double sum = 0;
#pragma omp parallel for reduction(+ : sum)
        for (std::size_t i = 0; i < n; ++i) sum += f(i);
        return sum;
    }
    template <class F>
    bench::histogram count(std::size_t n, F f) const {
        bench::histogram bins{};
        std::uint64_t* const all = bins.data();
#pragma omp parallel for reduction(+ : all[ : 256])
        for (std::size_t i = 0; i < n; ++i) ++all[f(i)];
        return bins;
    }
};

} // namespace

int main(int argc, char** argv) {
    return bench::run_case(argc, argv, [](const bench::parameters& p) {
        omp_set_num_threads(p.workers);
        return openmp_peer{};
    });
}
