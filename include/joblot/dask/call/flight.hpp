// SPDX-License-Identifier: BSL-1.0
// A batch on its way through a cluster, and how it is brought there: as a Dask task, and data beside it.
#pragma once

#include <joblot/dask/data/desired_keys.hpp>
#include <joblot/dask/data/scattered_images.hpp>
#include <joblot/dask/program/program.hpp>
#include <joblot/dask/protocol/batch_payload.hpp>
#include <joblot/dask/protocol/task_key.hpp>
#include <joblot/dask/session/session.hpp>
#include <joblot/dispatch/claimed_batch.hpp>
#include <joblot/dispatch/job.hpp>
#include <joblot/dispatch/remote_batches.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/parcel.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// A batch, and what is on the cluster because of it.
struct flight {
    explicit flight(detail::claimed_batch c) : batch(std::move(c)) {}

    detail::claimed_batch batch;
    std::size_t most_tasks = job::none;                     // for one Dask task
    std::string payload_key{};                              // scattered data; empty: none
    std::string target{};                                   // the worker that gets that
    std::vector<std::shared_ptr<detail::segment>> images{}; // broadcast values, and data that was on the cluster
    std::optional<task_submission> persisting{};            // the Dask task, where its result is persisted
    bool unwanted = false;                                  // was cancelled by us
    bool suspect = false; // workers died under this task: it is to be tried with no other one about
    bool alone = false;   // it is tried so now
    std::chrono::steady_clock::duration transport{}; // to write it and to bring it to the cluster

    /// That of its result, which is persisted.
    [[nodiscard]] std::shared_ptr<const lineage> take_lineage(std::shared_ptr<session> cluster, task_options options) {
        payload_key.clear(); // it goes with the lineage
        std::vector<lineage::argument> arguments;
        for (const auto& image : images) {
            const bool is_broadcast = image->key().empty();
            arguments.push_back({is_broadcast ? image : nullptr, is_broadcast ? nullptr : owner_of(*image).lineage()});
        }
        return std::make_shared<const lineage>(std::move(cluster), *std::exchange(persisting, {}), std::move(options),
                                               std::move(arguments));
    }
    /// It was lost without a task's fault. @throws backend_error where that has happened too often.
    void count_loss() {
        if (++losses_ == most_losses)
            throw backend_error("joblot: a batch was lost on the Dask cluster again and again: cancelled, or with its "
                                "data, or as its worker closed, or was paused for its memory");
    }
    /// Its data could not be brought to the cluster: most likely as a worker was just ending. @throws backend_error
    /// where that has happened too often.
    void count_not_sent(const std::string& why) {
        if (++not_sent_ == most_times_not_sent)
            throw backend_error("joblot: the arguments of a batch could not be brought to the Dask cluster: " + why);
    }
    /// A worker could not run it as the program was not there. @throws backend_error where that was so too often.
    void count_missing(const std::string& why) {
        if (++missing_ == most_times_missing)
            throw backend_error("joblot: " + why + "; it was brought there again, more than once");
    }
    /// It is cancelled because its worker does nothing any more. @throws backend_error where that was so too often.
    void move_away() {
        count_loss();
        unwanted = true;
    }
    /// What is to be thrown where a worker could not run it.
    [[nodiscard]] backend_error not_run(const std::string& type, const std::string& text) const {
        std::string reads;
        for (const auto& image : images) {
            if (image->key().empty()) continue;
            const std::string& name = owner_of(*image).name();
            if (reads.find(name) == reads.npos) reads += (reads.empty() ? ", which reads " : ", ") + name;
        }
        return backend_error("joblot: a Dask worker could not run a batch" + reads + ": " + type +
                             (text.empty() ? "" : ": ") + text);
    }

private:
    static constexpr int most_losses = 10, most_times_not_sent = 3, most_times_missing = 5;
    int losses_ = 0, not_sent_ = 0, missing_ = 0;
};

/// Waits for a cluster as long as a call wants it.
[[nodiscard]] inline patience patience_of(const job& j) {
    return patience([&j] { return j.limit() == 0; });
}

/// What is to be sent of a flight.
struct flight_plan {
    task_submission task;
    std::shared_ptr<const batch_payload> data; ///< what is scattered as `task.payload_key`; null: nothing

    /// Does not wait. @param worker Who gets the data. @throws backend_error where the session is lost.
    void send(session& cluster, std::string worker, const task_options& options,
              std::shared_ptr<task_listener> listener) {
        const python_function function{std::string(worker_shim_module), task.persist ? "run_persisted" : "run"};
        if (data) {
            return cluster.submit_with_data(std::move(task), batch_payload::shared(data), std::move(worker), options,
                                            std::move(listener), function);
        }
        cluster.submit(std::move(task), options, std::move(listener), function);
    }
};

/// For all flights of a call; thread-safe, as it does not change.
class flight_planner {
public:
    /// @param batches Outlives it.
    flight_planner(job& j, const detail::remote_batches& batches, std::shared_ptr<session> cluster)
        : job_(j), batches_(batches), cluster_(std::move(cluster)) {}

    /// Puts the broadcast values that the tasks need on the cluster, unless they are there: blocks for that.
    /// @param message The tasks. @param places The id of the first thread of each worker. @throws backend_error The
    /// cluster is gone.
    [[nodiscard]] flight_plan plan(flight& f, detail::outgoing message, std::map<std::string, int> places) const {
        flight_plan result;
        result.task.key = fresh_key(task_group(batches_.label(f.batch, f.batch.sent().begin)), cluster_->client_id());
        result.task.persist = job_.settings().persists_results;
        batch_order order = order_for_all();
        order.places = std::move(places);
        f.images.clear();
        f.target.clear();
        f.unwanted = false;
        for (const auto& image : message.images) {
            if (std::find(order.images.begin(), order.images.end(), image->id()) != order.images.end()) continue;
            order.images.push_back(image->id());
            f.images.push_back(image);
            if (image->key().empty()) {
                result.task.image_keys.emplace_back(
                    scattered_images::instance().key_of(*image, cluster_, patience_of(job_)));
            } else {
                if (!image->is_message()) order.foreign.push_back(image->id());
                result.task.image_keys.push_back(foreign_key(*image));
            }
        }
        auto batch = std::make_shared<const batch_payload>(order, detail::worker_setup{.level = 1}, std::move(message));
        if (batch->size() <= largest_in_graph) {
            result.task.payload = batch->joined();
        } else {
            result.task.payload_key = f.payload_key = fresh_key("joblot_arguments", cluster_->client_id());
            result.data = std::move(batch);
        }
        if (result.task.persist) f.persisting = result.task;
        return result;
    }

private:
    static constexpr std::size_t largest_in_graph = 64U << 10; ///< bytes of a batch that travel through the scheduler

    [[nodiscard]] json foreign_key(const detail::segment& image) const {
        const desired_keys& owner = owner_of(image);
        if (owner.cluster() != cluster_)
            throw backend_error("joblot: " + owner.name() + " is on the Dask cluster at " +
                                owner.cluster()->scheduler().text() +
                                ": tasks that read it must run there, over the same Client");
        return json::parse(image.key());
    }
    [[nodiscard]] batch_order order_for_all() const {
        batch_order order;
        order.program = program::own().name();
        order.digest = program::own().digest();
        order.timeout = batches_.timeout().value_or(std::chrono::nanoseconds(0));
        order.watched = job_.settings().observed();
        if (const auto& inner = job_.settings().inside.inner_max_num_threads) {
            for (const char* name : {"OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "NUMBA"})
                order.environment[std::string(name) + "_NUM_THREADS"] = std::to_string(*inner);
        }
        return order;
    }

    job& job_;
    const detail::remote_batches& batches_;
    const std::shared_ptr<session> cluster_;
};

} // namespace joblot::dask::engine
