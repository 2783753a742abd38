// SPDX-License-Identifier: BSL-1.0
// Workers that Dask has paused, as they use too much of their memory, and that do nothing any more: which, since when,
// and what to say of them.
#pragma once

// Facts to know: a paused worker ends what it runs and what it fetches, starts nothing, and goes on with the rest when
// it has got rid of some memory. Tasks that it has got before stay with it, unless Dask finds others that have nothing
// to do (it steals from a worker only what is more than its threads can run). The scheduler learns of a pause at once,
// but what a worker does only with its next heartbeat, some half a second to some seconds later.

#include <joblot/dask/protocol/message.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace joblot::dask::engine {

/// What a scheduler says of a worker.
struct worker_report {
    bool paused = false;
    bool busy = false;         ///< it runs something, or fetches data
    double heard = 0;          ///< when it told so, by the scheduler's clock
    std::uint64_t memory = 0;  ///< bytes that its process uses,
    std::uint64_t limit = 0;   ///< of so many
    std::uint64_t spilled = 0; ///< bytes of data that it has on its disk
};

namespace parts { // of an answer to `identity`

template <class T>
[[nodiscard]] T number_at(const json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_number() ? found->get<T>() : T();
}
[[nodiscard]] inline json object_at(const json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_object() ? *found : json::object();
}
[[nodiscard]] inline worker_report report_of(const json& facts) {
    const json metrics = object_at(facts, "metrics");
    const json counts = object_at(metrics, "task_counts"), spilled = object_at(metrics, "spilled_bytes");
    worker_report r;
    r.paused = facts.value("status", json()) == "paused";
    // Of tasks that are cancelled, 2022.12 counts those that run on with the others; newer ones count all that linger.
    for (const char* state : {"executing", "long-running", "flight", "cancelled", "resumed"})
        r.busy |= number_at<int>(counts, state) > 0;
    r.heard = number_at<double>(facts, "last_seen");
    r.memory = number_at<std::uint64_t>(metrics, "memory");
    r.limit = number_at<std::uint64_t>(facts, "memory_limit");
    r.spilled = number_at<std::uint64_t>(spilled, "disk");
    return r;
}
/// "1234 MB"
[[nodiscard]] inline std::string megabytes(std::uint64_t bytes) { return std::to_string(bytes / 1'000'000) + " MB"; }

} // namespace parts

/// {address: report}, of an answer to `identity`.
[[nodiscard]] inline std::map<std::string, worker_report> reports_of(const json& identity) {
    std::map<std::string, worker_report> all;
    const json workers = parts::object_at(identity, "workers"); // by name: `items` refers to it
    for (const auto& [address, facts] : workers.items()) {
        if (facts.is_object()) all.emplace(address, parts::report_of(facts));
    }
    return all;
}

/// Pure bookkeeping, for one thread; what time it is, is said by the caller.
class paused_workers {
public:
    using clock = std::chrono::steady_clock;

    /// @param patience How long a paused worker is to say that it does nothing before it counts as stuck.
    explicit paused_workers(std::chrono::milliseconds patience) : patience_(patience) {}

    /// Takes note of what is said of all workers that count.
    void update(const std::map<std::string, worker_report>& workers, clock::time_point now) {
        std::map<std::string, pause> all;
        for (const auto& [address, report] : workers) {
            if (!report.paused || report.busy) continue;
            pause p{report, {}, {}};
            const auto known = pauses_.find(address);
            if (known != pauses_.end() && known->second.last.spilled == report.spilled) {
                p.since = known->second.since;
                p.told = known->second.told;
                // What was said first may be older than the pause. This is `!=`, of which clang warns.
                if (std::not_equal_to<>()(known->second.last.heard, report.heard)) p.told = now;
                if (!p.since) p.since = p.told;
            }
            all.emplace(address, p);
        }
        pauses_.swap(all);
        others_ = workers.size() - pauses_.size();
    }
    /// Something has come back from the cluster: all begins anew.
    void forget() noexcept { pauses_.clear(); }

    [[nodiscard]] bool is_stuck(const std::string& address) const {
        const auto found = pauses_.find(address);
        return found != pauses_.end() && is_stuck(found->second);
    }
    [[nodiscard]] bool any_stuck() const noexcept { return count_stuck() != 0; }
    /// Whether there are workers, and none that may run anything.
    [[nodiscard]] bool all_stuck() const noexcept { return any_stuck() && count_stuck() == pauses_.size() + others_; }

    /// "ADDRESS uses 450 MB of 400 MB", for the first ones of them.
    [[nodiscard]] std::string in_words() const {
        std::string text;
        std::size_t named = 0;
        for (const auto& [address, p] : pauses_) {
            if (!is_stuck(p) || ++named > most_named) continue;
            text += (named == 1 ? "" : ", ") + address + " uses " + parts::megabytes(p.last.memory) +
                    " of its limit of " + parts::megabytes(p.last.limit);
        }
        return named <= most_named ? text : text + ", and " + std::to_string(named - most_named) + " more";
    }

private:
    static constexpr std::size_t most_named = 4;

    struct pause {
        worker_report last;
        std::optional<clock::time_point> since; // it is known to do nothing,
        std::optional<clock::time_point> told;  // and has last told so
    };

    [[nodiscard]] bool is_stuck(const pause& p) const noexcept { return p.since && *p.told - *p.since >= patience_; }
    [[nodiscard]] std::size_t count_stuck() const noexcept {
        std::size_t n = 0;
        for (const auto& [address, p] : pauses_) n += is_stuck(p) ? 1U : 0U;
        return n;
    }

    const std::chrono::milliseconds patience_;
    std::map<std::string, pause> pauses_; // of workers that do nothing
    std::size_t others_ = 0;
};

} // namespace joblot::dask::engine
