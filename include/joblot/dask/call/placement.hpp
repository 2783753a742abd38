// SPDX-License-Identifier: BSL-1.0
// Numbers for the threads of a cluster's workers, so that no two tasks that run at the same time have the same one.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Gives each worker as many consecutive numbers as it has threads: from 0 on, without gaps as long as no worker
/// leaves. A worker keeps its numbers; those of one that has left go to others. Pure bookkeeping, for one thread.
class placement {
public:
    /// Takes note of which workers there are: {address: threads}. @return Whether anything is different from before.
    bool update(const std::map<std::string, int>& workers) {
        bool changed = false;
        for (auto it = places_.begin(); it != places_.end();) {
            const auto now = workers.find(it->first);
            const bool stays = now != workers.end() && now->second == it->second.threads;
            changed |= !stays;
            it = stays ? std::next(it) : places_.erase(it);
        }
        for (const auto& [address, threads] : workers) {
            if (threads < 1 || places_.count(address)) continue;
            places_.emplace(address, place{room_for(threads), threads});
            changed = true;
        }
        return changed;
    }

    /// Threads of all workers together.
    [[nodiscard]] int threads() const noexcept {
        int sum = 0;
        for (const auto& [address, p] : places_) sum += p.threads;
        return sum;
    }
    /// The first number of each worker.
    [[nodiscard]] std::map<std::string, int> first_numbers() const {
        std::map<std::string, int> all;
        for (const auto& [address, p] : places_) all.emplace(address, p.first);
        return all;
    }
    /// The worker that has least to do for each of its threads. "" where there is none.
    /// @param busy_with How much each one has to do; nothing where it is not named.
    [[nodiscard]] std::string least_busy(const std::map<std::string, int>& busy_with) const {
        std::string best;
        double least = 0;
        for (const auto& [address, p] : places_) {
            const auto found = busy_with.find(address);
            const double load = found == busy_with.end() ? 0.0 : static_cast<double>(found->second) / p.threads;
            if (!best.empty() && load >= least) continue;
            best = address;
            least = load;
        }
        return best;
    }
    /// The first number that nobody has nor anybody before it: for workers that are not known yet.
    [[nodiscard]] int beyond() const noexcept {
        int end = 0;
        for (const auto& [address, p] : places_) end = std::max(end, p.first + p.threads);
        return end;
    }

private:
    struct place {
        int first, threads;
    };

    /// Where so many numbers in a row are free.
    [[nodiscard]] int room_for(int threads) const {
        std::vector<std::pair<int, int>> taken;
        for (const auto& [address, p] : places_) taken.emplace_back(p.first, p.first + p.threads);
        std::sort(taken.begin(), taken.end());
        int at = 0;
        for (const auto& [begin, end] : taken) {
            if (begin - at >= threads) break;
            at = end;
        }
        return at;
    }

    std::map<std::string, place> places_;
};

} // namespace joblot::dask::engine
