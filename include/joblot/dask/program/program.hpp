// SPDX-License-Identifier: BSL-1.0
// The program's own executable as workers of a cluster get it: what it is called there, and the plugins that bring it.
#pragma once

#include <joblot/dask/generated/worker_shim.hpp>
#include <joblot/dask/protocol/pickle_writer.hpp>
#include <joblot/dask/protocol/requests.hpp>
#include <joblot/dask/protocol/sha256.hpp>
#include <joblot/error.hpp>
#include <joblot/system/descriptor.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>
#include <joblot/wire/segment.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>

namespace joblot::dask::engine {

/// What a cluster is given once: schedulers keep it for workers that join later.
struct plugin {
    std::string name; ///< a plugin of this name is the same plugin
    std::vector<std::byte> pickle;
};

/// An executable that this process is, or could be. Immutable.
class program {
public:
    /// The one that runs, even where its file has been replaced on disk since; read by the first call.
    JOBLOT_ONE_PER_PROCESS static const program& own() {
        static constinit detail::made_once<const program> self;
        return self.get([] { return program("/proc/self/exe"); });
    }

    /// @throws backend_error where the file cannot be read.
    explicit program(const std::string& path) : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        const detail::mapping all = map();
        sha256 digest;
        digest.update({all.data(), all.size()});
        digest_ = digest.finish();
    }

    /// SHA-256 of the file, in hexadecimal digits.
    [[nodiscard]] const std::string& digest() const noexcept { return digest_; }
    /// What the file is called on workers.
    [[nodiscard]] std::string name() const { return "joblot-" + digest_.substr(0, 16); }

    /// Gives workers the executable, and the module that runs it. It may be registered again and again: a worker that
    /// has them leaves them as they are.
    [[nodiscard]] plugin for_workers() const {
        const detail::mapping all = map();
        return made_by("Program", plugin_name(), all.size(), [&](pickle_writer& p) {
            p.text(name());
            p.text(digest_);
            p.bytes(detail::bytes_view(all.data(), all.size()));
        });
    }
    /// Fails on a worker that does not have what `for_workers` brings; waits while another client is about to bring it.
    [[nodiscard]] plugin that_asks_for_it() const {
        return made_by("Ready", plugin_name() + "-ready", 0, [this](pickle_writer& p) {
            p.text(name());
            p.text(digest_);
            p.text(plugin_name());
        });
    }
    /// Gives the scheduler the module, where `dialect::scheduler_needs_modules`.
    [[nodiscard]] static plugin for_scheduler() {
        return made_by("Source", std::string(worker_shim_module), 0, [](pickle_writer&) {});
    }

private:
    [[nodiscard]] std::string plugin_name() const { return std::string(worker_shim_module) + "-" + name(); }

    template <class Arguments>
    static plugin made_by(const char* type, std::string plugin_name, std::size_t size, Arguments write) {
        pickle_writer p;
        p.reserve(size + worker_shim_source().size() + 4096);
        begin_with_module(p);
        p.global(worker_shim_module, type);
        p.begin();
        write(p);
        p.end_tuple();
        p.call();
        end_with_module(p);
        return {std::move(plugin_name), p.finish()};
    }

    // The pickle is `operator.getitem((exec(..., {...}), <what follows>), 1)`: it makes the module before it names what
    // is in it. So it needs nothing that was sent before, whatever a worker that joins late does first.
    static void begin_with_module(pickle_writer& p) {
        p.global("operator", "getitem");
        p.begin();
        p.begin();
        p.global("builtins", "exec");
        p.begin();
        p.text("import sys, types\n"
               "if name not in sys.modules:\n"
               "    module = types.ModuleType(name)\n"
               "    exec(compile(source, name + '.py', 'exec'), module.__dict__)\n"
               "    sys.modules[name] = module\n");
        p.begin_dict();
        p.text("name");
        p.text(worker_shim_module);
        p.text("source");
        p.text(worker_shim_source());
        p.end_dict();
        p.end_tuple();
        p.call();
    }
    static void end_with_module(pickle_writer& p) {
        p.end_tuple();
        p.number(std::int64_t{1});
        p.end_tuple();
        p.call();
    }

    [[nodiscard]] detail::mapping map() const {
        detail::mapping all(file_.get(), detail::file_size(file_.get()), false);
        if (!all)
            throw backend_error("joblot: the program's own executable cannot be read, which workers need: " +
                                std::string(std::strerror(errno)));
        return all;
    }

    detail::descriptor file_; // open, as the path may name another file later
    std::string digest_;
};

} // namespace joblot::dask::engine
