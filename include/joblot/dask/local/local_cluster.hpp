// SPDX-License-Identifier: BSL-1.0
// A Dask cluster on this machine: a scheduler and workers, the real ones, which end with this process.
#pragma once

#include <joblot/cpu_count.hpp>
#include <joblot/dask/local/child_process.hpp>
#include <joblot/dask/local/last_words.hpp>
#include <joblot/dask/local/python_finder.hpp>
#include <joblot/dask/local/scheduler_file.hpp>
#include <joblot/dask/net/own_certificate.hpp>
#include <joblot/dask/options.hpp>
#include <joblot/error.hpp>
#include <joblot/progress/stderr_sink.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

namespace joblot::dask::engine {

/// Says once in a process that a local cluster is open to others.
JOBLOT_ONE_PER_PROCESS inline void warn_of_open_cluster() noexcept {
    static constinit std::atomic<bool> said{false}; // relaxed: it guards nothing else
    if (said.exchange(true, std::memory_order_relaxed)) return;
    detail::write_stderr(
        "joblot: this program was built without OpenSSL, so any user of this machine can use its local "
        "Dask cluster, and run code in your name; local_cluster_options{.tls = false} says that this "
        "is all right\n");
}

inline namespace JOBLOT_DASK_TLS_KIND {

/// Runs a cluster as long as it lives. For one thread at a time.
class local_cluster {
public:
    using clock = std::chrono::steady_clock;

    /// Starts the scheduler and the workers, and waits for the scheduler alone. @throws backend_error They cannot be
    /// started.
    explicit local_cluster(const local_cluster_options& options)
        : workers_(options.workers), deadline_(clock::now() + options.timeout) {
        const int threads = options.threads_per_worker.value_or(std::max(1, cpu_count() / std::max(1, workers_)));
        if (workers_ < 1 || threads < 1)
            throw std::invalid_argument("joblot: a local cluster needs at least one worker with one thread");
        if (!has_tls && options.tls.value_or(false)) static_cast<void>(own_certificate()); // says what is missing
        const python found = find_python(options.python);
        make_folder();
        try {
            if (options.tls.value_or(has_tls))
                make_certificate();
            else if (!options.tls)
                warn_of_open_cluster();
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
    /// The files that connect with it; empty where it has no TLS.
    [[nodiscard]] const tls_options& tls() const noexcept { return tls_; }
    /// How many workers it will have.
    [[nodiscard]] int workers() const noexcept { return workers_; }
    /// Whether bokeh is there, and a dashboard was not unwanted.
    [[nodiscard]] bool has_dashboard() const noexcept { return has_dashboard_; }
    /// When its start will have taken too long.
    [[nodiscard]] clock::time_point deadline() const noexcept { return deadline_; }
    /// Where its processes write to.
    [[nodiscard]] const std::filesystem::path& folder() const noexcept { return folder_; }

    /// @throws backend_error where a process of it has ended, with what that one wrote last; before `started` also
    /// where one does not end and cannot work, and says so again and again.
    void check() {
        check(scheduler_, "scheduler");
        check(worker_host_, "workers");
        for (const char* name : {"scheduler", "workers"}) {
            if (!starting_) return;
            std::error_code none;
            const auto size = std::filesystem::file_size(folder_ / name, none);
            if (none || size == std::exchange(heard_[name], size)) continue; // nothing new
            if (const std::string why = despair(log_of(name)); !why.empty())
                throw backend_error(std::string("joblot: a process of the local Dask cluster (") + name +
                                    ") cannot work: " + why);
        }
    }
    /// All of it is there.
    void started() noexcept { starting_ = false; }
    /// What its processes wrote last.
    [[nodiscard]] std::string last_words() const {
        return "; the scheduler wrote: " + last_words_of("scheduler") +
               "; the workers wrote: " + last_words_of("workers");
    }

    /// Ends it: kindly, then by force. In a forked child of the owner nothing happens.
    void stop() noexcept {
        if (!here_) return;
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
    // Certificates are in the environment, so that what runs on workers can connect with the cluster, too.
    //
    // Ends with the parent, however that one ends: stdin is a pipe that nobody else holds open. The last of them
    // removes the folder, as the parent may not be there any more to do it.
    static constexpr const char* script = R"py(
import importlib, os, shutil, signal, sys, threading, time
sys.path[:] = [p for p in sys.path if p]
folder, module = sys.argv[1:3]
pem = os.path.join(folder, "tls.pem")
if os.path.exists(pem):
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    for name in ("CA_FILE", *(f"{role}__{part}" for role in ("SCHEDULER", "WORKER", "CLIENT") for part in ("CERT", "KEY"))):
        os.environ[tls + name] = pem
    os.environ["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "True"
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

    /// Where temporary files belong, and who says so. A place that is named and does not exist is not replaced by
    /// another: /tmp may be small, or not be meant for this.
    static std::pair<std::string, std::string> place_for_files() {
        for (const char* const variable : {"TMPDIR", "TMP", "TEMP", "TEMPDIR"}) {
            const char* const value = std::getenv(variable);
            if (value && *value) return {value, variable};
        }
        return {"/tmp", ""};
    }
    void make_folder() {
        const auto [place, variable] = place_for_files();
        std::string name = place + "/joblot-dask-XXXXXX";
        if (!::mkdtemp(name.data())) {
            const std::string why = std::strerror(errno);
            throw backend_error("joblot: a local Dask cluster needs a folder for its files, and none can be made in " +
                                place + (variable.empty() ? "" : " (from the environment variable " + variable + ")") +
                                ": " + why + "; set " + (variable.empty() ? "TMPDIR" : variable) +
                                " to a folder that can be written to" + (variable.empty() ? "" : ", or unset it"));
        }
        std::error_code failed;
        folder_ = std::filesystem::canonical(name, failed); // the program may change its directory
        if (failed) folder_ = name;
    }
    /// One file is all of it: the certificate vouches for itself.
    void make_certificate() {
        const std::string pem = file("tls.pem");
        own_certificate().write(pem);
        tls_ = {.ca = pem, .certificate = pem, .key = pem};
    }
    [[nodiscard]] std::string file(const std::string& name) const { return (folder_ / name).string(); }

    std::unique_ptr<child_process> start(const python& with, const std::string& name, const std::string& module,
                                         std::vector<std::string> arguments) const {
        std::vector<std::string> all{with.executable, "-c", script, folder_.string(), module};
        all.insert(all.end(), std::make_move_iterator(arguments.begin()), std::make_move_iterator(arguments.end()));
        if (!tls_.ca.empty()) all.insert(all.end(), {"--protocol", "tls"}); // each of the modules knows it
        const descriptor log(::open(file(name).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
        if (!log) throw backend_error("joblot: " + file(name) + " cannot be written: " + std::strerror(errno));
        return std::make_unique<child_process>(std::move(all), log, folder_.c_str());
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
            address_ = address_in_file(file("scheduler.json"));
            if (!address_.empty()) return;
            check();
            if (clock::now() > deadline_)
                throw backend_error("joblot: the scheduler of the local Dask cluster did not start in time" +
                                    last_words());
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }

    void check(std::unique_ptr<child_process>& child, const std::string& name) {
        if (!child || !child->has_ended()) return;
        child->kill();
        throw backend_error("joblot: a process of the local Dask cluster (" + name + ") " + child->end_in_words() +
                            ": " + last_words_of(name));
    }
    [[nodiscard]] std::string log_of(const std::string& name) const {
        std::ifstream in(file(name));
        return {std::istreambuf_iterator<char>(in), {}};
    }
    [[nodiscard]] std::string last_words_of(const std::string& name) const {
        if (::access(file(name).c_str(), R_OK) != 0) return std::string("what cannot be read: ") + std::strerror(errno);
        const std::string log = log_of(name);
        std::string words = engine::last_words(log);
        const std::string lacks = lack(log); // what came of that may hide it
        if (words.find(lacks) == words.npos) words += " (" + lacks + ')';
        return words.empty() ? "nothing (is the disk of " + folder_.string() + " full?)" : words;
    }

    const detail::made_here here_;
    int workers_;
    clock::time_point deadline_;
    std::filesystem::path folder_;
    tls_options tls_;
    std::string address_;
    bool has_dashboard_ = false;
    bool starting_ = true;
    std::map<std::string, std::uintmax_t> heard_; // bytes of each log
    std::unique_ptr<child_process> scheduler_;
    std::unique_ptr<child_process> worker_host_; // one process, with a nanny for each worker
};

} // namespace JOBLOT_DASK_TLS_KIND

} // namespace joblot::dask::engine
