// SPDX-License-Identifier: BSL-1.0
// The process's worker processes: leased for a call, kept for the next one, ended when nobody has needed them for long.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/process/lifeline.hpp>
#include <joblot/process/spawn.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>
#include <joblot/wire/image.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace joblot::detail {

/// One for each process. A thread of its own, the keeper, starts workers, since they are to end with the thread that
/// started them (PR_SET_PDEATHSIG), and looks after those that nobody has leased.
template <class = void>
class JOBLOT_ONE_TYPE basic_worker_pool {
    using clock = std::chrono::steady_clock;

public:
    /// For a worker that was told to end: its static destructors and atexit functions run meanwhile.
    static constexpr std::chrono::seconds grace{5};

    static basic_worker_pool& instance() { return one().get(); }

    /// In a child process, as it begins, with the mutex held: the workers are the parent's. Their connections are
    /// closed, or they would not notice its end.
    static void abandon() noexcept {
        basic_worker_pool* const pool = one().peek();
        if (!pool) return;
        for (worker_process* worker : pool->all_) worker->abandon();
        pool->bell_.close();
        pool->events_.close();
    }

    /// A worker for the calling thread: an idle one, or a new one. @throws backend_error None can be started.
    /// @param siblings How many workers the call will have.
    std::unique_ptr<worker_process> lease(const worker_config& config, int siblings) {
        std::unique_lock lock(mutex_);
        if (stopping_) throw backend_error("joblot: worker processes cannot be used any more: the program is ending");
        for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) { // the one that was used last is the warmest
            if ((*it)->config() != config || (*it)->has_died()) continue;
            if ((*it)->has_something_to_say()) continue; // nobody asked it: the keeper ends it
            std::unique_ptr<worker_process> worker = std::move(*it);
            idle_.erase(std::next(it).base());
            watch(*worker, false);
            return worker;
        }
        return start(lock, config, siblings);
    }

    /// Takes a worker back; one that is not to be used again ends.
    void give_back(std::unique_ptr<worker_process> worker) {
        std::unique_ptr<worker_process> ended; // after the lock
        const std::lock_guard lock(mutex_);
        worker->idle_since = clock::now();
        if (worker->has_died() || !send_forgotten(*worker)) {
            ended = discard(std::move(worker));
        } else if (stopping_ || !worker->reusable || !worker->greeted) { // nobody would read its greeting
            dismiss(std::move(worker));
        } else {
            watch(*worker, true);
            idle_.push_back(std::move(worker));
            if (keeper_sleeps_ < 0 || keeper_sleeps_ > milliseconds_to_next()) wake_keeper();
        }
    }
    /// Takes back one that has died, or is to die at once.
    void discard_now(std::unique_ptr<worker_process> worker) {
        const std::lock_guard lock(mutex_);
        worker = discard(std::move(worker));
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
        epoll_event woken{};
        woken.events = EPOLLIN;
        ::epoll_ctl(events_.get(), EPOLL_CTL_ADD, bell_.get(), &woken);
        image_forgetters::add([](std::uint64_t id) {
            if (basic_worker_pool* const pool = one().peek()) pool->forget_image(id);
        });
        std::atexit([] {
            if (basic_worker_pool* const pool = one().peek()) pool->shut_down();
        });
    }
    friend class per_process<basic_worker_pool>;
    JOBLOT_ONE_PER_PROCESS static per_process<basic_worker_pool>& one() noexcept {
        static constinit per_process<basic_worker_pool> pool;
        return pool;
    }

    // --- with the mutex held

    std::unique_ptr<worker_process> start(std::unique_lock<std::mutex>& lock, const worker_config& config,
                                          int siblings) {
        start_keeper();
        spawn_request request{config, siblings};
        requests_.push_back(&request);
        wake_keeper();
        started_.wait(lock, [&] { return request.done; });
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

    void wake_keeper() noexcept {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(bell_.get(), &one, sizeof one); // full is as good as rung
    }

    /// Lets the keeper see what an idle worker says.
    void watch(worker_process& worker, bool on, bool socket = true) noexcept {
        const auto all = worker.watched();
        for (const int number : std::span(all).subspan(socket ? 0 : 1)) {
            if (number < 0) continue;
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.ptr = &worker;
            ::epoll_ctl(events_.get(), on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, number, &event);
        }
    }

    /// Tells a worker to end; the keeper sees to it that it does.
    void dismiss(std::unique_ptr<worker_process> worker) noexcept {
        try {
            worker->link().send(frame_kind::quit, {}, 0, {}, [] { throw disconnected(); });
        } catch (const backend_error&) { // it is ending already
        } catch (const std::bad_alloc&) {
            worker->end_by_force();
        }
        worker->idle_since = clock::now();
        watch(*worker, true, false); // it closes the socket long before it has ended
        leaving_.push_back(std::move(worker));
        wake_keeper();
    }

    /// Forgets a worker, which ends with what is returned. That waits for it, and passes on what it has written to whom
    /// may be slow: not with the mutex held, which others wait for, and whoever forks.
    [[nodiscard]] std::unique_ptr<worker_process> discard(std::unique_ptr<worker_process> worker) noexcept {
        std::erase(all_, worker.get());
        return worker;
    }

    void forget_image(std::uint64_t id) noexcept {
        const std::lock_guard lock(mutex_);
        for (const auto& worker : idle_)
            static_cast<void>(send_forget(*worker, [id](std::uint64_t i) { return i == id; }));
        if (!somebody_has(id)) return;
        try {
            forgotten_.push_back(id);     // those that work now are told when they come back
        } catch (const std::bad_alloc&) { // it stays theirs
        }
    }
    /// @return False where the worker could not be told, for lack of memory.
    bool send_forgotten(worker_process& worker) noexcept {
        const auto gone = [this](std::uint64_t i) {
            return std::find(forgotten_.begin(), forgotten_.end(), i) != forgotten_.end();
        };
        if (!send_forget(worker, gone)) return false;
        std::erase_if(forgotten_, [this](std::uint64_t id) { return !somebody_has(id); });
        return true;
    }
    [[nodiscard]] bool somebody_has(std::uint64_t id) const noexcept {
        return std::any_of(all_.begin(), all_.end(), [id](const worker_process* w) {
            return std::find(w->images.begin(), w->images.end(), id) != w->images.end();
        });
    }
    template <class Gone>
    static bool send_forget(worker_process& worker, Gone gone) noexcept {
        if (std::none_of(worker.images.begin(), worker.images.end(), gone)) return true;
        try {
            outgoing message;
            for (const std::uint64_t id : worker.images)
                if (gone(id)) message.put(id);
            worker.link().send(frame_kind::forget, message, 0, {}, [] { throw disconnected(); });
        } catch (const backend_error&) { // it has died: nothing to free
        } catch (const std::bad_alloc&) {
            return false;
        }
        std::erase_if(worker.images, gone);
        return true;
    }

    // --- the keeper

    void keep() {
        std::array<epoll_event, 32> events{};
        std::vector<std::unique_ptr<worker_process>> ended;
        std::unique_lock lock(mutex_);
        while (!stopping_ || !idle_.empty() || !leaving_.empty() || !ended_.empty()) {
            const int wait = keeper_sleeps_ = milliseconds_to_next();
            ended.swap(ended_);
            lock.unlock();
            ended.clear();
            const int n = ::epoll_wait(events_.get(), events.data(), static_cast<int>(events.size()), wait);
            lock.lock();
            try {
                for (int i = 0; i < n; ++i) attend(events[static_cast<std::size_t>(i)].data.ptr);
                end_the_unneeded();
            } catch (const std::bad_alloc&) { // of what workers write; it is read the next time
            }
            answer_requests(lock);
        }
    }

    [[nodiscard]] int milliseconds_to_next() const {
        if (!requests_.empty() || !ended_.empty()) return 0;
        if (!leaving_.empty()) return 50;
        auto soonest = std::chrono::milliseconds::max();
        for (const auto& w : idle_) soonest = std::min(soonest, w->config().idle_timeout);
        if (idle_.empty()) return -1;
        return static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(soonest.count() / 4, 10, 10'000));
    }

    /// Something has come from an idle worker, or the keeper was woken.
    void attend(void* whom) {
        if (!whom) {
            std::uint64_t count = 0;
            [[maybe_unused]] const auto got = ::read(bell_.get(), &count, sizeof count);
            return;
        }
        for (auto* list : {&idle_, &leaving_}) {
            const auto it = std::find_if(list->begin(), list->end(), [&](const auto& w) { return w.get() == whom; });
            if (it == list->end()) continue;                                        // leased meanwhile
            (*it)->wait(clock::now());                                              // what is there, and no longer
            const bool of_no_use = list == &idle_ && (*it)->has_something_to_say(); // or it has hung up
            if (!(*it)->has_died() && !of_no_use) return;
            watch(**it, false);
            std::unique_ptr<worker_process> worker = std::move(*it);
            list->erase(it);
            ended_.push_back(discard(std::move(worker)));
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
        for (std::size_t i = 0; i < leaving_.size();) {
            if (now - leaving_[i]->idle_since >= grace) leaving_[i]->end_by_force();
            if (!leaving_[i]->look_for_end()) { // also where the kernel has no pidfd to wait for
                ++i;
                continue;
            }
            std::unique_ptr<worker_process> worker = std::move(leaving_[i]);
            leaving_.erase(leaving_.begin() + static_cast<std::ptrdiff_t>(i));
            watch(*worker, false);
            ended_.push_back(discard(std::move(worker)));
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
            enter(request);
            request.done = true;
            started_.notify_all();
        }
    }

    void enter(spawn_request& request) noexcept {
        if (!request.worker) return;
        try { // no list needs memory later on: a worker that is in one of them must not be lost on the way to another
            idle_.reserve(all_.size() + 1);
            leaving_.reserve(all_.size() + 1);
            all_.push_back(request.worker.get());
        } catch (const std::bad_alloc&) {
            request.error = std::current_exception();
            request.worker.reset();
        }
    }

    /// At exit: lets the workers end, and waits for it. Those that are leased by threads that still run end with us.
    void shut_down() {
        {
            const std::lock_guard lock(mutex_);
            if (stopping_) return;
            stopping_ = true;
            wake_keeper();
        }
        if (keeper_.joinable()) keeper_.join();
    }

    std::mutex& mutex_ = forks.mutex(fork_level::workers); // guards all below; not held while a worker is started
    std::condition_variable started_;
    std::deque<spawn_request*> requests_;
    std::vector<std::unique_ptr<worker_process>> idle_;    // in the order in which they came back
    std::vector<std::unique_ptr<worker_process>> leaving_; // were told to end
    std::vector<std::unique_ptr<worker_process>> ended_;   // to be destroyed without the mutex
    std::vector<worker_process*> all_;                     // the leased ones, too
    std::vector<std::uint64_t> forgotten_;                 // broadcast values that some leased worker still has
    bool stopping_ = false;
    int keeper_sleeps_ = 0; // milliseconds at most, until it looks again by itself; -1: until it is woken

    descriptor bell_;   // wakes the keeper
    descriptor events_; // what the keeper waits for
    std::thread keeper_;
};
using worker_pool = basic_worker_pool<>;

} // namespace joblot::detail
