"""A page read as a browser would, by the standard library: tags, attributes, text, and tables by their caption."""

from html.parser import HTMLParser

_VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """tags: (name, attributes) in order; scripts, styles: their contents; text: all other text."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.tags, self.scripts, self.styles, self.text = [], [], [], []
        self.tables, self._inside, self._row, self._cell = {}, [], None, None
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in _VOID:
            self._inside.append(tag)
        if tag == "div" and attributes.get("aria-label", "").startswith("Table: "):
            self._name = attributes["aria-label"].removeprefix("Table: ")
        elif tag == "table":
            self.tables.setdefault(self._name, [])
        elif tag == "tr":
            self._row = []
        elif tag in ("td", "th"):
            self._cell = ""

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()
        if tag in ("td", "th"):
            self._row.append(self._cell)
            self._cell = None
        elif tag == "tr":
            self.tables[self._name].append(tuple(self._row))

    def handle_data(self, data):
        where = self._inside[-1] if self._inside else ""
        {"script": self.scripts, "style": self.styles}.get(where, self.text).append(data)
        if self._cell is not None:
            self._cell += data

    def words(self):
        return " ".join(" ".join(self.text).split())

    def elements(self, tag, kind=None):
        return [
            own for name, own in self.tags if name == tag and (kind is None or kind in own.get("class", "").split())
        ]
