// SPDX-License-Identifier: BSL-1.0
// Fetches the values of keys that are done: from the workers that have them, or through the scheduler where those
// cannot be reached from here.
#pragma once

#include <joblot/dask/peer_link.hpp>
#include <joblot/dask/requests.hpp>
#include <joblot/dask/worker_peers.hpp>
#include <joblot/error.hpp>

#include <boost/asio/co_spawn.hpp>

#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// For the session's thread alone. Lives until all that it spawned has ended, which happens soon after `close`.
class gatherer {
public:
    using clock = comm::clock;

    /// What becomes of a key that was added. Each is told once, and the key is gone then.
    struct listener {
        std::function<void(const std::string& key, received_object)> came;
        std::function<void(const std::string& key, const std::string& why)> unreadable;
        std::function<void(const std::string& key)> forgotten; ///< the scheduler knows nothing of it any more
        std::function<void(std::exception_ptr)> broken;        ///< nothing more can be fetched
    };
    /// @param limit The scheduler's.
    gatherer(asio::any_io_executor executor, std::string client_id, peer_link& scheduler, peer_link::limits limit,
             worker_peers& peers, listener told)
        : executor_(std::move(executor)), client_id_(std::move(client_id)), scheduler_(scheduler), limit_(limit),
          peers_(peers), told_(std::move(told)) {}

    /// The key's value is on the cluster; or again, as it was lost on the way.
    void add(const std::string& key) {
        const auto [it, fresh] = wanted_.try_emplace(key);
        if (!fresh) {
            it->second.again = true;
            return;
        }
        locate(key);
    }
    /// It is not wanted any more.
    void drop(const std::string& key) {
        wanted_.erase(key);
        refused_.erase(key);
    }
    /// Nothing is wanted any more.
    void close() noexcept {
        closed_ = true;
        wanted_.clear();
    }
    /// Forgets workers that are gone.
    void keep_only(const std::map<std::string, int>& workers) {
        std::erase_if(workers_, [&](const auto& w) { return !workers.contains(w.first) && w.second.fetching == 0; });
    }

private:
    struct state {
        bool again = false; // it came to memory once more, while it was being fetched
    };
    struct worker {
        std::shared_ptr<worker_peers::peer> peer{};
        std::deque<std::string> keys{};
        int fetching = 0;
    };

    static constexpr int fetches_at_once = 2; // per worker; a large value must not hold up all others
    static constexpr int relays_at_once = 4;
    static constexpr std::size_t keys_at_once = 32;
    static constexpr int most_refused = 10;

    void spawn(asio::awaitable<void> what) {
        asio::co_spawn(executor_, std::move(what), [this](const std::exception_ptr& e) {
            if (e && !closed_) told_.broken(e);
        });
    }
    asio::awaitable<message> ask_scheduler(json request) {
        message_writer writer;
        const encoded_message encoded = writer.finish(request);
        co_return co_await scheduler_.ask(encoded, limit_);
    }

    void locate(const std::string& key) {
        unlocated_.push_back(key);
        if (!std::exchange(locating_, true)) spawn(locate_all());
    }
    /// Asks where keys are: all at once that have come while the last question was answered.
    asio::awaitable<void> locate_all() {
        while (!unlocated_.empty() && !closed_) {
            const std::vector<std::string> keys = std::exchange(unlocated_, {});
            const message answer = co_await ask_scheduler(requests::who_has(keys));
            const json nobody;
            for (const std::string& key : keys) send_for(key, member(answer.head, key, nobody));
        }
        locating_ = false;
    }

    /// Chooses who is asked for the value.
    void send_for(const std::string& key, const json& holders) {
        if (!wanted_.contains(key)) return;
        if (!holders.is_array() || holders.empty()) return look_again(key);
        for (const json& holder : holders) {
            if (!holder.is_string()) continue;
            if (worker* const w = reachable(holder.get_ref<const std::string&>())) {
                w->keys.push_back(key);
                if (w->fetching == fetches_at_once) return;
                ++w->fetching;
                return spawn(fetch(*w));
            }
        }
        relay(key);
    }
    /// Null where it is known not to be.
    worker* reachable(const std::string& text) {
        auto peer = peers_.reachable(text);
        if (!peer) return nullptr;
        worker& found = workers_[text]; // stays where it is as long as something is fetched
        found.peer = std::move(peer);
        return &found;
    }

    /// Fetches all that is wanted from a worker.
    asio::awaitable<void> fetch(worker& from) {
        message_writer writer;
        const encoded_message thanks = writer.finish(requests::got_data());
        while (!from.keys.empty() && !closed_) {
            const std::vector<std::string> keys = take(from.keys);
            if (keys.empty()) continue;
            const encoded_message request = writer.finish(requests::get_data(keys, client_id_));
            std::optional<message> answer;
            try {
                answer = co_await from.peer->link.ask(request, peers_.limits(), &thanks);
            } catch (const comm_error&) {
                give_up(from);
            }
            if (closed_) break;
            if (!answer) {
                for (const std::string& key : keys) relay(key);
            } else if (answer->head.is_object() && answer->head.value("status", json()) == "busy") {
                co_await sleep(std::chrono::milliseconds(20));
                from.keys.insert(from.keys.end(), keys.begin(), keys.end());
            } else {
                from.peer->answered();
                for (const std::string& key : keys) {
                    if (!deliver(*answer, key)) relay(key);
                }
            }
        }
        --from.fetching;
    }
    std::vector<std::string> take(std::deque<std::string>& from) {
        std::vector<std::string> keys;
        while (!from.empty() && keys.size() < keys_at_once) {
            if (wanted_.contains(from.front())) keys.push_back(std::move(from.front()));
            from.pop_front();
        }
        return keys;
    }
    /// The worker cannot be reached from here, or has ended.
    void give_up(worker& w) {
        w.peer->give_up();
        for (const std::string& key : std::exchange(w.keys, {})) relay(key);
    }
    /// Hands over a value. @return Whether it is in the answer.
    bool deliver(message& answer, const std::string& key) {
        const json nothing;
        const json& data = member(answer.head, "data", nothing);
        const json& place = member(data, key, nothing);
        if (place.is_null()) return false;
        if (wanted_.erase(key) == 0) return true;
        try {
            told_.came(key, answer.value(place));
        } catch (const serialization_error& e) {
            told_.unreadable(key, e.what());
        }
        return true;
    }

    static const json& member(const json& of, const std::string& name, const json& otherwise) {
        if (!of.is_object()) return otherwise;
        const auto found = of.find(name);
        return found == of.end() ? otherwise : *found;
    }

    void relay(const std::string& key) {
        if (!wanted_.contains(key)) return;
        to_relay_.push_back(key);
        if (relaying_ == relays_at_once) return;
        ++relaying_;
        spawn(relay_all());
    }
    /// One by one: if one cannot be had, the scheduler gives none.
    asio::awaitable<void> relay_all() {
        while (!to_relay_.empty() && !closed_) {
            const std::string key = std::move(to_relay_.front());
            to_relay_.pop_front();
            if (!wanted_.contains(key)) continue;
            const std::vector<std::string> one(1, key); // no braces in coroutines: g++ 12 takes them for an array
            message answer = co_await ask_scheduler(requests::gather(one));
            if (!closed_ && !deliver(answer, key)) look_again(key);
        }
        --relaying_;
    }

    /// Nobody has the value, as a worker has died: it will come again. Or not, which is found out a little later.
    void look_again(const std::string& key) {
        const auto it = wanted_.find(key);
        if (it == wanted_.end()) return;
        if (++refused_[key] == most_refused) { // it was put on a disk and cannot be read again, for one
            wanted_.erase(it);
            return told_.unreadable(key, "the worker that has the value cannot send it; its log says why");
        }
        if (std::exchange(it->second.again, false)) {
            return locate(key);
        }
        missing_.push_back(key);
        if (!std::exchange(looking_, true)) spawn(look_for_missing());
    }
    asio::awaitable<void> look_for_missing() {
        while (!missing_.empty() && !closed_) {
            co_await sleep(std::chrono::milliseconds(300));
            std::vector<std::string> keys = std::exchange(missing_, {});
            std::erase_if(keys, [this](const std::string& key) { return !wanted_.contains(key); });
            if (keys.empty() || closed_) continue;
            const message answer = co_await ask_scheduler(requests::task_status({keys.begin(), keys.end()}));
            if (closed_) continue;
            const json unknown;
            for (const std::string& key : keys) found_again(key, member(answer.head, key, unknown));
        }
        looking_ = false;
    }
    void found_again(const std::string& key, const json& status) {
        const auto it = wanted_.find(key);
        if (it == wanted_.end()) return;
        const bool again = std::exchange(it->second.again, false);
        if (again || status == "memory") {
            return locate(key);
        }
        wanted_.erase(it); // if it is being worked on again, it will be added again
        if (status.is_null()) told_.forgotten(key);
    }

    asio::awaitable<void> sleep(std::chrono::milliseconds time) {
        asio::steady_timer timer(executor_, time);
        co_await timer.async_wait(asio::use_awaitable);
    }

    asio::any_io_executor executor_;
    const std::string client_id_;
    peer_link& scheduler_;
    const peer_link::limits limit_;
    worker_peers& peers_;
    listener told_;
    std::unordered_map<std::string, state> wanted_; // all that was added, and has not come or been dropped
    std::unordered_map<std::string, int> refused_;  // how often nobody gave it; until it is dropped
    std::vector<std::string> unlocated_;
    std::map<std::string, worker> workers_; // by address
    std::deque<std::string> to_relay_;
    std::vector<std::string> missing_;
    bool locating_ = false, looking_ = false, closed_ = false;
    int relaying_ = 0;
};

} // namespace joblot::dask::engine
