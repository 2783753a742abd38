// SPDX-License-Identifier: BSL-1.0
// The name of a function, found by its address in the program's own symbol tables.
#pragma once

#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if __has_include(<dlfcn.h>) && __has_include(<cxxabi.h>)
#define JOBLOT_HAS_DLADDR 1
#include <cxxabi.h>
#include <dlfcn.h>
#endif
#if defined(__linux__) && __has_include(<elf.h>) && __has_include(<link.h>)
#define JOBLOT_HAS_ELF 1
#include <elf.h>
#include <link.h>
#endif

namespace joblot::detail {

#if defined(JOBLOT_HAS_ELF)
/// Looks a function up in the full symbol table of an ELF file, which also has what is not exported; "" if it was
/// stripped, or is no file that makes sense.
class elf_symbols {
public:
    explicit elf_symbols(const char* path) : file_(std::fopen(path, "re"), &std::fclose) {}

    /// @param value The function's address as the file has it: where it is in memory less where the file is loaded.
    std::string name_at(ElfW(Addr) value) {
        ElfW(Ehdr) header{};
        if (!file_ || !read(0, &header, 1) || header.e_shentsize != sizeof(ElfW(Shdr))) return {};
        std::vector<ElfW(Shdr)> sections(header.e_shnum);
        if (!read(header.e_shoff, sections.data(), sections.size())) return {};
        for (const auto& s : sections) {
            if (s.sh_type != SHT_SYMTAB || s.sh_link >= sections.size()) continue;
            return find(s, sections[s.sh_link], value);
        }
        return {};
    }

private:
    std::string find(const ElfW(Shdr) & table, const ElfW(Shdr) & names, ElfW(Addr) value) {
        ElfW(Sym) some[256];
        std::size_t left = table.sh_size / sizeof some[0];
        for (auto at = table.sh_offset; left != 0; at += sizeof some) {
            const std::size_t n = left < 256 ? left : 256;
            if (!read(at, some, n)) return {};
            for (std::size_t i = 0; i != n; ++i) {
                if (some[i].st_value != value || (some[i].st_info & 0xf) != STT_FUNC) continue;
                char name[1024] = {};
                if (!seek(names.sh_offset + some[i].st_name)) return {};
                if (std::fread(name, 1, sizeof name - 1, file_.get()) != 0) return name;
            }
            left -= n;
        }
        return {};
    }

    bool seek(std::size_t offset) { return std::fseek(file_.get(), static_cast<long>(offset), SEEK_SET) == 0; }

    template <class T>
    bool read(std::size_t offset, T* to, std::size_t count) {
        return seek(offset) && std::fread(to, sizeof(T), count, file_.get()) == count;
    }

    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};
#endif

/// The symbol as the linker has it, or "".
inline std::string mangled_name([[maybe_unused]] const void* address) {
#if defined(JOBLOT_HAS_DLADDR)
    Dl_info info{};
    const bool found = ::dladdr(address, &info) != 0;
    if (found && info.dli_sname && info.dli_saddr == address) return info.dli_sname; // exported
#if defined(JOBLOT_HAS_ELF)
    const auto where = reinterpret_cast<ElfW(Addr)>(address);
    if (!found) return elf_symbols("/proc/self/exe").name_at(where); // a static executable
    const auto base = reinterpret_cast<ElfW(Addr)>(info.dli_fbase);
    const char* path = info.dli_fname && info.dli_fname[0] == '/' ? info.dli_fname : "/proc/self/exe";
    // a file that is loaded where it was linked to be (no PIE) has absolute addresses
    const bool movable = reinterpret_cast<const ElfW(Ehdr)*>(info.dli_fbase)->e_type == ET_DYN;
    return elf_symbols(path).name_at(movable ? where - base : where);
#endif
#endif
    return {};
}

/// `mangled` as the source has it, without parameters, which say nothing to a user who knows the function.
inline std::string readable_name(std::string mangled) {
#if defined(JOBLOT_HAS_DLADDR)
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status),
                                                      std::free);
    if (text) mangled = text.get();
#endif
    constexpr std::string_view unnamed = "(anonymous namespace)::";
    for (auto at = mangled.find(unnamed); at != mangled.npos; at = mangled.find(unnamed))
        mangled.erase(at, unnamed.size());
    return mangled.substr(0, mangled.find('('));
}

/// The name of the function at `address`, or "" where it cannot be found. Looked up once; thread-safe.
JOBLOT_ONE_PER_PROCESS inline std::string symbol_name(const void* address) {
    const std::lock_guard lock(table_mutex());
    using names = std::vector<std::pair<const void*, std::string>>; // few: the functions that tasks are made of
    static constinit made_once<names> table;
    names& known = table.get();
    for (const auto& [where, name] : known) {
        if (where == address) return name;
    }
    known.emplace_back(address, readable_name(mangled_name(address)));
    return known.back().second;
}

} // namespace joblot::detail
