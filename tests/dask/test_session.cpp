// SPDX-License-Identifier: BSL-1.0
// A session with a scheduler: each submitted key ends exactly once, however it ends; nothing is left on the cluster.
// The tasks here are expressions of Python's, so that no other part of joblot is needed.

#include "../support/child.hpp"
#include "cluster.hpp"
#include "failure.hpp"
#include "relay.hpp"

#include <joblot/dask/session/session.hpp>

#include <sys/socket.h>

#include <netinet/in.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <map>
#include <mutex>
#include <set>
#include <thread>

namespace {

using support::contains;
using support::failure_of;

namespace engine = joblot::dask::engine;
using engine::session;
using engine::task_end;
using enum task_end::kind;
using support::check_clean;
using support::dask_cluster;
using support::shared_cluster;

std::vector<std::byte> bytes_of(const std::string& text) {
    const auto* const first = reinterpret_cast<const std::byte*>(text.data());
    return {first, first + text.size()};
}
std::string text_of(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

const engine::python_class plain_bytes{"builtins", "bytes"};
std::vector<engine::payload> one_piece(const std::string& text) {
    std::vector<engine::payload> pieces;
    pieces.emplace_back(bytes_of(text));
    return pieces;
}

/// Keeps all ends.
class ends final : public engine::task_listener {
public:
    void task_ended(task_end end) noexcept override {
        const std::lock_guard lock(mutex_);
        all_.push_back(std::move(end));
        changed_.notify_all();
    }
    void workers_changed() noexcept override { ++worker_changes; }

    /// Waits for so many, and gives all that there are.
    std::vector<task_end> wait_for(std::size_t n) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, support::patience, [&] { return all_.size() >= n; });
        return all_;
    }
    /// The end of the only key.
    task_end only() {
        auto all = wait_for(1);
        REQUIRE(all.size() == 1);
        return all.front();
    }

    std::atomic<int> worker_changes = 0;

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<task_end> all_;
};

std::shared_ptr<session> connect(const std::string& address, const engine::connect_options& options = {}) {
    return session::connect(engine::address::of(address), options);
}
std::string fresh_key(const session& s) {
    static std::atomic<int> number = 0;
    return "expression-" + s.client_id() + "-" + std::to_string(++number);
}

/// Submits one task for each expression.
std::vector<std::string> evaluate(session& s, const std::vector<std::string>& expressions,
                                  const std::shared_ptr<ends>& listener, const engine::task_options& options = {}) {
    std::vector<engine::task_submission> tasks;
    std::vector<std::string> keys;
    for (const std::string& e : expressions) {
        keys.push_back(fresh_key(s));
        tasks.push_back({keys.back(), bytes_of(e), "", {}});
    }
    s.submit(std::move(tasks), options, listener, {"builtins", "eval"});
    return keys;
}
task_end value_of(session& s, const std::string& expression) {
    const auto listener = std::make_shared<ends>();
    evaluate(s, {expression}, listener);
    return listener->only();
}
bool works(session& s) {
    const task_end end = value_of(s, "b'%d' % (6 * 7)");
    return end.how == result && text_of(end.data) == "42";
}

/// A task that tells in `dir` that it runs, and ends when it may, or `dir` is gone.
std::string waiting(const std::string& dir) {
    return "(lambda os, time: [open('" + dir +
           "/begun', 'w').close()] and [time.sleep(0.02) for _ in iter(lambda: "
           "os.path.exists('" +
           dir + "/go') or not os.path.exists('" + dir +
           "'), True)] and b'went' or b'went')"
           "(__import__('os'), __import__('time'))";
}

} // namespace

TEST_CASE("values come back, one end for each key", "[session]") {
    const auto s = connect(shared_cluster().address());
    const auto listener = std::make_shared<ends>();
    constexpr std::size_t n = 300;
    std::vector<std::string> expressions;
    for (std::size_t i = 0; i != n; ++i) expressions.push_back("b'value %d' % " + std::to_string(i));
    const auto keys = evaluate(*s, expressions, listener);
    std::map<std::string, std::string> values;
    for (const task_end& end : listener->wait_for(n)) {
        CHECK(end.how == result);
        CHECK(end.type == "bytes");
        CHECK(values.emplace(end.key, text_of(end.data)).second);
    }
    for (std::size_t i = 0; i != n; ++i) CHECK(values[keys[i]] == "value " + std::to_string(i));
    check_clean(shared_cluster());
    CHECK(listener->wait_for(n).size() == n);
}

TEST_CASE("what a task raises comes with its class and its text", "[session]") {
    const auto s = connect(shared_cluster().address());
    const task_end end = value_of(*s, "int('abc')");
    CHECK(end.how == erred);
    CHECK(end.type == "ValueError");
    CHECK(contains(end.text, "'abc'"));
    CHECK(works(*s));
    check_clean(shared_cluster());
}

TEST_CASE("large values, there by scatter and back", "[session]") {
    const auto s = connect(shared_cluster().address());
    std::string large(70'000'000, 'x'); // more than one piece of Dask's
    for (std::size_t i = 0; i < large.size(); i += 1000) large[i] = static_cast<char>('a' + i / 1000 % 26);
    const std::string key = fresh_key(*s) + "-data";
    std::vector<engine::payload> pieces;
    pieces.emplace_back(bytes_of(large.substr(0, 1'000'001)));
    pieces.emplace_back(bytes_of(large.substr(1'000'001)));
    s->scatter(key, std::move(pieces), false, {}, plain_bytes);
    const auto listener = std::make_shared<ends>();
    std::vector<engine::task_submission> task(1);
    task[0] = {fresh_key(*s), {}, key, {}};
    s->submit(std::move(task), {}, listener, {"builtins", "bytes"});
    const task_end end = listener->only();
    REQUIRE(end.how == result);
    CHECK((text_of(end.data) == large)); // not printed
    s->release({key});
    check_clean(shared_cluster());
}

TEST_CASE("scattered data as a further argument, on all workers", "[session]") {
    const auto s = connect(shared_cluster().address());
    const std::string key = fresh_key(*s) + "-image";
    s->scatter(key, one_piece(" and the image"), true, {}, plain_bytes);
    const auto where = shared_cluster().tasks().at(key).at("workers").size();
    CHECK(where == 2);
    const auto listener = std::make_shared<ends>();
    std::vector<engine::task_submission> task(1);
    task[0] = {fresh_key(*s), bytes_of("the payload"), "", {key}};
    s->submit(std::move(task), {}, listener, {"operator", "concat"});
    CHECK(text_of(listener->only().data) == "the payload and the image");
    s->release({key});
    check_clean(shared_cluster());
}

TEST_CASE("cancelled keys end at once, and only once", "[session]") {
    const support::scratch_dir dir;
    const auto s = connect(shared_cluster().address());
    const auto listener = std::make_shared<ends>();
    auto keys = evaluate(*s, {waiting(dir.path()), waiting(dir.path())}, listener);
    REQUIRE(support::eventually([&] { return support::exists(dir.file("begun")); }));
    s->cancel({keys[0], "unknown"});
    const task_end first = listener->only();
    CHECK(first.key == keys[0]);
    CHECK(first.how == cancelled);
    CHECK(first.text.empty());
    support::publish(dir.file("go"), "");
    const auto all = listener->wait_for(2);
    REQUIRE(all.size() == 2);
    CHECK(all[1].key == keys[1]);
    CHECK(text_of(all[1].data) == "went");
    s->cancel(keys); // too late
    CHECK(works(*s));
    CHECK(listener->wait_for(2).size() == 2);
    check_clean(shared_cluster());
}

TEST_CASE("a key that is cancelled as soon as it is submitted", "[session]") {
    const auto s = connect(shared_cluster().address());
    const auto listener = std::make_shared<ends>();
    const support::scratch_dir dir;
    for (int i = 0; i != 20; ++i) s->cancel(evaluate(*s, {waiting(dir.path())}, listener));
    const auto all = listener->wait_for(20);
    CHECK(all.size() == 20);
    CHECK(std::ranges::all_of(all, [](const task_end& e) { return e.how == cancelled; }));
    support::publish(dir.file("go"), ""); // for those that run already
    check_clean(shared_cluster());
}

TEST_CASE("cancelled by another client", "[session]") {
    const support::scratch_dir dir;
    const auto s = connect(shared_cluster().address());
    const auto listener = std::make_shared<ends>();
    const auto keys = evaluate(*s, {waiting(dir.path())}, listener);
    REQUIRE(support::eventually([&] { return support::exists(dir.file("begun")); }));
    shared_cluster().ask({{"ask", "cancel"}, {"keys", keys}});
    const task_end end = listener->only();
    CHECK(end.how == cancelled);
    CHECK_FALSE(end.text.empty());
    support::publish(dir.file("go"), "");
    CHECK(works(*s));
    check_clean(shared_cluster());
}

TEST_CASE("a task that kills its workers", "[session]") {
    dask_cluster cluster(1, {.threads = 1, .nanny = true});
    const auto s = connect(cluster.address());
    const task_end end = value_of(*s, "__import__('os').kill(__import__('os').getpid(), 9)");
    CHECK(end.how == worker_killed);
    CHECK(contains(end.type, "KilledWorker"));
    CHECK(works(*s));
    check_clean(cluster);
}

TEST_CASE("a value that its worker has put on its disk comes, or is an error where it cannot be read again",
          "[session]") {
    dask_cluster cluster(1, {.memory_limit = "300MB"});
    const auto s = connect(cluster.address());
    const task_end end = value_of(*s, "b'x' * 200_000_000"); // distributed 2022.12 cannot, with zict 3
    if (end.how == result)
        CHECK(end.data.size() == 200'000'000);
    else
        CHECK(contains(end.text, "the worker that has the value cannot send it"));
    check_clean(cluster); // the worker may have been paused since
}

TEST_CASE("a value that dies with its worker is computed again", "[session]") {
    dask_cluster cluster(1);
    const support::scratch_dir dir;
    const auto s = connect(cluster.address());
    const auto listener = std::make_shared<ends>();
    // The worker ends as soon as its value is asked for, the first time.
    const std::string body =
        "(lambda os: os.path.exists('" + dir.file("dead") + "') and b'second' or [open('" + dir.file("dead") +
        "', 'w').close(), __import__('threading').Timer(0.0, os._exit, (1,)).start()] and b'first')"
        "(__import__('os'))";
    evaluate(*s, {body}, listener);
    REQUIRE(support::eventually([&] { return support::exists(dir.file("dead")); }));
    cluster.add_worker();
    const task_end end = listener->only();
    CHECK(end.how == result); // of the first or the second, as it comes
    CHECK(works(*s));
    CHECK(listener->wait_for(1).size() == 1);
    check_clean(cluster);
}

TEST_CASE("workers that come are told of", "[session]") {
    dask_cluster cluster(0);
    const auto s = connect(cluster.address());
    CHECK(s->worker_threads().empty());
    const auto listener = std::make_shared<ends>();
    evaluate(*s, {"b'done'"}, listener);
    cluster.add_worker({.threads = 3});
    CHECK(listener->only().how == result);
    CHECK(support::eventually([&] { return s->worker_threads().size() == 1; }));
    CHECK(s->worker_threads().begin()->second == 3);
    const support::scratch_dir dir;
    evaluate(*s, {waiting(dir.path())}, listener);
    REQUIRE(support::eventually([&] { return support::exists(dir.file("begun")); }));
    const int before = listener->worker_changes;
    cluster.add_worker();
    CHECK(support::eventually([&] { return listener->worker_changes > before; }));
    CHECK(s->worker_threads().size() == 2);
    support::publish(dir.file("go"), "");
    CHECK(listener->wait_for(2).size() == 2);
}

TEST_CASE("the scheduler is killed: everything ends, once", "[session]") {
    dask_cluster cluster(1, {.threads = 2});
    const support::scratch_dir dir;
    const auto s = connect(cluster.address());
    const auto listener = std::make_shared<ends>();
    evaluate(*s, {waiting(dir.path()), waiting(dir.path()), waiting(dir.path())}, listener);
    REQUIRE(support::eventually([&] { return support::exists(dir.file("begun")); }));
    cluster.scheduler().kill_all();
    const auto all = listener->wait_for(3);
    REQUIRE(all.size() == 3);
    for (const task_end& end : all) {
        CHECK(end.how == connection_lost);
        CHECK(contains(end.text, cluster.address()));
    }
    CHECK_FALSE(s->alive());
    CHECK(contains(failure_of([&] { static_cast<void>(s->identity()); }), cluster.address()));
    evaluate(*s, {"b''"}, listener);
    CHECK(listener->wait_for(4).back().how == connection_lost);
    s->close();
    CHECK(contains(failure_of([&] { evaluate(*s, {"b''"}, listener); }), "closed"));
    CHECK(listener->wait_for(4).size() == 4);
}

TEST_CASE("a scheduler that answers nothing any more is given up", "[session]") {
    dask_cluster cluster(1);
    const auto s = connect(cluster.address(), {.liveness_timeout = std::chrono::seconds(2)});
    const support::scratch_dir dir;
    const auto listener = std::make_shared<ends>();
    evaluate(*s, {waiting(dir.path())}, listener);
    REQUIRE(support::eventually([&] { return support::exists(dir.file("begun")); }));
    cluster.scheduler().signal(SIGSTOP);
    const task_end end = listener->only();
    CHECK(end.how == connection_lost);
    CHECK(contains(end.text, "liveness_timeout"));
    CHECK_FALSE(s->alive());
    cluster.scheduler().signal(SIGCONT);
    support::publish(dir.file("go"), "");
    CHECK(works(*connect(cluster.address())));
}

TEST_CASE("a worker that does not answer: its values come through the scheduler, or when it goes on", "[session]") {
    dask_cluster cluster(1);
    const auto s = connect(cluster.address(), {.liveness_timeout = std::chrono::seconds(2)});
    const auto listener = std::make_shared<ends>();
    // It sleeps as soon as its value is there.
    evaluate(*s,
             {"__import__('threading').Timer(0.01, __import__('os').kill, (__import__('os').getpid(), 19)).start() or "
              "__import__('time').sleep(0.005) or b'late'"},
             listener);
    std::this_thread::sleep_for(std::chrono::seconds(3)); // longer than a fetch from it may take
    cluster.worker(1).signal(SIGCONT);
    const task_end end = listener->only();
    CHECK(end.how == result);
    CHECK(text_of(end.data) == "late");
    CHECK(s->alive());
    check_clean(cluster);
}

TEST_CASE("closing ends what has not ended, and frees it on the cluster", "[session]") {
    const support::scratch_dir dir;
    const auto listener = std::make_shared<ends>();
    {
        const auto s = connect(shared_cluster().address());
        s->scatter(fresh_key(*s) + "-data", one_piece("left behind"), false, {}, plain_bytes);
        evaluate(*s, {waiting(dir.path()), "b'quick'"}, listener);
        REQUIRE(support::eventually([&] { return support::exists(dir.file("begun")); }));
        CHECK(listener->wait_for(1).front().how == result);
    }
    const auto all = listener->wait_for(2);
    REQUIRE(all.size() == 2);
    CHECK(all[1].how == connection_lost);
    support::publish(dir.file("go"), "");
    check_clean(shared_cluster());
}

TEST_CASE("the last owner of a session may be a listener", "[session]") {
    struct owner final : engine::task_listener {
        void task_ended(task_end) noexcept override {
            mine.reset();
            done.open();
        }
        std::shared_ptr<session> mine;
        support::gate done;
    };
    const auto listener = std::make_shared<owner>();
    listener->mine = connect(shared_cluster().address());
    session& s = *listener->mine;
    std::vector<engine::task_submission> task(1);
    task[0] = {fresh_key(s), bytes_of("b''"), "", {}};
    s.submit(std::move(task), {}, listener, {"builtins", "eval"});
    CHECK(listener->done.wait());
    check_clean(shared_cluster());
}

TEST_CASE("requests: answers, and errors of the scheduler's", "[session]") {
    const auto s = connect(shared_cluster().address());
    CHECK(s->identity().at("address") == shared_cluster().address());
    CHECK(s->worker_threads().size() == 2);
    CHECK(s->call({{"op", "echo"}, {"reply", true}, {"data", "x"}}) == "x");
    // A wrong argument is an exception there.
    const std::string failed =
        failure_of([&] { static_cast<void>(s->call({{"op", "ncores"}, {"reply", true}, {"nonsense", 1}})); });
    CHECK(contains(failed, "nonsense"));
    CHECK(works(*s));
}

TEST_CASE("many threads use one session", "[session]") {
    const auto s = connect(shared_cluster().address());
    std::atomic<int> right = 0;
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t != 4; ++t) {
            threads.emplace_back([&, t] {
                for (int i = 0; i != 5; ++i) {
                    const auto listener = std::make_shared<ends>();
                    const auto keys = evaluate(*s, {"b'a'", "b'b'", "b'c'"}, listener);
                    if (t == 0) s->cancel({keys[2]});
                    static_cast<void>(s->worker_threads());
                    static_cast<void>(s->alive());
                    right += listener->wait_for(3).size() == 3;
                    if (t == 1) static_cast<void>(s->identity());
                }
            });
        }
    }
    CHECK(right == 20);
    check_clean(shared_cluster());
}

TEST_CASE("nothing of a session may be used in a forked child, and nothing is lost by one", "[session][fork]") {
    const std::string address = shared_cluster().address();
    const auto sockets = [] {
        std::set<std::string> found;
        for (const std::string& d : support::open_descriptors()) {
            if (contains(d, "socket:")) found.insert(d);
        }
        return found;
    };
    const auto others = sockets(); // such as the one to what starts Pythons
    auto s = connect(address);
    CHECK(works(*s));
    std::set<std::string> of_session = sockets();
    for (const std::string& d : others) of_session.erase(d);
    REQUIRE_FALSE(of_session.empty());
    CHECK(support::run_in_child([&] {
              bool good = !s->alive();
              good = good && contains(failure_of([&] { static_cast<void>(s->worker_threads()); }), "fork");
              good = good && contains(failure_of([&] { s->cancel({"x"}); }), "fork");
              // The scheduler would think that the parent lives as long as the child.
              const auto here = sockets();
              for (const std::string& d : of_session) good = good && !here.contains(d);
              s->close();
              s.reset();
              return good;
          }) == "");
    CHECK(s->alive());
    CHECK(works(*s));
}

TEST_CASE("whoever looks for a lost session may be its last owner, while another thread forks", "[session][fork]") {
    for (int round = 0; round != 30; ++round) {
        auto relay = std::make_unique<support::relay>(shared_cluster().address());
        const std::string address = relay->address();
        auto s = connect(address);
        REQUIRE(works(*s)); // so it has a connection with a worker, which ends with it
        std::atomic<bool> over = false;
        std::atomic<int> looked = 0;
        std::vector<std::jthread> others;
        others.emplace_back([&] {
            while (!over) {
                const pid_t child = ::fork();
                if (child == 0) ::_exit(0);
                if (child > 0) ::waitpid(child, nullptr, 0);
            }
        });
        for (int i = 0; i != 2; ++i) {
            others.emplace_back([&] {
                for (; !over; ++looked) static_cast<void>(engine::session_table::find(address));
            });
        }
        REQUIRE(support::eventually([&] { return looked > 100; }));
        relay.reset();
        while (s->alive()) std::this_thread::yield();
        s.reset(); // its thread may still be closing what it has
        const int before = looked;
        REQUIRE(support::eventually([&] { return looked > before + 100; }));
        over = true;
    }
}

TEST_CASE("connecting: nobody there, somebody else, somebody who says nothing", "[session]") {
    const engine::connect_options hasty{.timeout = std::chrono::milliseconds(300)};
    const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(listening >= 0);
    sockaddr_in place{};
    place.sin_family = AF_INET;
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof place;
    REQUIRE(::bind(listening, reinterpret_cast<sockaddr*>(&place), size) == 0);
    REQUIRE(::getsockname(listening, reinterpret_cast<sockaddr*>(&place), &size) == 0);
    const std::string address = "tcp://127.0.0.1:" + std::to_string(ntohs(place.sin_port));

    const std::string nobody = failure_of([&] { connect(address, hasty); }); // bound, but it does not listen
    CHECK(contains(nobody, address));
    CHECK(contains(nobody, "nobody answers"));

    REQUIRE(::listen(listening, 5) == 0);
    CHECK(contains(failure_of([&] { connect(address, hasty); }), "no answer in time"));

    std::jthread odd([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            const int one = ::accept(listening, nullptr, nullptr);
            if (one < 0) break;
            const std::string page = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nThis is no scheduler.\r\n";
            ::send(one, page.data(), page.size(), MSG_NOSIGNAL);
            ::close(one);
        }
    });
    CHECK(contains(failure_of([&] { connect(address, {}); }), "no Dask scheduler"));
    odd.request_stop();
    ::shutdown(listening, SHUT_RDWR);
    odd.join();
    ::close(listening);

    CHECK(contains(failure_of([&] { connect("tcp://no-such-host.invalid:8786", hasty); }), "no-such-host.invalid"));
    CHECK(contains(failure_of([&] { connect("ucx://127.0.0.1:8786", hasty); }), "only tcp:// and tls://"));
    CHECK(contains(failure_of([&] { connect("tcp://127.0.0.1:99999", hasty); }), "port"));
}
