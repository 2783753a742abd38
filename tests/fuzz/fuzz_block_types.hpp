// SPDX-License-Identifier: BSL-1.0
// The types that fuzz_block reads: one for each form of a block, and numbers of chunks.
#pragma once

#include <array>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <valarray>
#include <vector>

namespace fuzz {

// New ones at the end: the corpus knows them by their numbers.
using values = std::tuple<std::vector<double>, double, std::int16_t, std::uint64_t, bool, std::complex<float>,
                          std::string, std::vector<std::byte>, std::vector<std::array<float, 2>>, std::array<double, 3>,
                          std::valarray<std::int32_t>, std::vector<std::array<bool, 3>>, std::vector<std::string>>;
using numbers = std::tuple<double, float, std::int8_t, std::uint16_t, std::int64_t, std::complex<double>, bool>;

} // namespace fuzz
