// SPDX-License-Identifier: BSL-1.0
// Fetches the values of keys that are done: from the workers that have them, or through the scheduler where those
// cannot be reached from here.
#pragma once

#include <joblot/dask/net/asked_together.hpp>
#include <joblot/dask/net/peer_link.hpp>
#include <joblot/dask/net/sleep.hpp>
#include <joblot/dask/protocol/requests.hpp>
#include <joblot/dask/session/worker_peers.hpp>
#include <joblot/error.hpp>

#include <boost/asio/co_spawn.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <limits>
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
    using keys = std::vector<std::string>;

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
          peers_(peers), told_(std::move(told)),
          locations_(std::make_shared<asked_together<json>>(executor_, any_number, 1,
                                                            [this](const keys& some) { return who_has(some); })),
          states_(std::make_shared<asked_together<json>>(executor_, any_number, 1,
                                                         [this](const keys& some) { return states_soon(some); })),
          relay_(std::make_shared<asked_together<fetched>>(executor_, 1, relays_at_once,
                                                           [this](const keys& one) { return gather(one); })) {}

    /// The key's value is on the cluster; or again, as it was lost on the way.
    void add(const std::string& key) {
        auto& mine = wishes_[key];
        if (!mine) mine = std::make_shared<wish>(wish{key});
        if (std::exchange(mine->under_way, true)) {
            mine->again = true;
            return;
        }
        asio::co_spawn(executor_, bring(mine), [this](const std::exception_ptr& e) {
            if (e && !closed_) told_.broken(e);
        });
    }
    /// It is not wanted any more.
    void drop(const std::string& key) {
        const auto found = wishes_.find(key);
        if (found == wishes_.end()) return;
        found->second->wanted = false;
        wishes_.erase(found);
    }
    /// Nothing is wanted any more.
    void close() noexcept {
        closed_ = true;
        for (const auto& [key, w] : wishes_) w->wanted = false;
        wishes_.clear();
    }
    /// Forgets workers that are gone, as far as nothing is fetched from them.
    void keep_only(const std::map<std::string, int>& workers) {
        std::erase_if(workers_, [&](const auto& w) { return !workers.contains(w.first) && w.second.use_count() == 1; });
    }

private:
    struct wish {
        std::string key;
        bool wanted = true;
        bool under_way = false; // somebody brings it
        bool again = false;     // it came to memory once more meanwhile
        int refused = 0;        // how often nobody gave it
    };
    /// What somebody who is asked for a value gives.
    struct fetched {
        std::optional<received_object> value{}; // nothing: he does not have it, or cannot be reached
        std::string unreadable{};               // why, if it is
    };
    static constexpr std::size_t any_number = std::numeric_limits<std::ptrdiff_t>::max();
    static constexpr int fetches_at_once = 2; // per worker; a large value must not hold up all others
    static constexpr int relays_at_once = 4;  // of one key each: if one cannot be had, the scheduler gives none
    static constexpr std::size_t keys_at_once = 32;
    static constexpr int most_refused = 10;

    /// All that is done for one key.
    asio::awaitable<void> bring(std::shared_ptr<wish> w) {
        while (w->wanted) {
            const json locations = co_await locations_->ask(w->key);
            if (!w->wanted) break;
            fetched found;
            if (locations.is_array() && !locations.empty()) found = co_await from(locations, *w);
            if (!w->wanted) break;
            if (!found.value && ++w->refused == most_refused) // it was put on a disk and cannot be read again, for one
                found.unreadable = "the worker that has the value cannot send it; its log says why";
            if (found.value || !found.unreadable.empty()) {
                drop(w->key);
                co_return found.value ? told_.came(w->key, std::move(*found.value))
                                      : told_.unreadable(w->key, found.unreadable);
            }
            if (std::exchange(w->again, false)) continue;
            // Nobody has it, as a worker has died: it will come again. Or not, which is found out a little later.
            const json state = co_await states_->ask(w->key);
            if (std::exchange(w->again, false) || state == "memory") continue;
            w->under_way = false; // if it is being worked on again, it will be added again
            if (!w->wanted || !state.is_null()) break;
            drop(w->key);
            told_.forgotten(w->key);
        }
    }
    asio::awaitable<fetched> from(const json& locations, const wish& w) {
        for (const json& location : locations) {
            const auto worker = location.is_string() ? reachable(location.get_ref<const std::string&>()) : nullptr;
            if (!worker) continue;
            fetched found = co_await worker->ask(w.key);
            if (found.value || !found.unreadable.empty() || !w.wanted) co_return found;
            break;
        }
        co_return co_await relay_->ask(w.key);
    }
    /// Who asks a worker, or null where it is known not to be reached.
    std::shared_ptr<asked_together<fetched>> reachable(const std::string& text) {
        auto peer = peers_.reachable(text);
        if (!peer) return nullptr;
        auto& known = workers_[text];
        if (!known) {
            known = std::make_shared<asked_together<fetched>>(
                executor_, keys_at_once, fetches_at_once,
                [this, peer](const keys& some) { return get_data(*peer, some); });
        }
        return known;
    }

    // --- the questions

    asio::awaitable<message> ask_scheduler(json request) {
        message_writer writer;
        const encoded_message encoded = writer.finish(request);
        co_return co_await scheduler_.ask(encoded, limit_);
    }
    asio::awaitable<std::vector<json>> who_has(const keys& some) {
        const message answer = co_await ask_scheduler(requests::who_has(some));
        co_return members(answer.head, some);
    }
    asio::awaitable<std::vector<json>> states_soon(const keys& some) {
        co_await sleep_for(std::chrono::milliseconds(300));
        const message answer = co_await ask_scheduler(requests::task_status({some.begin(), some.end()}));
        co_return members(answer.head, some);
    }
    asio::awaitable<std::vector<fetched>> gather(const keys& some) {
        message answer = co_await ask_scheduler(requests::gather(some));
        co_return values(answer, some);
    }
    asio::awaitable<std::vector<fetched>> get_data(worker_peers::peer& worker, const keys& some) {
        message_writer writer;
        const encoded_message thanks = writer.finish(requests::got_data());
        const encoded_message request = writer.finish(requests::get_data(some, client_id_));
        while (worker.may_be_reached()) {
            std::optional<message> answer;
            try {
                answer = co_await worker.link.ask(request, peers_.limits(), &thanks);
            } catch (const comm_error&) {
                worker.give_up();
                break;
            }
            if (answer->head.is_object() && answer->head.value("status", json()) == "busy") {
                co_await sleep_for(std::chrono::milliseconds(20));
            } else {
                worker.answered();
                co_return values(*answer, some);
            }
        }
        co_return std::vector<fetched>(some.size());
    }

    /// A copy of a member, or null.
    static json member(const json& of, const std::string& name) {
        if (!of.is_object()) return nullptr;
        const auto found = of.find(name);
        return found == of.end() ? json() : *found;
    }
    static std::vector<json> members(const json& of, const keys& names) {
        std::vector<json> all;
        for (const std::string& name : names) all.push_back(member(of, name));
        return all;
    }
    static std::vector<fetched> values(message& answer, const keys& some) {
        std::vector<fetched> all(some.size());
        const json data = member(answer.head, "data"); // small: where each value is
        for (std::size_t i = 0; i != some.size(); ++i) {
            const json place = member(data, some[i]);
            if (place.is_null()) continue;
            try {
                all[i].value = answer.value(place);
            } catch (const serialization_error& e) {
                all[i].unreadable = e.what();
            }
        }
        return all;
    }

    asio::any_io_executor executor_;
    const std::string client_id_;
    peer_link& scheduler_;
    const peer_link::limits limit_;
    worker_peers& peers_;
    listener told_;
    std::unordered_map<std::string, std::shared_ptr<wish>> wishes_; // by key; of those that were added, and not dropped
    const std::shared_ptr<asked_together<json>> locations_, states_;
    const std::shared_ptr<asked_together<fetched>> relay_;
    std::map<std::string, std::shared_ptr<asked_together<fetched>>> workers_; // by address
    bool closed_ = false;
};

} // namespace joblot::dask::engine
