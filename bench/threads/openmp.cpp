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
};

} // namespace

int main(int argc, char** argv) {
    return bench::run_case(argc, argv, [](const bench::parameters& p) {
        omp_set_num_threads(p.workers);
        return openmp_peer{};
    });
}
