"""A parsed page of HTML: its tables by their captions, its elements, and its faults."""

from html.parser import HTMLParser

VOID = {"meta", "br", "col", "input"}


class Page(HTMLParser):
    """The parsed page; raises AssertionError where an element is not closed in its place."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.text, self.elements, self.shown = text, [], []
        self.tables, self.sources = {}, {"script": "", "style": ""}
        self._open, self._rows, self._caption = [], None, ""
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, name, attributes):
        """Note an element; cells and captions begin empty."""
        names = [key for key, _ in attributes]
        assert len(set(names)) == len(names), (name, names)
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self._open.append(name)
        if name == "table":
            self._rows, self._caption = [], ""
        elif name == "tr":
            self._rows.append([])
        elif name in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, name, attributes):
        """Note an element without content."""
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        """Close the element that is open; a table is kept by its caption."""
        assert self._open.pop() == name
        if name == "table":
            self.tables[self._caption] = self._rows
            assert len({len(row) for row in self._rows}) == 1, self._caption
            self._rows = None

    def handle_data(self, data):
        """Give text to the cell, the caption, the script or the style that it stands in."""
        last = self._open[-1] if self._open else ""
        if last in self.sources:
            self.sources[last] += data
            return
        self.shown.append(data)
        if "caption" in self._open:
            self._caption += data
        elif self._rows and self._rows[-1] and {"td", "th"} & set(self._open):
            self._rows[-1][-1] += " " * (last == "small") + data

    def table(self, start):
        """Return the rows of the one table whose caption begins with `start`, as dicts."""
        (rows,) = [rows for caption, rows in self.tables.items() if caption.startswith(start)]
        head, *body = [[" ".join(cell.split()) for cell in row] for row in rows]
        return [dict(zip(head, row, strict=True)) for row in body]

    def all(self, name):
        """Return the attributes of all elements `name`."""
        return [attributes for found, attributes in self.elements if found == name]
