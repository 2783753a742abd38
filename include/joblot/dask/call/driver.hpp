// SPDX-License-Identifier: BSL-1.0
// Drives one call on a Dask cluster: one thread claims batches, so that each of the cluster's threads has something to
// do and something to do next; the caller's thread takes what comes back, and sends again what was lost.
#pragma once

#include <joblot/dask/call/answer_taker.hpp>
#include <joblot/dask/call/flight.hpp>
#include <joblot/dask/call/stuck_tasks.hpp>
#include <joblot/dask/call/workforce.hpp>
#include <joblot/dask/data/scattered_images.hpp>
#include <joblot/dask/session/inbox.hpp>
#include <joblot/dask/session/session.hpp>
#include <joblot/dispatch/remote_batches.hpp>
#include <joblot/dispatch/waker.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// How a call uses its cluster.
struct call_options {
    task_options tasks{};
    int min_concurrency = 0;              ///< batches on the cluster at once, at least, as long as there are tasks
    std::optional<int> max_concurrency{}; ///< the same, at most
    std::chrono::milliseconds wait_for_workers{10'000};
    /// Which of the cluster's workers count: {address: threads}.
    std::function<std::map<std::string, int>(const patience&)> workers{};
};

/// For one call of `run`.
class call_driver {
    using clock = std::chrono::steady_clock;
    using claimed_batch = detail::claimed_batch;

public:
    call_driver(job& j, std::shared_ptr<session> cluster, call_options options)
        : job_(j), cluster_(std::move(cluster)), options_(std::move(options)),
          batches_(j, j.remote_runner().location(), false), planner_(j, batches_, cluster_),
          answers_(j, batches_, cluster_), stuck_(cluster_, options_.wait_for_workers),
          workforce_(options_.min_concurrency, options_.max_concurrency, options_.wait_for_workers) {}

    call_driver(const call_driver&) = delete;
    call_driver& operator=(const call_driver&) = delete;

    /// Until the job is over and nothing of it is on the cluster. @throws backend_error where it cannot begin.
    void run() {
        worker seat(job_, 0);
        seat_ = &seat;
        note_workers();
        if (job_.settings().observed()) cluster_->watch_progress();
        const waker on_news(job_, [this] { wake(); });
        std::jthread claimer;
        start(claimer);
        while (!is_over()) take_part();
    }

private:
    // --- the claiming thread

    void start(std::jthread& claimer) {
        try {
            claimer = std::jthread([this, here = detail::current_scope] {
                detail::current_scope = here;
                claim_all();
            });
        } catch (const std::exception& e) {
            claiming_ = false;
            job_.abort(std::make_exception_ptr(
                backend_error(std::string("joblot: no thread can be started for a call: ") + e.what())));
        }
    }

    void claim_all() noexcept {
        try {
            worker seat(job_, 0);
            do {
                while (wait_for_room(seat)) {
                    std::optional<claimed_batch> c = batches_.claim(seat);
                    if (!c) break;
                    begin_launch();
                    launch(flight(std::move(*c)), seat);
                    end_launch();
                }
            } while (job_.wait());
        } catch (...) {
            give_up();
        }
        {
            const std::lock_guard lock(mutex_);
            claiming_ = false;
        }
        inbox_->wake();
    }

    /// Until the cluster can do with another batch. False when none is wanted any more.
    bool wait_for_room(worker& seat) {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [&] { return flying_.size() < workforce_.capacity() || job_.is_halted(); });
        seat.sizer().workers_are(static_cast<std::size_t>(workforce_.sharers()));
        for (const auto& [tasks, took] : measures_) seat.sizer().measured(tasks, took);
        measures_.clear();
        return true; // the job itself knows whether it is over
    }

    /// Waits while a task is tried alone.
    void begin_launch() {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [&] { return (suspects_.empty() && !alone_) || job_.is_halted(); });
        launching_ = true;
    }
    void end_launch() {
        const std::lock_guard lock(mutex_);
        launching_ = false;
        if (!suspects_.empty()) inbox_->wake();
    }

    // --- sending, on both threads

    /// Sends what is to be sent of a batch, or settles it. @return Whether something was sent.
    bool launch(flight f, worker& seat) {
        while (!f.batch.is_over(job_.limit())) {
            const auto begin = clock::now();
            const std::uint64_t number = ++numbers_;
            claimed_batch::range range = f.batch.next_range(job_.limit(), f.most_tasks);
            detail::outgoing message;
            range = batches_.write_request(f.batch, range, number, unknown_worker(), message);
            if (range.size() == 0) continue; // the first one could not be written, and has failed
            f.batch.note_sent(range, number);
            flight_plan plan = planner_.plan(f, std::move(message), places());
            f.transport += clock::now() - begin;
            take_off(std::move(f), std::move(plan));
            return true;
        }
        batches_.settle(f.batch, seat);
        const std::lock_guard lock(mutex_);
        const std::chrono::nanoseconds took = f.batch.took();
        if (took.count() > 0) {
            measures_.emplace_back(f.batch.of().size(), took + f.transport);
            workforce_.batch_took(took);
        }
        room_.notify_one();
        return false;
    }

    void take_off(flight f, flight_plan plan) {
        const std::string key = plan.task.key;
        std::string target;
        {
            const std::lock_guard lock(mutex_);
            if (plan.data) f.target = target = workforce_.places().least_busy(data_on_workers());
            flying_.emplace(key, std::move(f));
        }
        try {
            plan.send(*cluster_, std::move(target), options_.tasks, inbox_);
        } catch (...) {
            static_cast<void>(extract(key)); // its end would never come
            throw;
        }
        if (job_.is_halted()) inbox_->wake(); // it may be unwanted already
    }

    /// How many flights have data on each worker. For who holds the mutex.
    [[nodiscard]] std::map<std::string, int> data_on_workers() const {
        std::map<std::string, int> counts;
        for (const auto& [key, f] : flying_) {
            if (!f.target.empty()) ++counts[f.target];
        }
        return counts;
    }
    [[nodiscard]] std::map<std::string, int> places() {
        const std::lock_guard lock(mutex_);
        return workforce_.places().first_numbers();
    }
    /// The id of tasks on a worker that is not known yet.
    [[nodiscard]] int unknown_worker() {
        const std::lock_guard lock(mutex_);
        return workforce_.places().beyond();
    }

    // --- the caller's thread

    [[nodiscard]] bool is_over() {
        const std::lock_guard lock(mutex_);
        return !claiming_ && flying_.empty() && suspects_.empty();
    }

    void take_part() noexcept {
        inbox::content news = inbox_->wait(time_between_looks());
        // Each by itself: whatever fails, the ends are taken, as they are told once.
        attempt([&] {
            if (news.workers_changed || news.empty()) note_workers();
            if (news.from_tasks()) stuck_.none();
            if (news.empty() && any_flying()) free_stuck();
        });
        for (const auto& [key, done] : news.progress) note_progress(key, done); // before their ends
        for (task_end& end : news.ends) land(std::move(end));
        attempt([&] {
            try_suspects();
            if (job_.is_halted()) cancel_unwanted();
        });
    }

    template <class Step>
    void attempt(Step step) noexcept {
        try {
            step();
        } catch (...) {
            give_up();
        }
    }

    /// Ends the call with the exception that is being handled; one that it had given up itself has ended.
    void give_up() noexcept {
        try {
            throw;
        } catch (const not_wanted&) {
        } catch (...) {
            job_.abort(std::current_exception());
        }
    }

    void wake() noexcept {
        const std::lock_guard lock(mutex_);
        room_.notify_one();
        inbox_->wake();
    }

    [[nodiscard]] bool any_flying() {
        const std::lock_guard lock(mutex_);
        return !flying_.empty();
    }
    [[nodiscard]] std::optional<flight> extract(const std::string& key) {
        const std::lock_guard lock(mutex_);
        auto node = flying_.extract(key);
        if (node.empty()) return std::nullopt;
        return std::move(node.mapped());
    }

    void note_progress(const std::string& key, std::size_t done) {
        std::size_t more = 0;
        {
            const std::lock_guard lock(mutex_);
            const auto found = flying_.find(key);
            if (found == flying_.end()) return;
            found->second.batch.note_progress(done);
            more = found->second.batch.newly_seen();
        }
        batches_.show_progress(more);
    }

    /// A Dask task has ended.
    void land(task_end end) noexcept {
        try {
            std::optional<flight> f = extract(end.key);
            if (!f) return;
            if (end.how == task_end::kind::persisted) answers_.take_persisted(*f, options_.tasks, *seat_);
            if (!f->payload_key.empty()) cluster_->release({std::exchange(f->payload_key, {})});
            f->transport += end.upload;
            take_end(*f, end);
            if (std::exchange(f->alone, false)) set_alone(false);
            if (f->suspect) {
                const std::lock_guard lock(mutex_);
                suspects_.push_back(std::move(*f));
            } else {
                launch(std::move(*f), *seat_);
            }
        } catch (...) {
            give_up();
        }
        const std::lock_guard lock(mutex_);
        room_.notify_one();
    }

    void take_end(flight& f, const task_end& end) {
        switch (end.how) {
        case task_end::kind::persisted:
            return; // it was taken
        case task_end::kind::result:
            return answers_.take(f, end.key, end.data, *seat_);
        case task_end::kind::erred:
            if (!end.data.empty()) return answers_.take(f, end.key, end.data, *seat_);
            return answers_.take_error(f, end.type, end.text);
        case task_end::kind::worker_killed:
            return workers_killed(f, end);
        case task_end::kind::cancelled:
            return data_lost(f);
        case task_end::kind::not_sent:
            f.count_not_sent(end.text);
            return f.batch.lost(job_.limit());
        case task_end::kind::connection_lost:
            break;
        }
        throw backend_error("joblot: the connection with the Dask scheduler at " + cluster_->scheduler().text() +
                            " was lost: " + end.text);
    }

    /// Dask's workers have died with it, several times. That may be the fault of a task that ran beside it, or before
    /// it on the same worker: only one that was tried alone is blamed.
    void workers_killed(flight& f, const task_end& end) {
        const claimed_batch::range sent = f.batch.sent();
        if (sent.size() > 1) {
            f.most_tasks = 1;
        } else if (!f.alone) {
            f.suspect = true;
        } else {
            batches_.task_ended_worker(f.batch, sent.begin, *seat_, [&](const task_info& info) {
                return std::make_exception_ptr(worker_crashed(info, {}, end.text));
            });
        }
        f.batch.lost(job_.limit());
    }

    void set_alone(bool value) {
        const std::lock_guard lock(mutex_);
        alone_ = value;
        room_.notify_one();
    }

    /// If nothing else is on the cluster, tries the next one of those that workers have died under.
    void try_suspects() {
        for (;;) {
            std::optional<flight> next;
            {
                const std::lock_guard lock(mutex_);
                if (suspects_.empty() || !flying_.empty() || launching_) return;
                next = std::move(suspects_.front());
                suspects_.pop_front();
                alone_ = true;
            }
            next->suspect = false;
            next->alone = true;
            if (launch(std::move(*next), *seat_)) return;
            set_alone(false);
        }
    }

    /// A key was cancelled: by us, or as the workers with its data have gone, or by another hand.
    void data_lost(flight& f) {
        if (!f.unwanted) {
            f.count_loss();
            for (const auto& image : f.images) {
                if (image->key().empty())
                    scattered_images::instance().check(*image, cluster_, patience_of(job_));
                else
                    check_there(*image);
            }
        }
        f.batch.lost(job_.limit());
    }

    /// Nobody wants to know any more what becomes of some batches.
    void cancel_unwanted() {
        std::vector<std::string> keys;
        {
            const std::lock_guard lock(mutex_);
            for (auto& [key, f] : flying_) {
                if (f.unwanted || f.batch.index(f.batch.sent().begin) < job_.unwanted_from()) continue;
                f.unwanted = true;
                keys.push_back(key);
            }
        }
        if (!keys.empty()) cluster_->cancel(std::move(keys));
    }

    // --- workers come and go

    void note_workers() {
        const std::map<std::string, int> there = options_.workers(patience_of(job_));
        const std::lock_guard lock(mutex_);
        workforce_.update(there, clock::now());
        if (workforce_.given_up(clock::now()))
            throw backend_error("joblot: the Dask cluster at " + cluster_->scheduler().text() +
                                " has had no worker for " + std::to_string(options_.wait_for_workers.count()) +
                                " ms; start some, or give dask::backend a longer wait_for_workers_timeout");
        job_.workers_are(workforce_.sharers());
        room_.notify_one();
    }

    /// Cancels what waits on paused workers while others run: what is cancelled is sent again.
    void free_stuck() {
        std::vector<std::string> keys = stuck_.find(places(), patience_of(job_));
        {
            const std::lock_guard lock(mutex_);
            std::erase_if(keys, [&](const std::string& key) { return !flying_.contains(key); });
            for (const std::string& key : keys) flying_.at(key).move_away();
        }
        if (!keys.empty()) cluster_->cancel(std::move(keys));
    }

    /// How long to wait at most before the workers are looked at again, whatever happens.
    [[nodiscard]] std::chrono::nanoseconds time_between_looks() {
        const std::lock_guard lock(mutex_);
        return workforce_.deserted() ? std::chrono::milliseconds(100) : std::chrono::seconds(1);
    }

    job& job_;
    const std::shared_ptr<session> cluster_;
    const call_options options_;
    const detail::remote_batches batches_;
    const flight_planner planner_;
    const std::shared_ptr<inbox> inbox_ = std::make_shared<inbox>();
    std::atomic<std::uint64_t> numbers_{0}; // of requests
    worker* seat_ = nullptr;                // of the caller's thread, as is what follows
    answer_taker answers_;
    stuck_tasks stuck_;

    std::mutex mutex_;             // guards all below; nothing of the job is called with it but atomics
    std::condition_variable room_; // for the claiming thread
    std::unordered_map<std::string, flight> flying_;
    bool claiming_ = true;
    bool launching_ = false;      // the claiming thread is about to send something
    bool alone_ = false;          // a suspect is on the cluster
    std::deque<flight> suspects_; // to be tried one after the other
    workforce workforce_;
    std::vector<std::pair<std::size_t, std::chrono::nanoseconds>> measures_; // batches that have ended: tasks, duration
};

} // namespace joblot::dask::engine
