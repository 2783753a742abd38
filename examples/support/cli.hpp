// SPDX-License-Identifier: BSL-1.0
// The command line of the examples: options with checked values, --help, exit codes, and a cluster where it is asked
// for.
#pragma once

#include "cluster.hpp"

#include <joblot/error.hpp>

#include <charconv>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <iomanip>
#include <iostream>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace cli {

/// The program was called in a way that makes no sense.
class usage_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Which options a program has besides --help: --n-jobs, --backend and --scheduler as well, or only its own.
enum class options { common, own };

/// A program's options and arguments.
class command_line {
public:
    std::optional<int> n_jobs; ///< --n-jobs; set it first to give the program a default of its own
    std::string backend;       ///< --backend; likewise; empty: the active one

    /// @param about What the program does, in a sentence or two.
    explicit command_line(std::string about, options which = options::common)
        : about_(std::move(about)), which_(which) {}

    /// Adds `--name PLACEHOLDER`, a whole number from `least` to `most`, stored in `target`, which holds the default.
    template <std::integral T>
    void option(std::string name, std::string placeholder, T& target, std::string help, T least = 1,
                T most = std::numeric_limits<T>::max()) {
        help += " (default: " + std::to_string(target) + ")";
        add(std::move(name), std::move(placeholder), std::move(help),
            [&target, least, most](std::string_view text) { target = whole_number<T>(text, least, most); });
    }

    /// The same for text.
    void option(std::string name, std::string placeholder, std::string& target, std::string help) {
        help += " (default: " + target + ")";
        add(std::move(name), std::move(placeholder), std::move(help),
            [&target](std::string_view text) { target = text; });
    }

    /// Adds an argument that must be given.
    void argument(std::string name, std::string& target, std::string help) {
        arguments_.push_back(
            {std::move(name), {}, std::move(help), [&target](std::string_view text) { target = text; }});
    }

    /// Reads the command line, then calls `body`.
    ///
    /// @param body Returns the exit status, or nothing for 0.
    /// @return The exit status: 0, 1 (what `body` returned, or it threw), 2 (bad command line). Errors go to stderr.
    template <class Body>
    int run(int argc, char** argv, Body body) {
        const std::string program = program_name(argv[0]);
        try {
            if (!parse({argv + 1, argv + argc})) {
                print_help(program);
                return 0;
            }
            const auto cluster = cluster_for(backend, scheduler_); // lives as long as `body` runs
            const int status = status_of(body);
            if (!std::cout.flush()) throw std::runtime_error("cannot write to standard output");
            return status;
        } catch (const usage_error& e) {
            std::cerr << program << ": " << e.what() << " (see " << program << " --help)\n";
            return 2;
        } catch (const std::invalid_argument& e) { // how joblot refuses options, such as --n-jobs 0
            std::cerr << program << ": " << e.what() << '\n';
            return 2;
        } catch (const std::exception& e) {
            std::cerr << program << ": ";
            if (const auto task = joblot::failed_task(e)) std::cerr << "task " << task->index << ": ";
            std::cerr << e.what() << '\n';
            return 1;
        }
    }

private:
    struct entry {
        std::string name, placeholder, help;
        std::function<void(std::string_view)> set; // throws usage_error
    };

    template <class Body>
    static int status_of(Body& body) {
        if constexpr (std::is_void_v<std::invoke_result_t<Body&>>) {
            body();
            return 0;
        } else {
            return body();
        }
    }

    template <class T>
    static T whole_number(std::string_view text, T least, T most) {
        T value{};
        const char* const last = text.data() + text.size();
        const auto [end, error] = std::from_chars(text.data(), last, value);
        if (error == std::errc{} && end == last && least <= value && value <= most) return value;
        throw usage_error(quoted(text) + " is not a whole number from " + std::to_string(least) + " to " +
                          std::to_string(most));
    }

    static std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

    static std::string program_name(const std::string& path) {
        return path.substr(path.find_last_of('/') + 1); // npos + 1 is 0
    }

    void add(std::string name, std::string placeholder, std::string help, std::function<void(std::string_view)> set) {
        options_.push_back({std::move(name), std::move(placeholder), std::move(help), std::move(set)});
    }

    void add_common_options() {
        const std::string workers = n_jobs ? std::to_string(*n_jobs) : "$JOBLOT_N_JOBS, else all CPUs";
        add("--n-jobs", "N", "workers; -1 for all CPUs, -2 for all but one (default: " + workers + ")",
            [this](std::string_view text) { n_jobs = whole_number(text, -max_jobs, max_jobs); });
        const std::string where = backend.empty() ? "$JOBLOT_BACKEND, else threads" : backend;
        add("--backend", "NAME[:ADDRESS]",
            "where tasks run: threads, processes, dask, sequential (default: " + where + ")",
            [this](std::string_view text) { backend = text; });
        add("--scheduler", "ADDRESS",
            "with --backend dask: the cluster (default: $DASK_SCHEDULER_ADDRESS, else a local one)",
            [this](std::string_view text) { scheduler_ = text; });
    }

    /// False when the user asks for help.
    bool parse(const std::vector<std::string>& words) {
        if (which_ == options::common) add_common_options();
        std::vector<std::string> rest;
        for (std::size_t i = 0; i < words.size(); ++i) {
            const std::string& word = words[i];
            if (word == "--help" || word == "-h") return false;
            if (word == "--") {
                rest.insert(rest.end(), words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
                break;
            }
            if (word.size() < 2 || word[0] != '-') {
                rest.push_back(word);
                continue;
            }
            const std::size_t equals = word.find('=');
            const entry& option = find(word.substr(0, equals));
            if (equals == std::string::npos && i + 1 == words.size()) throw usage_error(option.name + " needs a value");
            set(option, equals == std::string::npos ? words[++i] : word.substr(equals + 1));
        }
        take_arguments(rest);
        return true;
    }

    const entry& find(const std::string& name) const {
        for (const entry& option : options_)
            if (option.name == name) return option;
        throw usage_error("unknown option " + quoted(name));
    }

    static void set(const entry& option, const std::string& text) {
        try {
            option.set(text);
        } catch (const usage_error& e) {
            throw usage_error(option.name + ": " + e.what());
        }
    }

    void take_arguments(const std::vector<std::string>& words) const {
        if (words.size() > arguments_.size())
            throw usage_error("unexpected argument " + quoted(words[arguments_.size()]));
        if (words.size() < arguments_.size()) throw usage_error("missing argument " + arguments_[words.size()].name);
        for (std::size_t i = 0; i < words.size(); ++i) arguments_[i].set(words[i]);
    }

    void print_help(const std::string& program) const {
        std::cout << "Usage: " << program << " [OPTION]...";
        for (const entry& a : arguments_) std::cout << ' ' << a.name;
        std::cout << '\n' << about_ << "\n\n";
        const auto row = [](const std::string& left, const std::string& help) {
            std::cout << "  " << std::left << std::setw(27) << left << ' ' << help << '\n';
        };
        for (const entry& a : arguments_) row(a.name, a.help);
        for (const entry& o : options_) row(o.name + ' ' + o.placeholder, o.help);
        row("--help", "show this and exit");
    }

    static constexpr int max_jobs = 10'000;

    std::string about_, scheduler_;
    options which_;
    std::vector<entry> options_, arguments_;
};

} // namespace cli
