// SPDX-License-Identifier: BSL-1.0
// What the headers that any file may include ask of the engine of clusters, which one file of a program compiles: the
// one that includes joblot/dask/engine.hpp; with JOBLOT_COMPILED it is in a library.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/backend/backend.hpp>
#include <joblot/core/one_form.hpp>
#include <joblot/dask/dataset.hpp>
#include <joblot/dask/options.hpp>
#include <joblot/system/visibility.hpp>
#include <joblot/wire/segment.hpp>

#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace joblot::dask {

struct backend;

namespace engine {

class session;

/// A client's connection, and the cluster where the client started it; destroying it ends both. Blocks, and throws, as
/// `Client` says. Const members are thread-safe.
class JOBLOT_ONE_TYPE client_connection {
public:
    client_connection() = default;
    client_connection(const client_connection&) = delete;
    client_connection& operator=(const client_connection&) = delete;
    virtual ~client_connection() = default;

    virtual void scheduler_info(nlohmann::json& to) const = 0; // who calls others need not know the type
    [[nodiscard]] virtual std::string address() const = 0;
    [[nodiscard]] virtual tls_options tls() const = 0;
    [[nodiscard]] virtual std::string dashboard_link() const = 0;
    [[nodiscard]] virtual std::map<std::string, int> ncores() const = 0;
    [[nodiscard]] virtual dask::dataset dataset(const std::string& name) const = 0;
    /// @param results Where they are: `persisted::place`. @param as_list Whether Python finds a list of them.
    virtual void publish(const std::string& name, const std::vector<std::shared_ptr<detail::segment>>& results,
                         bool as_list) const = 0;
    virtual void unpublish(const std::string& name) const = 0;
    virtual void wait_for_workers(std::size_t n, std::chrono::milliseconds timeout) const = 0;
    [[nodiscard]] virtual std::shared_ptr<engine::session> session() const = 0;
};

/// The ways into the engine.
struct entry_points {
    std::unique_ptr<client_connection> (*start_cluster)(const local_cluster_options&, const client_options&);
    std::unique_ptr<client_connection> (*connect)(const std::string& address, const client_options&);
    std::unique_ptr<client_connection> (*connect_by_file)(const scheduler_file&, const client_options&);
    /// @param cluster Its client's; null: by the address.
    std::shared_ptr<joblot::backend> (*make_backend)(const dask::backend&, std::shared_ptr<session> cluster);
    /// Tells Python what functions the program exports.
    void (*print_catalogue)();
};

#if defined(JOBLOT_COMPILED)
/// Defined by the library. Its name is what a linker says of a program without that.
JOBLOT_ONE_PER_PROCESS const entry_points& link_the_target_joblot_dask_or_the_library_joblot_dask() noexcept;

inline const entry_points& access() noexcept { return link_the_target_joblot_dask_or_the_library_joblot_dask(); }
#else
/// Defined by joblot/dask/engine.hpp. Its name is what a linker says of a program where no file includes that.
JOBLOT_ONE_PER_PROCESS const entry_points& include_joblot_dask_engine_hpp_in_the_file_that_calls_init() noexcept;

inline const entry_points& access() noexcept { return include_joblot_dask_engine_hpp_in_the_file_that_calls_init(); }
#endif

} // namespace engine
} // namespace joblot::dask
