// SPDX-License-Identifier: BSL-1.0
// Which sanitizer this build runs under, so that stress tests can do fewer rounds there.
#pragma once

namespace support {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool under_tsan = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool under_tsan = true;
#else
inline constexpr bool under_tsan = false;
#endif
#else
inline constexpr bool under_tsan = false;
#endif

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool under_asan = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool under_asan = true;
#else
inline constexpr bool under_asan = false;
#endif
#else
inline constexpr bool under_asan = false;
#endif

/// How many rounds a stress test does: `plain` normally, a tenth of it (at least one) under a sanitizer.
constexpr int rounds(int plain) { return under_tsan || under_asan ? (plain + 9) / 10 : plain; }

} // namespace support
