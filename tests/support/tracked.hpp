// SPDX-License-Identifier: BSL-1.0
// A value that counts its living instances, notices use after destruction and double destruction, and throws from
// its k-th copy or move when a test asks for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <stdexcept>

namespace support {

struct copy_failed : std::runtime_error {
    copy_failed() : runtime_error{"the copy that the test asked to fail"} {}
};
struct move_failed : std::runtime_error {
    move_failed() : runtime_error{"the move that the test asked to fail"} {}
};

/// The counters that all `tracked` values share; a `lifetime_check` resets them.
struct lifetime_counters {
    std::atomic<long> live{0};
    std::atomic<long> copies{0};
    std::atomic<long> moves{0};
    std::atomic<long> corrupt{0};           // used or destroyed when not alive
    std::atomic<long> copies_to_failure{0}; // the k-th copy from now throws; 0: none
    std::atomic<long> moves_to_failure{0};
};

inline lifetime_counters counters;

class tracked {
public:
    explicit tracked(int value = 0) noexcept : value_{value}, state_{alive} { ++counters.live; }
    tracked(const tracked& other) : value_{other.value()} {
        ++counters.copies;
        if (counters.copies_to_failure > 0 && --counters.copies_to_failure == 0) throw copy_failed{};
        start();
    }
    tracked(tracked&& other) : value_{other.value()} { // NOLINT: not noexcept on purpose
        ++counters.moves;
        if (counters.moves_to_failure > 0 && --counters.moves_to_failure == 0) throw move_failed{};
        other.value_ = moved_from;
        start();
    }
    tracked& operator=(const tracked& other) {
        ++counters.copies;
        if (counters.copies_to_failure > 0 && --counters.copies_to_failure == 0) throw copy_failed{};
        value_ = other.value();
        return *this;
    }
    tracked& operator=(tracked&& other) {
        ++counters.moves;
        if (counters.moves_to_failure > 0 && --counters.moves_to_failure == 0) throw move_failed{};
        const int value = other.value();
        other.value_ = moved_from;
        value_ = value;
        return *this;
    }
    ~tracked() {
        if (state_ != alive) ++counters.corrupt;
        state_ = dead;
        --counters.live;
    }

    int value() const {
        if (state_ != alive) ++counters.corrupt;
        return value_;
    }

    static constexpr int moved_from = -1'000'000;

private:
    static constexpr std::uint64_t alive = 0x600d'cafe'600d'cafe;
    static constexpr std::uint64_t dead = 0xdead'dead'dead'dead;

    void start() noexcept {
        state_ = alive;
        ++counters.live;
    }

    int value_;
    volatile std::uint64_t state_ = 0; // volatile: the destructor's store must not be optimised away
};

/// Resets the counters; `balanced()` says whether everything made since then was destroyed exactly once.
class lifetime_check {
public:
    lifetime_check() {
        counters.live = counters.copies = counters.moves = counters.corrupt = 0;
        counters.copies_to_failure = counters.moves_to_failure = 0;
    }
    ~lifetime_check() { counters.copies_to_failure = counters.moves_to_failure = 0; }
    lifetime_check(const lifetime_check&) = delete;
    lifetime_check& operator=(const lifetime_check&) = delete;

    void fail_copy(long k) { counters.copies_to_failure = k; }
    void fail_move(long k) { counters.moves_to_failure = k; }
    void fail_nothing() { counters.copies_to_failure = counters.moves_to_failure = 0; }
    bool balanced() const { return counters.live == 0 && counters.corrupt == 0; }
    long live() const { return counters.live; }
    long copies() const { return counters.copies; }
};

} // namespace support
