"""Damage to bytes: small changes of the kinds that find faults in readers."""

ODD_BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
ODD_NUMBERS = (0, 1, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)


def flip(random, data):
    """Flip one bit."""
    place = random.randrange(len(data))
    data[place] ^= 1 << random.randrange(8)


def odd_byte(random, data):
    """Set one byte to a value at the edge of its range."""
    data[random.randrange(len(data))] = random.choice(ODD_BYTES)


def odd_number(random, data):
    """Set 2, 4 or 8 bytes to a number at the edge of a range, in either byte order."""
    size = random.choice((2, 4, 8))
    place = random.randrange(len(data))
    number = random.choice(ODD_NUMBERS) % (1 << 8 * size)
    data[place : place + size] = number.to_bytes(size, random.choice(("little", "big")))


def drop(random, data):
    """Remove some bytes."""
    place = random.randrange(len(data))
    del data[place : place + random.choice((1, 4, 8, 100, len(data)))]


def insert(random, data):
    """Insert some bytes: random ones, or many times the same."""
    place = random.randrange(len(data))
    size = random.choice((1, 4, 8, 100))
    new = random.randbytes(size) if random.random() < 0.5 else bytes([data[place]]) * size
    data[place:place] = new


def double(random, data):
    """Copy a piece to another place, over the bytes there or between them."""
    start, place = random.randrange(len(data)), random.randrange(len(data))
    piece = data[start : start + random.choice((4, 16, 64, 1000))]
    end = place + (len(piece) if random.random() < 0.5 else 0)
    data[place:end] = piece


CHANGES = (flip, odd_byte, odd_number, drop, insert, double)


def damaged(random, data, first=0):
    """Return a copy of `data` with one to four changes, most of them in its first bytes.

    `first` is how many these are, 0 for all alike.
    """
    data = bytearray(data)
    for _ in range(random.randint(1, 4)):
        if not data:
            break
        if first and random.random() < 0.7:
            head = data[:first]
            random.choice(CHANGES)(random, head)
            data[:first] = head
        else:
            random.choice(CHANGES)(random, data)
    return bytes(data)


def damaged_text(random, text, words):
    """Return `text` with one to four of its words or characters replaced, moved or removed."""
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(text) + 1)
        end = place + random.choice((0, 0, 1, 3, 20))
        text = text[:place] + random.choice(words) + text[end:]
    return text
