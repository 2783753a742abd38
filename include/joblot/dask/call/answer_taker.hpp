// SPDX-License-Identifier: BSL-1.0
// What a worker's answer to a batch means for its tasks.
#pragma once

#include <joblot/dask/call/flight.hpp>
#include <joblot/dask/data/desired_keys.hpp>
#include <joblot/dask/program/deployment.hpp>
#include <joblot/dask/protocol/batch_payload.hpp>
#include <joblot/dispatch/remote_batches.hpp>
#include <joblot/error.hpp>
#include <joblot/persisted.hpp>
#include <joblot/wire/image.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// For one call, and the thread that drives it.
class answer_taker {
public:
    /// @param batches Outlives it.
    answer_taker(job& j, const detail::remote_batches& batches, std::shared_ptr<session> cluster)
        : job_(j), batches_(batches), cluster_(std::move(cluster)) {}

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
        if (report.end == batch_end::missing) return bring_program(f, report.why, {report.worker});
        const std::string where =
            "worker " + report.worker + ", process " + (report.pid ? std::to_string(*report.pid) : "unknown");
        answer.for_each_frame([&](detail::frame_kind kind, detail::incoming message) {
            if (kind != detail::frame_kind::results) return;
            batches_.take_results(f.batch, message, where, seat);
            deaths_without_task_ = 0; // a program that ran out of memory ends after it has answered for the task
        });
        if (report.end != batch_end::done) return program_ended(f, report, seat);
        if (f.batch.sent().size() != 0)
            throw serialization_error("joblot: a worker's answer to a batch ends too early", "an answer");
    }

    /// The Dask task failed before anything of ours ran. @throws backend_error, unless that can be mended.
    void take_error(flight& f, const std::string& type, const std::string& text) {
        if (type.find("ModuleNotFoundError") == type.npos || text.find(worker_shim_module) == text.npos)
            throw f.not_run(type, text);
        bring_program(f, "a worker has not been given the program's module: " + text, {}); // a plugin was unregistered
    }

    /// The one task that was asked for is done, and its result is persisted on the cluster.
    /// @param options How it was run.
    void take_persisted(flight& f, const task_options& options, worker& seat) {
        const std::string label = batches_.label(f.batch, f.batch.sent().begin);
        const auto owner = std::make_shared<const desired_keys>(cluster_, "the persisted result of \"" + label + '"',
                                                                f.take_lineage(cluster_, options));
        const auto place = std::make_shared<detail::segment>(detail::fresh_image_id(), owner->keys()[0].dump(), owner,
                                                             job_.settings().persists_messages);
        detail::outgoing message; // what a worker would say of it
        message.put(detail::run_results{.sequence = f.batch.sequence(), .count = 1, .last = 1});
        const std::size_t part = message.begin_part();
        message.put(std::uint8_t{0}); // as the codec begins what writes itself
        detail::put_place(message, *place);
        message.end_part(part, 0, static_cast<std::uint32_t>(detail::task_result_kind::value));
        const detail::decoder::image_finder find = [&](std::uint64_t) { return place; };
        batches_.take_results(f.batch, {message.stream, {}}, "the cluster", seat, &find);
    }

private:
    static constexpr int most_deaths = 3; // of programs, one after the other, with no task to blame

    /// Workers lack what they had been given: their files were deleted, or a disk was full. @param workers None: all.
    void bring_program(flight& f, const std::string& why, const std::vector<std::string>& workers) {
        f.count_missing(why);
        deployment::instance().bring_again(cluster_, workers, patience_of(job_));
        f.batch.lost(job_.limit());
    }

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
    const std::shared_ptr<session> cluster_;
    int deaths_without_task_ = 0;
};

} // namespace joblot::dask::engine
