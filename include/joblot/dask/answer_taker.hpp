// SPDX-License-Identifier: BSL-1.0
// What a worker's answer to a batch means for its tasks.
#pragma once

#include <joblot/dask/batch_payload.hpp>
#include <joblot/dask/flight.hpp>
#include <joblot/dask/held_keys.hpp>
#include <joblot/dispatch/remote_batches.hpp>
#include <joblot/error.hpp>
#include <joblot/persisted.hpp>
#include <joblot/wire/image.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>

namespace joblot::dask::engine {

/// For one call, and the thread that drives it.
class answer_taker {
public:
    /// @param batches Outlives it.
    answer_taker(job& j, const detail::remote_batches& batches) : job_(j), batches_(batches) {}

    /// Keeps what an answer says of the flight's tasks. Those that are not done are to be sent again.
    /// @throws backend_error where the worker cannot run the program, serialization_error where it makes no sense.
    /// @param key The flight's.
    void take(flight& f, const std::string& key, bytes_view bytes, worker& seat) {
        const batch_answer answer(bytes);
        const batch_report& report = answer.report();
        if (!report.key.empty() && report.key != key) // of a task of which this one needs the result
            throw backend_error("joblot: a persisted result was lost with its worker and could not be computed again, "
                                "as its task failed: " +
                                (report.why.empty() ? "batch " + report.key : report.why));
        if (report.end == batch_end::refused) throw backend_error("joblot: " + report.why);
        const std::string where =
            "worker " + report.worker + ", process " + (report.pid ? std::to_string(*report.pid) : "unknown");
        std::optional<std::chrono::nanoseconds> took;
        answer.for_each_frame([&](detail::frame_kind kind, detail::incoming message) {
            if (kind != detail::frame_kind::results) return;
            const detail::run_results head = batches_.take_results(f.batch, message, where, seat);
            deaths_without_task_ = 0; // a program that ran out of memory ends after it has answered for the task
            if (head.last) took = std::chrono::nanoseconds(head.took);
        });
        if (report.end == batch_end::done && !took)
            throw serialization_error("joblot: a worker's answer to a batch ends too early", "an answer");
        if (report.end == batch_end::done) {
            f.batch.answered(*took);
        } else {
            program_ended(f, report, seat);
        }
    }

    /// The one task that was asked for is done, and its result, of type `persisted`, stays on the cluster.
    /// @param options How it was run.
    void take_kept(flight& f, const task_options& options, const std::shared_ptr<session>& cluster, worker& seat) {
        const std::string label = job_.task_label(f.batch.of(), f.batch.sent().begin);
        const auto holder = std::make_shared<const held_keys>(cluster, "the persisted result of \"" + label + '"',
                                                              f.take_recipe(cluster, options));
        const auto place = std::make_shared<detail::segment>(detail::fresh_image_id(), holder->keys()[0].dump(), holder,
                                                             job_.settings().keeps_messages);
        detail::outgoing message; // what a worker would say of it
        message.put(detail::run_results{.sequence = f.batch.sequence(), .count = 1, .last = 1});
        const std::size_t part = message.begin_part();
        message.put(std::uint8_t{0}); // as the codec begins what writes itself
        detail::put_place(message, *place);
        message.end_part(part, 0, static_cast<std::uint32_t>(detail::task_result_kind::value));
        const detail::decoder::image_finder find = [&](std::uint64_t) { return place; };
        batches_.take_results(f.batch, {message.stream, {}}, "the cluster", seat, &find);
        f.batch.answered({});
    }

private:
    static constexpr int most_deaths = 3; // of programs, one after the other, with no task to blame

    /// The program did not come to the end of a batch.
    void program_ended(flight& f, const batch_report& report, worker& seat) {
        using detail::remote_batches;
        const auto k = report.current ? remote_batches::task_at(f.batch, *report.current) : std::nullopt;
        if (report.end == batch_end::cancelled) { // not by us, or it would not be told: by a worker that closes
            f.count_loss();
        } else if (k) {
            batches_.task_ended_worker(f.batch, *k, seat, [&](const task_info& info) {
                if (report.end == batch_end::timed_out) return batches_.timed_out(info);
                return std::make_exception_ptr(
                    worker_crashed(info, {report.signal, report.exit_status}, report.stderr_tail));
            });
        } else if (report.end == batch_end::died && ++deaths_without_task_ >= most_deaths) {
            throw backend_error("joblot: the program dies between tasks on worker " + report.worker +
                                (report.stderr_tail.empty() ? "" : "; the last of its stderr:\n" + report.stderr_tail));
        }
        f.batch.lost(job_.limit());
    }

    job& job_;
    const detail::remote_batches& batches_;
    int deaths_without_task_ = 0;
};

} // namespace joblot::dask::engine
