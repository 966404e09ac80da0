"""What fedmpi reads, each as a function folder -> case(random): make a damaged input and read it.

A case returns if the input was read, and then what was read must make sense; it raises a
FedmpiError if it was refused. Everything else is a fault. Files lie in `folder`, in memory.
"""

import gzip
import io
import json
import struct
import zipfile
import zlib

import numpy as np

from fedmpi.experiment import device_files, resolve
from fedmpi.record import checkpoint
from fedmpi.round import memories
from tests.fuzz.mutate import damaged, damaged_text
from tests.fuzz.texts import CONFIG, DEVICE_FILES, PLAY, SPEECHES, SWEEP, WORDS
from tests.fuzz.verbs import shown


def configuration(folder):
    """TOML text, read and resolved as `fedmpi check` does, with one --set in half of the cases."""
    keys = [line.split(" =")[0] for line in CONFIG.splitlines() if " = " in line]
    sections = ["run", "data", "clients", "model", "server", "devices", "algorithm", "nil", ""]

    def case(random):
        text = damaged_text(random, CONFIG, WORDS) if random.random() < 0.8 else CONFIG
        overrides = []
        if random.random() < 0.5:
            key = f"{random.choice(sections)}.{random.choice(keys)}"
            overrides = [damaged_text(random, f"{key}={random.choice(WORDS)}", WORDS)]
        found = resolve.resolve(text, "fuzzed.toml", overrides)
        json.dumps(found.values())
        if not 1 <= found.config.clients.cohort <= found.config.clients.number:
            raise RuntimeError("a cohort that cannot be")

    return case


def devices(folder):
    """The files of [devices]: populations, traces in three formats, links and carbon over time."""
    from fedmpi.config import read

    def case(random):
        key, text = random.choice(DEVICE_FILES)
        found = device_files.READERS[key](damaged_text(random, text, WORDS), "fuzzed")
        if key != "profile":
            held = f"{device_files.HELD[key]} = {json.dumps(found)}"
            read(f"[devices]\n{held}", "fuzzed.toml")
            return
        for device in found:
            if not (0 < device.gflop_s < float("inf") and (device.dropout or 0) < 1):
                raise RuntimeError("a device that cannot be")

    return case


def sweep(folder):
    """TOML text of a sweep, whose points become names of files."""
    from fedmpi.scheduler import sweep as reader

    def case(random):
        path = folder / "sweep.toml"
        path.write_text(damaged_text(random, SWEEP, WORDS), "utf-8")
        points = reader.read(path).points
        names = {point.file for point in points}
        for name in names:
            if (folder / name).resolve().parent != folder.resolve() or not name.isprintable():
                raise RuntimeError(f"a result at {name!r}")
        if len(names) < len(points) or len(reader.table(points)) > 1 << 24:
            raise RuntimeError("points that share a file, or a table too long")

    return case


def idx(folder):
    """IDX files, plain and gzip, of several types and shapes."""
    from fedmpi.learn.data import idx as reader

    whole = []
    for code, kind in reader.TYPES.items():
        for shape in ((7,), (3, 4, 5)):
            values = np.arange(np.prod(shape)).reshape(shape).astype(kind)
            header = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
            whole.append(header + values.tobytes())
    packed = [gzip.compress(data) for data in whole]

    def case(random):
        if random.random() < 0.4:
            data = damaged(random, random.choice(packed), 20)
        else:
            data = damaged(random, random.choice(whole), 16)
            data = gzip.compress(data, 1) if random.random() < 0.3 else data
        path = folder / "a.idx"
        path.write_bytes(data)
        shape = random.choice([None, (None,), (3, 4, 5), (None, None, None)])
        found = reader.read(path, shape, random.choice([None, "uint8", "int32"]))
        if found.nbytes > 1 << 20:
            raise RuntimeError(f"{found.nbytes} bytes out of {len(data)}")

    return case


def cifar(folder):
    """CIFAR-10 batches, which are pickles; of ten images in the place of ten thousand."""
    from fedmpi.learn.data import cifar as reader

    reader._IMAGES = 10
    pairs = b"".join(b"K" + bytes([i % 10]) for i in range(1000))
    labels = reader._LABEL_MARK + (b"(" + pairs + b"e") * 10
    start = b"\x80\x02}q\x01(U\x04dataq\x02cnumpy\n_reconstruct\n" + reader._PIXEL_MARK
    whole = start + bytes(10 * 3072) + labels + b"."
    bomb = b"\x80\x02cos\nsystem\nX\x05\x00\x00\x00touchR"

    def case(random):
        data = bytearray(whole)
        if random.random() < 0.5:  # near the marks, where it matters
            place = random.choice((0, len(start) + 30720 - 4))
            data[place : place + 90] = damaged(random, data[place : place + 90])
        else:
            data = bytearray(damaged(random, data))
        if random.random() < 0.1:
            data[:0] = bomb
        path = folder / "data_batch_1"
        path.write_bytes(data)
        x, y = reader.read_batch(path)
        if x.shape != (10, 3, 32, 32) or y.shape != (10_000,) or y.max() > 9:
            raise RuntimeError(f"{x.shape}, {y.shape}")

    return case


def text(folder):
    """A Moby play in HTML, and tinyshakespeare."""
    from fedmpi.learn.data import shakespeare as reader

    words = ["", "<A NAME=speech9><b>", "</b></a>", "<", ">", "\n", "\n\n", ":\n", ":", "é", "\0",
             "<A NAME=1.1.9>", "</A><br>", "a" * 200, "<A NAME=" * 50]

    def case(random):
        html = random.random() < 0.5
        path = folder / "play.html"
        damage = damaged_text(random, PLAY if html else SPEECHES, words)
        path.write_bytes(damaged(random, damage.encode("latin-1", "replace")))
        roles = reader.read_play(path) if html else reader.read_speakers(path)
        x, y, groups = reader._samples([*roles.values(), "x" * 100], 1)
        if x.max() >= len(reader.ALPHABET) or groups.max() > len(roles) or len(x) != len(y):
            raise RuntimeError("samples that cannot be")

    return case


def npz(folder):
    """Own data in .npz files, whose members are damaged before or after they are packed."""
    from fedmpi.learn.data import own_files

    x, y = np.zeros((4, 2), np.float32), np.arange(4)
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    members = {}
    for name, array in arrays.items():
        np.save(buffer := io.BytesIO(), array)
        members[f"{name}.npy"] = buffer.getvalue()

    def case(random):
        packing = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        victim = random.choice([None, *members])
        with zipfile.ZipFile(buffer := io.BytesIO(), "w", packing) as file:
            for name, data in members.items():
                file.writestr(name, damaged(random, data, 128) if name == victim else data)
        data = buffer.getvalue()
        path = folder / "mine.npz"
        path.write_bytes(data if victim else damaged(random, data))
        found = own_files.from_npz(path, "features", 4)
        if found.x_train.nbytes > 1 << 20 or found.y_train.max() > 3:
            raise RuntimeError("a data set that cannot be")

    return case


def result(folder):
    """Result files: everything that a Run offers is read, and no value is another."""
    from tests.record import sample
    from tests.record.test_hostile import everything

    whole = sample.write(folder / "good.h5").read_bytes()
    values = repr(everything(folder / "good.h5"))  # NaN equals itself there
    path = folder / "bad.h5"

    def case(random):
        path.write_bytes(damaged(random, whole, 20_000 if random.random() < 0.5 else 0))
        if repr(everything(path)) != values:
            raise RuntimeError("a value that was changed")

    return case


def kept(folder):
    """Checkpoints: damaged as they lie, or with an index that was changed and sealed again.

    Of the first, none is read with another value.
    """
    path = folder / "a.checkpoint"
    facts = {"run": "now", "next_round": 3, "virtual_time": 1.5, "wall_time": 0.5}
    with checkpoint.writing(path, facts) as put:
        put.array("weights", np.arange(1000, dtype=np.float32))
        put.array("mask", np.zeros((3, 4), np.uint8))
        put.column("rounds/round", np.arange(3))
        for client in (2, 30):
            put.client(client, memories.pack({"head": np.ones(5, np.float32)}))
    whole = path.read_bytes()
    place, length, _ = checkpoint.TRAILER.unpack(whole[-checkpoint.TRAILER.size :])
    index = whole[place : place + length].decode()
    words = ["", "[", "]", "{", "}", '"', ",", "0", "-1", "9" * 20, "1e400", "null", "<f4", "|O",
             "<U9", "[" * 5000, "true", "V8", ": [0, 4000, 0]", "NaN", "9" * 5000]

    def values(found):
        columns = {name: found.column(name).tolist() for name in found.columns}
        arrays = {name: array.tolist() for name, array in found.arrays.items()}
        return found.facts, columns, arrays, {c: found.client(c) for c in found.clients}

    good = values(checkpoint.read(path))

    def case(random):
        data, sealed = damaged(random, whole), random.random() < 0.6
        if sealed:
            new = damaged_text(random, index, words).encode("utf-8", "replace")
            trailer = checkpoint.TRAILER.pack(place, len(new), zlib.crc32(new))
            data = whole[:place] + new + trailer
        path.write_bytes(data)
        found = checkpoint.read(path)
        for client in found.clients:
            memories.unpack(found.client(client))
        read = [*found.arrays.values(), *map(found.column, found.columns)]
        if sum(array.nbytes for array in read) > len(data):
            raise RuntimeError("more arrays than file")
        if not sealed and values(found) != good:
            raise RuntimeError("a value that was changed")

    return case


def memory(folder):
    """Clients' memories, in the form in which they travel and are stored in checkpoints."""
    whole = memories.pack({"head": np.ones(50, np.float32), "rows": np.zeros((2, 0, 3), bool)})

    def case(random):
        data = damaged(random, whole, 90)
        if sum(a.nbytes for a in memories.unpack(data).values()) > len(data):
            raise RuntimeError("more arrays than bytes")

    return case


def message(folder):
    """Encoded messages; most are sealed again, so that the checks behind the checksum are met."""
    from fedmpi.comm import codec
    from fedmpi.layout import Support
    from tests.comm import fuzz_codec

    fuzz_codec.fuzz(200, 0)  # compiles the kernels, before memory is limited
    layout, good = fuzz_codec.LAYOUT, fuzz_codec.messages(np.random.default_rng(7))

    def case(random):
        rng = np.random.default_rng(random.getrandbits(60))
        data = fuzz_codec.damage(rng, random.choice(good))
        known = Support(layout, "coordinate", np.ones(layout.size, np.uint8))
        values, support = codec.decode(data, layout, known=known)
        codec.weights(data)
        outside = values.view(np.uint32)[support.mask() == 0]
        if support.keep.max(initial=0) > 1 or outside.any() or values.shape != (layout.size,):
            raise RuntimeError("a support or values that cannot be")

    return case


FORMATS = {
    f.__name__: f
    for f in (configuration, devices, sweep, idx, cifar, text, npz, result, shown, kept, memory,
              message)
}
