// SPDX-License-Identifier: BSL-1.0
// The process's worker processes: leased for a call, kept for the next one, ended when nobody has needed them for long.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/process/spawn.hpp>
#include <joblot/wire/image.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace joblot::detail {

/// One for each process. A thread of its own, the keeper, starts workers, since they are to end with the thread that
/// started them (PR_SET_PDEATHSIG), and looks after those that nobody has leased.
template <class = void>
class basic_worker_pool {
    using clock = std::chrono::steady_clock;

public:
    static constexpr std::chrono::seconds grace{2}; ///< for a worker that was told to end

    static basic_worker_pool& instance() {
        basic_worker_pool* pool = current().load(std::memory_order_acquire);
        return pool ? *pool : create();
    }

    /// A worker for the calling thread: an idle one, or a new one. @throws backend_error.
    /// @param siblings How many workers the call will have.
    std::unique_ptr<worker_process> lease(const worker_config& config, int siblings) {
        std::unique_lock lock(mutex_);
        if (stopping_) throw backend_error("joblot: worker processes cannot be used any more: the program is ending");
        for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) { // the one that was used last is the warmest
            if ((*it)->config() != config || (*it)->has_died()) continue;
            std::unique_ptr<worker_process> worker = std::move(*it);
            idle_.erase(std::next(it).base());
            watch(*worker, false);
            return worker;
        }
        return start(lock, config, siblings);
    }

    /// Takes a worker back; one that is not to be used again ends.
    void give_back(std::unique_ptr<worker_process> worker) {
        const std::lock_guard lock(mutex_);
        worker->idle_since = clock::now();
        if (worker->has_died()) {
            discard(std::move(worker));
        } else if (stopping_ || !worker->reusable || !worker->greeted) { // nobody would read its greeting
            dismiss(std::move(worker));
        } else {
            send_forgotten(*worker);
            watch(*worker, true);
            idle_.push_back(std::move(worker));
            if (keeper_sleeps_ < 0 || keeper_sleeps_ > milliseconds_to_next()) ring();
        }
    }
    /// Takes back one that has died, or is to die at once.
    void discard_now(std::unique_ptr<worker_process> worker) {
        const std::lock_guard lock(mutex_);
        discard(std::move(worker));
    }

    /// Notes that a worker is given a broadcast value. False where the worker has it already.
    bool note_image(worker_process& worker, std::uint64_t id) {
        const std::lock_guard lock(mutex_);
        if (std::find(worker.images.begin(), worker.images.end(), id) != worker.images.end()) return false;
        worker.images.push_back(id);
        return true;
    }

    /// Numbers of the worker's idle processes. For tests.
    [[nodiscard]] std::vector<pid_t> idle_workers() {
        const std::lock_guard lock(mutex_);
        std::vector<pid_t> pids;
        for (const auto& w : idle_) pids.push_back(w->pid());
        return pids;
    }

private:
    struct spawn_request {
        const worker_config& config;
        int siblings;
        std::unique_ptr<worker_process> worker{};
        std::exception_ptr error{};
        bool done = false;
    };

    basic_worker_pool() : bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), events_(::epoll_create1(EPOLL_CLOEXEC)) {
        if (!bell_) cannot_start("eventfd", errno);
        if (!events_) cannot_start("epoll_create1", errno);
        epoll_event ring{};
        ring.events = EPOLLIN;
        ::epoll_ctl(events_.get(), EPOLL_CTL_ADD, bell_.get(), &ring);
    }

    // --- one instance for each process

    static std::atomic<basic_worker_pool*>& current() noexcept {
        static constinit std::atomic<basic_worker_pool*> pool{nullptr};
        return pool;
    }

    static basic_worker_pool& create() {
        auto fresh = std::unique_ptr<basic_worker_pool>(new basic_worker_pool);
        basic_worker_pool* found = nullptr;
        if (!current().compare_exchange_strong(found, fresh.get(), std::memory_order_acq_rel)) return *found;
        basic_worker_pool& pool = *fresh.release(); // never destroyed: static destructors make calls too
        image_forgetters::add([](std::uint64_t id) {
            if (basic_worker_pool* p = current().load(std::memory_order_acquire)) p->forget_image(id);
        });
        static std::atomic<bool> registered{false};
        if (!registered.exchange(true)) {
            std::atexit([] {
                if (basic_worker_pool* p = current().load(std::memory_order_acquire)) p->shut_down();
            });
            ::pthread_atfork([] { at_fork(&basic_worker_pool::lock_for_fork); },
                             [] { at_fork(&basic_worker_pool::unlock_after_fork); },
                             [] { at_fork(&basic_worker_pool::abandon); });
        }
        return pool;
    }

    static void at_fork(void (basic_worker_pool::*action)()) {
        if (basic_worker_pool* pool = current().load(std::memory_order_acquire)) (pool->*action)();
    }
    void lock_for_fork() { mutex_.lock(); }
    void unlock_after_fork() { mutex_.unlock(); }

    /// In a child process: the workers are the parent's. Their connections are closed, or they would not notice its
    /// end.
    void abandon() {
        static constinit basic_worker_pool* inherited = nullptr; // keeps what was inherited within reach: it is no leak
        mutex_.unlock();
        line_relay::begin_in_child();
        for (worker_process* worker : all_) worker->abandon();
        bell_.close();
        events_.close();
        inherited_before_ = std::exchange(inherited, this);
        current().store(nullptr, std::memory_order_release);
    }

    // --- with the mutex held

    std::unique_ptr<worker_process> start(std::unique_lock<std::mutex>& lock, const worker_config& config,
                                          int siblings) {
        start_keeper();
        spawn_request request{config, siblings};
        requests_.push_back(&request);
        ring();
        answered_.wait(lock, [&] { return request.done; });
        if (request.error) std::rethrow_exception(request.error);
        return std::move(request.worker);
    }

    void start_keeper() {
        if (keeper_.joinable()) return;
        try {
            keeper_ = std::thread([this] { keep(); });
        } catch (const std::system_error& e) {
            cannot_start("no thread can be started", e.code().value());
        }
    }

    void ring() noexcept {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(bell_.get(), &one, sizeof one); // full is as good as rung
    }

    /// Lets the keeper see what an idle worker says.
    void watch(worker_process& worker, bool on) noexcept {
        for (const int number : worker.watched()) {
            if (number < 0) continue;
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.ptr = &worker;
            ::epoll_ctl(events_.get(), on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, number, &event);
        }
    }

    /// Tells a worker to end; the keeper sees to it that it does.
    void dismiss(std::unique_ptr<worker_process> worker) {
        try {
            worker->link().send(frame_kind::quit, {}, 0, {}, [] { throw disconnected(); });
        } catch (const backend_error&) { // it is ending already
        }
        worker->idle_since = clock::now();
        watch(*worker, true);
        leaving_.push_back(std::move(worker));
        ring();
    }

    void discard(std::unique_ptr<worker_process> worker) {
        std::erase(all_, worker.get());
        worker->end_by_force();
        worker->reap();
    }

    void forget_image(std::uint64_t id) {
        const std::lock_guard lock(mutex_);
        for (const auto& worker : idle_) {
            if (std::erase(worker->images, id)) send_forget(*worker, {&id, 1});
        }
        // those that work now are told when they come back
        for (const worker_process* worker : all_) {
            if (std::find(worker->images.begin(), worker->images.end(), id) != worker->images.end()) {
                forgotten_.push_back(id);
                return;
            }
        }
    }
    void send_forgotten(worker_process& worker) {
        std::vector<std::uint64_t> ids;
        std::erase_if(worker.images, [&](std::uint64_t id) {
            const bool gone = std::find(forgotten_.begin(), forgotten_.end(), id) != forgotten_.end();
            if (gone) ids.push_back(id);
            return gone;
        });
        if (!ids.empty()) send_forget(worker, ids);
        std::erase_if(forgotten_, [&](std::uint64_t id) {
            return std::none_of(all_.begin(), all_.end(), [&](const worker_process* w) {
                return std::find(w->images.begin(), w->images.end(), id) != w->images.end();
            });
        });
    }
    static void send_forget(worker_process& worker, std::span<const std::uint64_t> ids) {
        outgoing message;
        for (const std::uint64_t id : ids) message.put(id);
        try {
            worker.link().send(frame_kind::forget, message, 0, {}, [] { throw disconnected(); });
        } catch (const backend_error&) { // it has died: nothing to free
        }
    }

    // --- the keeper

    void keep() {
        std::array<epoll_event, 32> events{};
        std::unique_lock lock(mutex_);
        while (!stopping_ || !idle_.empty() || !leaving_.empty()) {
            const int wait = keeper_sleeps_ = milliseconds_to_next();
            lock.unlock();
            const int n = ::epoll_wait(events_.get(), events.data(), static_cast<int>(events.size()), wait);
            lock.lock();
            for (int i = 0; i < n; ++i) attend(events[static_cast<std::size_t>(i)].data.ptr);
            end_the_unneeded();
            answer_requests(lock);
        }
    }

    [[nodiscard]] int milliseconds_to_next() const {
        if (!requests_.empty()) return 0;
        if (!leaving_.empty()) return 50;
        auto soonest = std::chrono::milliseconds::max();
        for (const auto& w : idle_) soonest = std::min(soonest, w->config().idle_timeout);
        if (idle_.empty()) return -1;
        return static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(soonest.count() / 4, 10, 10'000));
    }

    /// Something has come from an idle worker, or the bell was rung.
    void attend(void* whom) {
        if (!whom) {
            std::uint64_t count = 0;
            [[maybe_unused]] const auto got = ::read(bell_.get(), &count, sizeof count);
            return;
        }
        for (auto* list : {&idle_, &leaving_}) {
            const auto it = std::find_if(list->begin(), list->end(), [&](const auto& w) { return w.get() == whom; });
            if (it == list->end()) continue; // leased meanwhile
            (*it)->wait(clock::now());       // what is there, and no longer
            if (!(*it)->has_died() && !(*it)->hung_up()) return;
            watch(**it, false);
            std::unique_ptr<worker_process> worker = std::move(*it);
            list->erase(it);
            discard(std::move(worker));
            return;
        }
    }

    void end_the_unneeded() {
        const auto now = clock::now();
        for (std::size_t i = 0; i < idle_.size();) {
            if (!stopping_ && now - idle_[i]->idle_since < idle_[i]->config().idle_timeout) {
                ++i;
                continue;
            }
            std::unique_ptr<worker_process> worker = std::move(idle_[i]);
            idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(i));
            watch(*worker, false);
            dismiss(std::move(worker));
        }
        for (const auto& worker : leaving_) {
            if (now - worker->idle_since >= grace) worker->end_by_force();
        }
    }

    void answer_requests(std::unique_lock<std::mutex>& lock) {
        while (!requests_.empty()) {
            spawn_request& request = *requests_.front();
            requests_.pop_front();
            lock.unlock();
            try {
                request.worker = spawn_worker(request.config, request.siblings);
            } catch (...) {
                request.error = std::current_exception();
            }
            lock.lock();
            if (request.worker) all_.push_back(request.worker.get());
            request.done = true;
            answered_.notify_all();
        }
    }

    /// At exit: lets the workers end, and waits for it. Those that are leased by threads that still run end with us.
    void shut_down() {
        {
            const std::lock_guard lock(mutex_);
            if (stopping_) return;
            stopping_ = true;
            ring();
        }
        if (keeper_.joinable()) keeper_.join();
    }

    std::mutex mutex_; // guards all below; not held while a worker is started
    std::condition_variable answered_;
    std::deque<spawn_request*> requests_;
    std::vector<std::unique_ptr<worker_process>> idle_;    // in the order in which they came back
    std::vector<std::unique_ptr<worker_process>> leaving_; // were told to end
    std::vector<worker_process*> all_;                     // the leased ones, too
    std::vector<std::uint64_t> forgotten_;                 // broadcast values that some leased worker still has
    bool stopping_ = false;
    int keeper_sleeps_ = 0; // milliseconds at most, until it looks again by itself; -1: until it is rung for

    descriptor bell_;   // wakes the keeper
    descriptor events_; // what the keeper waits for
    std::thread keeper_;
    basic_worker_pool* inherited_before_ = nullptr; // see abandon
};
using worker_pool = basic_worker_pool<>;

} // namespace joblot::detail
