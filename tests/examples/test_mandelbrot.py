"""mandelbrot: the PNG is decoded here, independently of libpng, and must be the same however it was computed."""

import pathlib
import struct
import tempfile
import zlib

from harness import check, check_equal, run, test, test_each

WIDTH, HEIGHT = 333, 207  # no multiples of the tiles' size


def chunks(png):
    """The PNG's chunks as (type, data), after checking signature, lengths and CRCs."""
    check_equal(png[:8], b"\x89PNG\r\n\x1a\n", "signature")
    position, found = 8, []
    while position < len(png):
        length, kind = struct.unpack(">I4s", png[position:position + 8])
        data = png[position + 8:position + 8 + length]
        (crc,) = struct.unpack(">I", png[position + 8 + length:position + 12 + length])
        check_equal(crc, zlib.crc32(kind + data), f"CRC of {kind}")
        found.append((kind, data))
        position += 12 + length
    check_equal(found[0][0], b"IHDR", "first chunk")
    check_equal(found[-1], (b"IEND", b""), "last chunk")
    return found


def paeth(left, up, corner):
    estimate = left + up - corner
    to_left, to_up, to_corner = abs(estimate - left), abs(estimate - up), abs(estimate - corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner


def pixels(png):
    """Width, height and the bytes of all pixels of an RGB PNG of 8 bits."""
    parts = chunks(png)
    width, height, *kind = struct.unpack(">IIBBBBB", parts[0][1])
    check_equal(kind, [8, 2, 0, 0, 0], "depth, colour type, compression, filter, interlace")
    raw = zlib.decompress(b"".join(data for name, data in parts if name == b"IDAT"))
    stride = 3 * width
    check_equal(len(raw), height * (stride + 1), "size of the image data")
    out = bytearray()
    above = bytes(stride)
    for y in range(height):
        filter_type, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        check(filter_type <= 4, f"filter type {filter_type}")
        for i in range(stride if filter_type else 0):
            left = line[i - 3] if i >= 3 else 0
            corner = above[i - 3] if i >= 3 else 0
            line[i] = (line[i] + (left, above[i], (left + above[i]) // 2,
                                  paeth(left, above[i], corner))[filter_type - 1]) & 0xFF
        out += line
        above = line
    return width, height, bytes(out)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def render(*arguments, width=WIDTH, height=HEIGHT):
    """Returns the PNG and the digest that the program printed."""
    with tempfile.TemporaryDirectory(prefix="joblot-examples-") as folder:
        file = pathlib.Path(folder) / "picture.png"
        done = run("mandelbrot", "--width", str(width), "--height", str(height), "--max-iter", "1500",
                   "--output", file, *arguments)
        lines = done.stdout.decode().splitlines()
        check_equal(len(lines), 2, "lines of output")
        check(str(file) in lines[0] and f"{width} x {height}" in lines[0], f"first line: {lines[0]}")
        name, digest = lines[1].split(": ")
        check_equal(name, "pixel digest", "second line")
        return file.read_bytes(), digest


@test
def valid_png():
    """a valid PNG with the pixels of the digest, and a picture in it"""
    png, digest = render()
    width, height, data = pixels(png)
    check_equal((width, height), (WIDTH, HEIGHT), "size")
    check_equal(digest, fnv1a(data), "digest")
    colours = [data[i:i + 3] for i in range(0, len(data), 3)]
    black = colours.count(b"\0\0\0") / len(colours)
    check(0.02 < black < 0.5, f"{black:.0%} of the picture belongs to the set")
    check(len(set(colours)) > 1000, f"only {len(set(colours))} colours")


@test_each(("--n-jobs", "1"), ("--n-jobs", "2"), ("--n-jobs", "5"), ("--backend", "sequential"),
           ("--backend", "processes"), ("--backend", "processes", "--n-jobs", "3"))
def same_picture(arguments):
    """the same file, byte for byte, as with all CPUs"""
    check_equal(render(*arguments), render(), "PNG and digest")


@test
def tiny_pictures():
    """pictures smaller than a tile"""
    for size in ((1, 1), (64, 1), (1, 65)):
        width, height, data = pixels(render(width=size[0], height=size[1])[0])
        check_equal((width, height, len(data)), (*size, 3 * size[0] * size[1]), "size")


@test
def unwritable():
    """a file that cannot be written is an error"""
    path = "/nonexistent/folder/picture.png"
    done = run("mandelbrot", "--width", "8", "--height", "8", "--output", path, expect=1)
    check(path in done.stderr.decode(), f"stderr: {done.stderr.decode()}")
