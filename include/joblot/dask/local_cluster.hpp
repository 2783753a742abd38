// SPDX-License-Identifier: BSL-1.0
// A Dask cluster on this machine: a scheduler and workers, the real ones, which end with this process.
#pragma once

#include <joblot/cpu_count.hpp>
#include <joblot/dask/child_process.hpp>
#include <joblot/dask/python_finder.hpp>
#include <joblot/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

namespace joblot::dask {

/// What a local cluster is made of. All of it listens on the loopback interface only.
struct local_cluster_options {
    int workers = 1; ///< worker processes of Python's; a native process for each of their threads comes on top
    std::optional<int> threads_per_worker{};       ///< tasks at once in each; unset: all cores, shared fairly
    std::string memory_limit = "auto";             ///< per worker, as Dask reads it: "2GiB"; "0": none
    std::string dashboard_address = "127.0.0.1:0"; ///< port 0: any free one; "": no dashboard
    std::string python{};                          ///< which Python; "": see JOBLOT_PYTHON
    std::chrono::milliseconds timeout{120'000};    ///< for the start of all of it
};

namespace engine {

/// Runs a cluster as long as it lives. For one thread at a time.
class local_cluster {
public:
    using clock = std::chrono::steady_clock;

    /// Starts the scheduler and the workers, and waits for the scheduler alone. @throws backend_error.
    explicit local_cluster(const local_cluster_options& options)
        : owner_(::getpid()), workers_(options.workers), deadline_(clock::now() + options.timeout) {
        const int threads = options.threads_per_worker.value_or(std::max(1, cpu_count() / std::max(1, workers_)));
        if (workers_ < 1 || threads < 1)
            throw std::invalid_argument("joblot: a local cluster needs at least one worker with one thread");
        const python found = find_python(options.python);
        make_folder();
        try {
            start_scheduler(found, options.dashboard_address);
            // At once: it waits for the scheduler's file, while Python starts up.
            start_workers(found, threads, options.memory_limit);
            read_address();
        } catch (...) {
            stop();
            throw;
        }
    }
    local_cluster(const local_cluster&) = delete;
    local_cluster& operator=(const local_cluster&) = delete;
    ~local_cluster() { stop(); }

    /// Of the scheduler.
    [[nodiscard]] const std::string& address() const noexcept { return address_; }
    /// How many workers it will have.
    [[nodiscard]] int workers() const noexcept { return workers_; }
    /// Whether bokeh is there, and a dashboard was not unwanted.
    [[nodiscard]] bool has_dashboard() const noexcept { return has_dashboard_; }
    /// When its start will have taken too long.
    [[nodiscard]] clock::time_point deadline() const noexcept { return deadline_; }
    /// Where its processes write to.
    [[nodiscard]] const std::filesystem::path& folder() const noexcept { return folder_; }

    /// @throws backend_error where a process of it has ended: with what that one wrote last.
    void check() {
        check(scheduler_, "scheduler");
        check(worker_host_, "workers");
    }
    /// The last lines that its processes wrote.
    [[nodiscard]] std::string last_words() const {
        return "\nThe scheduler wrote:\n" + tail("scheduler") + "\nThe workers wrote:\n" + tail("workers");
    }

    /// Ends it: kindly, then by force. In a forked child of the owner nothing happens.
    void stop() noexcept {
        if (owner_ != ::getpid()) return;
        for (auto* child : {&worker_host_, &scheduler_}) { // workers want to take their leave of the scheduler
            if (!*child) continue;
            (*child)->let_go();
            static_cast<void>((*child)->wait_until(clock::now() + std::chrono::seconds(3)));
            (*child)->kill();
            child->reset();
        }
        std::error_code ignored;
        if (!folder_.empty()) std::filesystem::remove_all(std::exchange(folder_, {}), ignored);
    }

private:
    // Ends with the parent, however that one ends: stdin is a pipe that nobody else holds open. The last of them
    // removes the folder, as the parent may not be there any more to do it.
    static constexpr const char* script = R"py(
import importlib, os, shutil, signal, sys, threading, time
sys.path[:] = [p for p in sys.path if p]
folder, module = sys.argv[1:3]
sys.argv = [module] + sys.argv[3:]
let_go = threading.Event()
def watch():
    try:
        said = os.read(0, 1)
    except OSError:
        said = b""
    let_go.set()
    if not said and "scheduler" in module:
        time.sleep(2) # the workers leave first
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(4)
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
try:
    importlib.import_module(module).main()
finally:
    if let_go.is_set():
        shutil.rmtree(folder, ignore_errors=True)
)py";

    void make_folder() {
        std::string name = (std::filesystem::temp_directory_path() / "joblot-dask-XXXXXX").string();
        if (!::mkdtemp(name.data()))
            throw backend_error("joblot: no folder can be made in " + std::filesystem::temp_directory_path().string());
        folder_ = name;
    }
    [[nodiscard]] std::string file(const std::string& name) const { return (folder_ / name).string(); }

    std::unique_ptr<child_process> start(const python& with, const std::string& name, const std::string& module,
                                         std::vector<std::string> arguments) const {
        std::vector<std::string> all{with.executable, "-c", script, folder_.string(), module};
        all.insert(all.end(), std::make_move_iterator(arguments.begin()), std::make_move_iterator(arguments.end()));
        const descriptor log(::open(file(name).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
        return std::make_unique<child_process>(std::move(all), log);
    }
    void start_scheduler(const python& with, const std::string& dashboard) {
        std::vector<std::string> arguments{"--host", "127.0.0.1",        "--port",
                                           "0",      "--scheduler-file", file("scheduler.json")};
        has_dashboard_ = !dashboard.empty() && with.has_dashboard;
        if (!has_dashboard_)
            arguments.insert(arguments.end(), {"--no-dashboard", "--dashboard-address", "127.0.0.1:0"});
        else
            arguments.insert(arguments.end(), {"--dashboard-address", dashboard});
        scheduler_ = start(with, "scheduler", "distributed.cli.dask_scheduler", std::move(arguments));
    }
    void start_workers(const python& with, int threads, const std::string& memory) {
        worker_host_ = start(with, "workers", "distributed.cli.dask_worker",
                             {"--scheduler-file", file("scheduler.json"), "--host", "127.0.0.1", "--nworkers",
                              std::to_string(workers_), "--nthreads", std::to_string(threads), "--memory-limit", memory,
                              "--local-directory", file("workers.d"), "--no-dashboard", "--death-timeout", "300"});
    }
    void read_address() {
        for (;;) {
            std::ifstream in(file("scheduler.json"));
            const auto content = nlohmann::json::parse(in, nullptr, false); // half of it, at first
            if (content.is_object() && content.contains("address")) {
                address_ = content["address"].get<std::string>();
                return;
            }
            check();
            if (clock::now() > deadline_)
                throw backend_error("joblot: the scheduler of the local Dask cluster did not start in time." +
                                    last_words());
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }

    void check(std::unique_ptr<child_process>& child, const std::string& name) {
        if (!child || !child->has_ended()) return;
        child->kill();
        throw backend_error("joblot: a process of the local Dask cluster (" + name + ") " + child->end_in_words() +
                            ". It wrote:\n" + tail(name));
    }
    [[nodiscard]] std::string tail(const std::string& name) const {
        std::ifstream in(file(name));
        std::string text{std::istreambuf_iterator<char>(in), {}};
        constexpr std::size_t most = 3000;
        return text.size() <= most ? text : "..." + text.substr(text.size() - most);
    }

    pid_t owner_;
    int workers_;
    clock::time_point deadline_;
    std::filesystem::path folder_;
    std::string address_;
    bool has_dashboard_ = false;
    std::unique_ptr<child_process> scheduler_;
    std::unique_ptr<child_process> worker_host_; // one process, with a nanny for each worker
};

} // namespace engine
} // namespace joblot::dask
