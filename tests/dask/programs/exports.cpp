// SPDX-License-Identifier: BSL-1.0
// A program whose functions Python calls: see functions.py.

#include "../../support/engine.hpp"

#include <joblot/dask.hpp>

#include <array>
#include <complex>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

using joblot::dask::chunk;
using joblot::dask::exported;

namespace {

double weighted(chunk<const double> block, double weight) {
    return weight * std::accumulate(block.span().begin(), block.span().end(), 0.0);
}
const exported weighted_export("weighted", weighted, {"block", "weight"});

bool is_fortran(const chunk<const float>& block) { return block.is_fortran(); }
const exported is_fortran_export("is_fortran", is_fortran);

std::vector<float> doubled(std::vector<float> values) {
    for (float& v : values) v *= 2;
    return values;
}
const exported doubled_export("doubled", doubled, {"values"});

std::vector<std::array<double, 2>> swapped(std::span<const std::array<double, 2>> rows) {
    std::vector<std::array<double, 2>> result;
    for (const auto& row : rows) result.push_back({row[1], row[0]});
    return result;
}
const exported swapped_export("swapped", swapped, {"rows"});

std::string repeated(const std::string& text, short times, bool really) {
    std::string result;
    for (int i = 0; really && i < times; ++i) result += text;
    return result;
}
const exported repeated_export("repeated", repeated, {"text", "times", "really"});

std::complex<double> conjugated(std::complex<double> z) { return std::conj(z); }
const exported conjugated_export("conjugated", conjugated);

unsigned long long next(unsigned long long n) { return n + 1; }
const exported next_export("next", next, {"n"});

std::array<int, 2> version() { return {1, 2}; }
const exported version_export("version", version);

void fail(int how) {
    if (how == 1) throw std::invalid_argument("one");
    if (how == 2) throw std::out_of_range(std::string(5000, 'x'));
    if (how == 3) throw std::runtime_error("three");
    if (how == 4) throw 4;
    if (how == 5) {
        std::fputs("last words\n", stderr);
        std::abort();
    }
}
const exported fail_export("fail", fail, {"how"});

void leave_trace(const std::string& file) { std::ofstream(file) << "here"; }
const exported leave_trace_export("leave_trace", leave_trace, {"file"});

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    return 3; // only workers and catalogues are asked for
}
