// SPDX-License-Identifier: BSL-1.0
// Gives data on a cluster a name, by which Python finds it: `client.get_dataset(name)`.
#pragma once

#include <joblot/dask/data/desired_keys.hpp>
#include <joblot/dask/protocol/message.hpp>
#include <joblot/dask/protocol/pickle_writer.hpp>
#include <joblot/dask/protocol/task_key.hpp>
#include <joblot/dask/session/session.hpp>
#include <joblot/dask/utf8.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/segment.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace joblot::dask::engine {

/// What is published: a future, or a list of futures.
struct published_futures {
    std::vector<json> keys;
    bool is_list = false;

    /// The pickle of `distributed.client.Future(key)`, or of a list of them.
    [[nodiscard]] std::vector<std::byte> pickle() const {
        pickle_writer p;
        if (is_list) p.begin();
        for (const json& key : keys) {
            p.global("distributed.client", "Future");
            p.begin();
            requests::parts::key_itself(p, key);
            p.end_tuple();
            p.call();
        }
        if (is_list) p.end_list();
        return p.finish();
    }
};

/// The key of a persisted result. Blocks. @param place `persisted::place`. @throws std::invalid_argument where it is
/// not on that cluster, backend_error where it was lost there.
inline json key_on(const std::shared_ptr<session>& cluster, const std::shared_ptr<detail::segment>& place) {
    if (!place || owner_of(*place).cluster() != cluster)
        throw std::invalid_argument("joblot: a result that is not on the Dask cluster at " +
                                    cluster->scheduler().text() +
                                    " cannot be published there; persist it with a dask::backend{.client = &client}");
    check_there(*place);
    return json::parse(place->key());
}

/// Newer schedulers do a request that has this only when they have seen a message of the stream with the same `uid`.
inline void after_stream(session& cluster, json& request) {
    request["uid"] = fresh_key("joblot_publish", cluster.client_id());
    cluster.tell({{"op", "publish_flush_batched_send"}, {"uid", request["uid"]}});
}

/// Publishes futures. They stay on the cluster, desired by the name, whatever this client does, until `unpublish`.
/// @throws backend_error where the name is taken.
inline void publish(const std::shared_ptr<session>& cluster, const std::string& name, const published_futures& what) {
    check_utf8("name", name);
    const dialect& to = cluster->dialect();
    message_writer writer;
    const json data = writer.object(payload(what.pickle()));
    json request{{"op", "publish_put"}, {"reply", true}, {"override", false}, {"client", cluster->client_id()}};
    if (to.publishes_several()) {
        request["names"] = {name};
        request["keys"] = json::array({what.keys});
        request["data"] = json::array({data});
        after_stream(*cluster, request);
    } else {
        request["name"] = name;
        request["keys"] = what.keys;
        request["data"] = data;
    }
    try {
        cluster->call(writer.finish(request));
    } catch (const backend_error& e) {
        if (std::string(e.what()).find("already exists") == std::string::npos) throw;
        throw backend_error("joblot: the name \"" + name + "\" is taken on the Dask cluster at " +
                            cluster->scheduler().text() + "; unpublish_dataset(\"" + name + "\") first");
    }
}
/// Takes a name away, if there is such a one; what nobody else desires is forgotten.
inline void unpublish(const std::shared_ptr<session>& cluster, const std::string& name) {
    check_utf8("name", name);
    json request{{"op", "publish_delete"}, {"reply", true}};
    if (cluster->dialect().publishes_several()) {
        request["names"] = {name};
        request["client"] = cluster->client_id();
        after_stream(*cluster, request);
    } else {
        request["name"] = name;
    }
    try {
        cluster->call(request);
    } catch (const backend_error& e) { // older ones find nothing of that name
        if (std::string(e.what()).find("KeyError") == std::string::npos) throw;
    }
}

} // namespace joblot::dask::engine
