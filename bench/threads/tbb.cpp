// SPDX-License-Identifier: BSL-1.0
// The thread benchmarks with oneTBB: parallel_for, auto partitioner, into a vector.
#include "workload.hpp"

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/parallel_reduce.h>
#include <oneapi/tbb/partitioner.h>

#include <functional>

namespace {

struct tbb_peer {
    template <class F>
    std::vector<double> operator()(std::size_t n, F f) const {
        std::vector<double> out(n);
        tbb::parallel_for(
            tbb::blocked_range<std::size_t>(0, n),
            [&](const tbb::blocked_range<std::size_t>& range) {
                for (std::size_t i = range.begin(); i != range.end(); ++i) out[i] = f(i);
            },
            tbb::auto_partitioner{});
        return out;
    }
    template <class F>
    double sum(std::size_t n, F f) const {
        return tbb::parallel_reduce(
            tbb::blocked_range<std::size_t>(0, n), 0.0,
            [&](const tbb::blocked_range<std::size_t>& range, double sum) {
                for (std::size_t i = range.begin(); i != range.end(); ++i) sum += f(i);
                return sum;
            },
            std::plus<>());
    }
    template <class F>
    bench::histogram count(std::size_t n, F f) const {
        return tbb::parallel_reduce(
            tbb::blocked_range<std::size_t>(0, n), bench::histogram{},
            [&](const tbb::blocked_range<std::size_t>& range, bench::histogram bins) {
                for (std::size_t i = range.begin(); i != range.end(); ++i) ++bins[f(i)];
                return bins;
            },
            [](bench::histogram bins, const bench::histogram& more) {
                for (std::size_t k = 0; k != bins.size(); ++k) bins[k] += more[k];
                return bins;
            });
    }
};

} // namespace

int main(int argc, char** argv) {
    return bench::run_case(argc, argv, [](const bench::parameters& p) {
        static const tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                               static_cast<std::size_t>(p.workers));
        return tbb_peer{};
    });
}
