// SPDX-License-Identifier: BSL-1.0
// Renders a part of the Mandelbrot set, tile by tile, into a PNG file. Tiles inside the set cost hundreds of times as
// much as those far outside: the work is shared out as workers become free, not in equal parts.
#include "cli.hpp"
#include "digest.hpp"

#include <joblot/joblot.hpp>
#include <png.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

using joblot::delayed, joblot::Parallel;

struct colour {
    std::uint8_t red = 0, green = 0, blue = 0;
};

/// An aggregate, without constructors: so it can be the result of a task in another process.
struct picture {
    int width = 0, height = 0;
    std::vector<colour> pixels{}; // row by row

    colour* row(int y) { return pixels.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(width); }
};

picture blank(int width, int height) {
    const auto pixels = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    return {width, height, std::vector<colour>(pixels)};
}

/// A rectangle of the whole picture.
struct tile {
    int left, top, width, height;
};

/// Where in the plane the picture lies.
struct scene {
    int width, height, max_iter;
    double centre_x = -0.74877, centre_y = 0.06505, span_x = 0.0035;

    double x(int column) const { return centre_x + (column - 0.5 * width) * span_x / width; }
    double y(int line) const { return centre_y - (line - 0.5 * height) * span_x / width; }
};

/// How soon c leaves the set under z -> z * z + c: a fractional number of steps, or `max_iter` for never.
double escape_time(double cx, double cy, int max_iter) {
    double x = 0, y = 0;
    for (int i = 0; i < max_iter; ++i) {
        const double xx = x * x, yy = y * y;
        if (xx + yy > 256) return i + 1 - std::log2(0.5 * std::log2(xx + yy)); // smooth from one i to the next
        y = 2 * x * y + cy;
        x = xx - yy + cx;
    }
    return max_iter;
}

colour shade(double escape, int max_iter) {
    if (escape >= max_iter) return {};
    const double phase = 0.9 * std::log2(1 + std::max(0.0, escape));
    const auto channel = [phase](double shift) {
        return static_cast<std::uint8_t>(127.5 + 127.5 * std::cos(2.5 * phase + shift));
    };
    return {channel(3.4), channel(2.6), channel(1.6)};
}

picture render(const scene& s, const tile& t) {
    picture part = blank(t.width, t.height);
    for (int y = 0; y < t.height; ++y)
        for (int x = 0; x < t.width; ++x)
            part.row(y)[x] = shade(escape_time(s.x(t.left + x), s.y(t.top + y), s.max_iter), s.max_iter);
    return part;
}

std::vector<tile> cut_into_tiles(int width, int height) {
    constexpr int side = 64;
    std::vector<tile> tiles;
    for (int top = 0; top < height; top += side)
        for (int left = 0; left < width; left += side)
            tiles.push_back({left, top, std::min(side, width - left), std::min(side, height - top)});
    return tiles;
}

void write_png(const picture& p, const std::string& path) {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(p.width);
    image.height = static_cast<png_uint_32>(p.height);
    image.format = PNG_FORMAT_RGB;
    if (!png_image_write_to_file(&image, path.c_str(), 0, p.pixels.data(), 0, nullptr))
        throw std::runtime_error("cannot write " + path + ": " + image.message);
}

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    scene view{.width = 1200, .height = 800, .max_iter = 5000};
    std::string output = "mandelbrot.png";
    cli::command_line cli("Renders a valley of the Mandelbrot set into a PNG file.");
    cli.option("--width", "PIXELS", view.width, "width of the picture", 1, 20'000);
    cli.option("--height", "PIXELS", view.height, "height of the picture", 1, 20'000);
    cli.option("--max-iter", "N", view.max_iter, "steps after which a point counts as part of the set");
    cli.option("--output", "FILE", output, "the file to write");
    return cli.run(argc, argv, [&] {
        const auto start = std::chrono::steady_clock::now();
        const std::vector<tile> tiles = cut_into_tiles(view.width, view.height);
        Parallel parallel(
            {.n_jobs = cli.n_jobs, .backend = cli.backend, .progress = joblot::progress_bar(), .label = "tiles"});

        // Each tile is copied to its place as soon as it is there, whichever it is.
        picture whole = blank(view.width, view.height);
        auto tasks = tiles | std::views::transform([&](const tile& t) { return delayed(render)(view, t); });
        for (auto&& [index, part] : parallel.generator_unordered(tasks)) {
            const tile& t = tiles[index];
            for (int y = 0; y < t.height; ++y) std::copy_n(part.row(y), t.width, whole.row(t.top + y) + t.left);
        }
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;

        write_png(whole, output);
        std::cout << output << ": " << view.width << " x " << view.height << " pixels in " << tiles.size()
                  << " tiles, rendered in " << seconds.count() << " s\n"
                  << "pixel digest: " << digest(std::as_bytes(std::span(whole.pixels))) << '\n';
    });
}
