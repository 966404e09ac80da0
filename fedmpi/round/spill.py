"""Bytes that wait on the node's disk, in one file without a name, which ends with the process.

However the process ends: the system gives the room back, and nothing is left to be found.
"""

import tempfile
import weakref

from fedmpi.errors import FedmpiError


class Spill:
    """Bytes by key, in a nameless file in `folder` (default: the system's temporary folder).

    Room that is given back is used again for values of about the same size, so the file is
    at most a quarter larger than what it has held at one time of each such size.
    """

    def __init__(self, folder=None):
        self._folder, self._file, self._end = folder, None, 0
        self._places = {}  # key -> (place, length)
        self._free = {}  # room -> the places where so many bytes are free

    def __contains__(self, key):
        return key in self._places

    def __iter__(self):
        return iter(self._places)

    def put(self, key, data):
        """Write the bytes of a key that is not there. Raises FedmpiError if the disk is full."""
        room = _room(len(data))
        free = self._free.get(room)
        place = free.pop() if free else self._end
        self._end = max(self._end, place + room)
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            self._file.seek(place)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            folder = self._folder or tempfile.gettempdir()
            raise FedmpiError(
                f"{folder}: cannot take {len(data):,} bytes more of what clients remember "
                f"({error.strerror}); set TMPDIR to a larger disk of the node's own"
            ) from error
        self._places[key] = place, len(data)

    def get(self, key):
        """Return the bytes of a key; they stay."""
        place, length = self._places[key]
        self._file.seek(place)
        return self._file.read(length)

    def pop(self, key):
        """Return the bytes of a key, and give back their room."""
        data = self.get(key)
        place, length = self._places.pop(key)
        self._free.setdefault(_room(length), []).append(place)
        return data


def _room(size):
    """Return the bytes set aside for `size`: rounded up to three significant binary digits."""
    shift = max(size.bit_length() - 3, 0)
    return -(-size >> shift) << shift
