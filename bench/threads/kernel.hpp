// SPDX-License-Identifier: BSL-1.0
// What a task of the thread benchmarks does: work that is counted, not clocked, and costs the same in every program.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bench {

/// The task of "0 ns": the least that a loop body can do and still produce a value.
inline double trivial(std::size_t index) noexcept { return static_cast<double>(index) * 0.5 + 1.0; }

/// A sample for a histogram of 256 bins: a multiplication, so that the bins are what counts.
inline std::uint32_t sample(std::size_t index) noexcept {
    return static_cast<std::uint32_t>(index) * 2654435761U >> 24;
}

/// `iterations` rounds of four 64-bit multiplications; the same iteration count costs the same time in every program.
///
/// Four chains, because one would be bound by latency: an out-of-order core overlaps such a task with the next one, and
/// a "10 ns" task would cost 3. Four keep the multiplier busy all the time, so tasks cannot hide inside each other.
inline double spin(std::size_t seed, std::uint32_t iterations) noexcept {
    constexpr std::uint64_t factor = 6364136223846793005ULL;
    std::uint64_t a = seed + 1, b = seed + 2, c = seed + 3, d = seed + 4;
    for (std::uint32_t i = 0; i < iterations; ++i) {
        a = a * factor + 1;
        b = b * factor + 3;
        c = c * factor + 5;
        d = d * factor + 7;
        asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d)); // neither vectorised nor folded, whatever the flags
    }
    return static_cast<double>((a ^ b ^ c ^ d) >> 11);
}

/// Makes the compiler believe that `data` is read.
template <class T>
void keep(const T* data) noexcept {
    asm volatile("" : : "r"(data) : "memory");
}

} // namespace bench
