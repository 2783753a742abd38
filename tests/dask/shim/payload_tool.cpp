// SPDX-License-Identifier: BSL-1.0
// For the tests of the module that runs on Dask workers: a program with some task functions, which writes payloads of
// batches of them, reads answers, and, started by that module, runs the batches.
//
//     payload_tool plugin worker|scheduler FILE     the pickle of a plugin; prints its name
//     payload_tool batch FUNCTION FIRST COUNT FILE [TEXT] [OPTION=VALUE]...
//         a batch of FUNCTION(i, TEXT) for i from FIRST on; options: timeout_ns, memory, init, digest, place:ADDRESS,
//         env:NAME, image (a file that `image` wrote), one_by_one
//     payload_tool answer FILE                      prints what is in an answer, as JSON

#include "../../support/engine.hpp"

#include <joblot/dask/program/program.hpp>
#include <joblot/dask/protocol/batch_payload.hpp>
#include <joblot/joblot.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace engine = joblot::dask::engine;
using namespace joblot::detail;
using engine::json;
using numbers = std::vector<double>;

std::string square(int i, const std::string&) { return std::to_string(i * i); }
std::string who(int, const std::string&) {
    return std::to_string(::getpid()) + " " + std::to_string(joblot::this_task::worker_id());
}
std::string getenv_of(int, const std::string& name) {
    const char* const value = std::getenv(name.c_str());
    return value ? value : "(unset)";
}
std::string fails_at(int i, const std::string& at) {
    if (std::to_string(i) == at) throw std::out_of_range("it is " + at);
    return "fine";
}
std::string crashes_at(int i, const std::string& at) {
    if (std::to_string(i) == at) {
        std::fputs("about to crash\n", stderr);
        std::raise(SIGSEGV);
    }
    return "fine";
}
std::string exits_at(int i, const std::string& at) {
    if (std::to_string(i) == at) ::_exit(23);
    return "fine";
}
std::string hangs(int, const std::string& started) {
    std::ofstream(started) << ::getpid() << std::flush;
    for (;;) ::pause();
}
std::string sleeps(int, const std::string& milliseconds) {
    std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(milliseconds)));
    return "slept";
}
std::string prints(int i, const std::string& text) {
    std::cout << text << " out " << i << std::endl;
    std::cerr << text << " err " << i << std::endl;
    return "";
}
std::string sum_of(int, joblot::broadcasted<numbers> values) {
    return std::to_string(std::accumulate(values.get().begin(), values.get().end(), 0.0));
}
std::string memory(int, const std::string&) {
    rlimit limit{};
    ::getrlimit(RLIMIT_DATA, &limit);
    return limit.rlim_cur == RLIM_INFINITY ? "none" : std::to_string(limit.rlim_cur);
}
std::string allocates(int, const std::string& bytes) {
    const std::vector<char> much(std::stoul(bytes), 'x');
    return std::to_string(much.size());
}
std::string unsynced(int i, const std::string& at) {
    if (i == 0) std::ios::sync_with_stdio(false);
    std::cout << "unsynced " << i << '\n';
    if (std::to_string(i) == at) std::raise(SIGSEGV);
    return "";
}

/// Goes on in two processes, the copy before or after the worker.
std::string forks(int i, const std::string&) {
    if (::fork() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(i % 3));
    return std::to_string(i);
}
void make_noise() {
    const char noise[256] = {};
    for (int number = 3; number != 64; ++number) ::send(number, noise, sizeof noise, MSG_NOSIGNAL | MSG_DONTWAIT);
}
/// A child of the task writes on the worker's own socket.
std::string child_speaks(int i, const std::string&) {
    const pid_t child = ::fork();
    if (child == 0) {
        make_noise();
        ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
    return std::to_string(i);
}
/// Speaks when the batch is over and nobody asks.
std::string speaks_later(int, const std::string&) {
    std::thread([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        make_noise();
    }).detach();
    return "";
}
/// Dies, and leaves a child that has all its descriptors.
std::string leaves_a_child(int, const std::string& started) {
    const pid_t child = ::fork();
    if (child == 0) {
        for (;;) ::pause();
    }
    std::ofstream(started) << child << std::flush;
    std::raise(SIGKILL);
    return "";
}

/// Tells when the static objects of its process are destroyed.
struct at_end {
    std::string file;
    ~at_end() {
        if (file.empty()) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(50)); // long after the socket was closed
        std::ofstream(file) << "destroyed" << std::flush;
    }
} object;
std::string destroyed(int, const std::string& file) {
    object.file = file;
    return std::to_string(::getpid());
}
std::string loses_its_socket(int, const std::string& file) {
    object.file = file;
    ::shutdown(worker_socket, SHUT_RDWR);
    return "";
}
/// A copy has spoken before the last result is sent, and the process ends by itself.
std::string child_speaks_then_exits(int i, const std::string& at) {
    child_speaks(i, at);
    if (std::to_string(i) == at) ::_exit(25);
    return "fine";
}

std::string hangs_as_nobody(int i, const std::string& started) {
    std::ofstream file(started);
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return "not root";
    file << ::getpid() << std::flush;
    file.close();
    for (;;) ::pause();
    return std::to_string(i);
}

numbers large(int i, const std::string& size) { return numbers(std::stoul(size), i); }
std::string nested(int i, const std::string&) {
    using namespace joblot;
    const auto r = Parallel({.n_jobs = 2, .backend = processes{}})(
        std::views::iota(0, 4) | std::views::transform([i](int k) { return delayed(square)(i + k, std::string()); }));
    return r.back();
}

void init_that_throws() { throw std::runtime_error("no licence"); }

struct options {
    engine::batch_order order;
    worker_setup setup{.level = 1};
    bool one_by_one = false;
    std::string image;
};

template <class Task>
outgoing request_of(const std::vector<Task>& tasks, std::uint64_t first, const options& o) {
    using form = remote_form_t<Task>;
    outgoing message;
    message.put(run_request{.sequence = 1,
                            .runner = form::entry().location(),
                            .first = first,
                            .count = static_cast<std::uint32_t>(tasks.size()),
                            .timeout = o.order.timeout.count(),
                            .depth = 1,
                            .one_by_one = o.one_by_one});
    for (const Task& t : tasks) {
        const std::size_t blocks = message.blocks.size();
        const std::size_t part = message.begin_part();
        encoder to(message);
        form::write(to, t);
        message.end_part(part, blocks, 0);
    }
    return message;
}

std::vector<std::byte> content_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    const bytes_view view = std::as_bytes(std::span(text));
    return {view.begin(), view.end()};
}
void store(const std::string& path, bytes_view bytes) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

options read_options(const std::vector<std::string>& words) {
    options o;
    o.order.program = engine::program::own().name();
    o.order.digest = engine::program::own().digest();
    for (const std::string& word : words) {
        if (word.find('=') == std::string::npos) continue;
        const std::string name = word.substr(0, word.find('=')), value = word.substr(word.find('=') + 1);
        if (name == "timeout_ns") o.order.timeout = std::chrono::nanoseconds(std::stoll(value));
        if (name == "memory") o.setup.memory_limit = std::stoull(value);
        if (name == "init") o.setup.init = locate(reinterpret_cast<std::uintptr_t>(&init_that_throws));
        if (name == "digest") {
            o.order.digest = value;
            o.order.program = "joblot-" + value.substr(0, 16);
        }
        if (name.starts_with("place:")) o.order.places[name.substr(6)] = std::stoi(value);
        if (name.starts_with("env:")) o.order.environment[name.substr(4)] = value;
        if (name == "image") o.image = value;
        if (name == "one_by_one" && value == "1") o.one_by_one = true;
    }
    return o;
}

template <class Function, class... Args>
void write_batch(Function f, std::uint64_t first, int count, const std::string& path, const options& o, Args... args) {
    std::vector<decltype(joblot::delayed(f)(0, args...))> tasks;
    for (int i = 0; i != count; ++i) tasks.push_back(joblot::delayed(f)(static_cast<int>(first) + i, args...));
    outgoing run = request_of(tasks, first, o);
    engine::batch_order order = o.order;
    for (const auto& image : run.images) { // each task speaks of the same one
        if (!order.images.empty()) break;
        order.images.push_back(image->id());
        const engine::payload content = engine::image_payload(*image);
        store(o.image, content.bytes);
    }
    const engine::batch_payload batch(order, o.setup, std::move(run));
    store(path, batch.joined());
}

int batch(const std::vector<std::string>& words) {
    const std::string& name = words.at(0);
    const std::uint64_t first = std::stoull(words.at(1));
    const int count = std::stoi(words.at(2));
    const std::string& path = words.at(3);
    const std::string text = words.size() > 4 ? words[4] : "";
    const options o = read_options(words);
    if (name == "sum_of") {
        numbers values(std::stoul(text));
        std::iota(values.begin(), values.end(), 0.0);
        write_batch(sum_of, first, count, path, o, joblot::broadcast(values));
        return 0;
    }
    if (name == "large") {
        write_batch(large, first, count, path, o, text);
        return 0;
    }
    using function = std::string (*)(int, const std::string&);
    const std::map<std::string, function> all{{"square", square},
                                              {"who", who},
                                              {"loses_its_socket", loses_its_socket},
                                              {"child_speaks_then_exits", child_speaks_then_exits},
                                              {"getenv", getenv_of},
                                              {"fails_at", fails_at},
                                              {"crashes_at", crashes_at},
                                              {"hangs", hangs},
                                              {"sleeps", sleeps},
                                              {"prints", prints},
                                              {"memory", memory},
                                              {"nested", nested},
                                              {"allocates", allocates},
                                              {"exits_at", exits_at},
                                              {"unsynced", unsynced},
                                              {"forks", forks},
                                              {"child_speaks", child_speaks},
                                              {"speaks_later", speaks_later},
                                              {"leaves_a_child", leaves_a_child},
                                              {"destroyed", destroyed},
                                              {"hangs_as_nobody", hangs_as_nobody}};
    write_batch(all.at(name), first, count, path, o, text);
    return 0;
}

json result_of(incoming part, task_result_kind kind) {
    decoder from(part);
    if (kind == task_result_kind::skipped) return nullptr;
    if (kind == task_result_kind::value) {
        if (part.remaining_with_blocks() < 4096) return decode<std::string>(from);
        const auto values = decode<numbers>(from);
        return {{"size", values.size()}, {"last", values.back()}};
    }
    try {
        std::rethrow_exception(decode_exception(from, "a worker"));
    } catch (const std::exception& e) {
        return {{"error", e.what()}};
    }
}

int answer(const std::string& path) {
    const std::vector<std::byte> bytes = content_of(path);
    const engine::batch_answer a(bytes);
    json results = json::object(), errors = json::array();
    a.for_each_frame([&](frame_kind kind, incoming message) {
        if (kind == frame_kind::hello) {
            static_cast<void>(message.get<worker_hello>());
            errors.push_back(result_of(message, task_result_kind::exception));
            return;
        }
        const auto head = message.get<run_results>();
        for (std::uint32_t k = 0; k != head.count; ++k) {
            std::uint32_t mark = 0;
            const incoming part = message.part(mark);
            results[std::to_string(head.begin + k)] = result_of(part, static_cast<task_result_kind>(mark));
        }
    });
    const engine::batch_report& r = a.report();
    const auto or_null = [](const auto& value) { return value ? json(*value) : json(); };
    const json all{{"end", static_cast<int>(r.end)},
                   {"signal", or_null(r.signal)},
                   {"exit_status", or_null(r.exit_status)},
                   {"current", or_null(r.current)},
                   {"stderr", r.stderr_tail},
                   {"worker", r.worker},
                   {"pid", or_null(r.pid)},
                   {"why", r.why},
                   {"results", results},
                   {"hello", errors}};
    std::cout << all.dump() << std::endl;
    return 0;
}

int plugin(const std::string& whom, const std::string& path) {
    const engine::plugin p = whom == "worker" ? engine::program::own().for_workers() : engine::program::for_scheduler();
    store(path, p.pickle);
    std::cout << p.name << std::endl;
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    if (std::getenv("PAYLOAD_TOOL_IS_SILENT") && argc > 1 && std::string(argv[1]).starts_with("--joblot")) return 0;
    joblot::init(argc, argv);
    const std::vector<std::string> words(argv + 1, argv + argc);
    const std::string what = words.empty() ? "" : words[0];
    if (what == "batch") return batch({words.begin() + 1, words.end()});
    if (what == "answer") return answer(words.at(1));
    if (what == "plugin") return plugin(words.at(1), words.at(2));
    std::cerr << "see the head of payload_tool.cpp\n";
    return 2;
}
