// SPDX-License-Identifier: BSL-1.0
// The checksum of the POSIX utility `cksum`: a CRC-32 (polynomial 0x04C11DB7, most significant bit first) over the
// bytes followed by their number. Eight bytes per step ("slicing by 8").
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

class posix_cksum {
public:
    /// Adds the next bytes of the file.
    void update(std::span<const unsigned char> bytes) noexcept {
        size_ += bytes.size();
        for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
            const std::uint32_t high = crc_ ^ big_endian(bytes.first<4>());
            const std::uint32_t low = big_endian(bytes.subspan<4, 4>());
            crc_ = step(4, high) ^ step(0, low);
        }
        for (const unsigned char byte : bytes) crc_ = add_byte(crc_, byte);
    }

    /// How many bytes were added.
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

    /// The checksum of the bytes so far.
    [[nodiscard]] std::uint32_t value() const noexcept {
        std::uint32_t crc = crc_;
        for (std::uint64_t rest = size_; rest != 0; rest >>= 8) crc = add_byte(crc, rest & 0xff);
        return ~crc;
    }

private:
    using table = std::array<std::uint32_t, 256>;

    // table[0] advances the CRC by one byte, table[k] by that byte and k zero bytes.
    static constexpr std::array<table, 8> make_tables() {
        std::array<table, 8> tables{};
        for (std::uint32_t byte = 0; byte < 256; ++byte) {
            std::uint32_t crc = byte << 24;
            for (int bit = 0; bit < 8; ++bit) crc = (crc << 1) ^ (crc >> 31 ? 0x04c11db7U : 0U);
            tables[0][byte] = crc;
        }
        for (std::size_t k = 1; k < tables.size(); ++k)
            for (std::size_t byte = 0; byte < 256; ++byte) {
                const std::uint32_t crc = tables[k - 1][byte];
                tables[k][byte] = (crc << 8) ^ tables[0][crc >> 24];
            }
        return tables;
    }

    static std::uint32_t big_endian(std::span<const unsigned char, 4> b) noexcept {
        return std::uint32_t{b[0]} << 24 | std::uint32_t{b[1]} << 16 | std::uint32_t{b[2]} << 8 | std::uint32_t{b[3]};
    }

    // Four bytes that are followed by `zeros` zero bytes.
    static std::uint32_t step(std::size_t zeros, std::uint32_t word) noexcept {
        return tables_[zeros + 3][word >> 24] ^ tables_[zeros + 2][(word >> 16) & 0xff] ^
               tables_[zeros + 1][(word >> 8) & 0xff] ^ tables_[zeros][word & 0xff];
    }

    static std::uint32_t add_byte(std::uint32_t crc, std::uint64_t byte) noexcept {
        return (crc << 8) ^ tables_[0][(crc >> 24) ^ byte];
    }

    static const std::array<table, 8> tables_;

    std::uint32_t crc_ = 0;
    std::uint64_t size_ = 0;
};

inline constexpr std::array<posix_cksum::table, 8> posix_cksum::tables_ = posix_cksum::make_tables();
