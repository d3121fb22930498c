"""A report as a parser of HTML reads it."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input", "path", "use", "image", "rect", "circle", "line", "polygon"}
ADDRESSES = {"href", "src", "srcset", "action", "data", "poster", "xlink:href", "background", "content"}


class Page(HTMLParser):
    """What is in a page: identifiers, addresses, facts, texts, and whether its elements nest.

    Args:
        text: The page.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.ids, self.addresses, self.tags = text, [], [], []
        self.facts: dict[str, list[tuple[float, str]]] = {}
        self.sections: dict[str, str] = {}
        self._open: list[str] = []
        self._section, self._fact = "", None
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        assert len(named) == len(attributes), (tag, attributes)
        self.tags.append((tag, named))
        if "id" in named:
            self.ids.append(named["id"])
        self.addresses += [(tag, name, value) for name, value in attributes if name in ADDRESSES and tag != "meta"]
        if tag == "section":
            self._section = named["id"]
        if tag == "data":
            self._fact = (named["data-fact"], float(named["value"]))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self._open, tag
        assert self._open.pop() == tag, (tag, self._open)
        if tag == "section":
            self._section = ""
        if tag == "data":
            self._fact = None

    def handle_data(self, data):
        self.sections[self._section] = self.sections.get(self._section, "") + data
        if self._fact:
            name, value = self._fact
            self.facts.setdefault(name, []).append((value, data))

    def values(self, name):
        """All values of a fact, in the order of the page."""
        return [value for value, _ in self.facts.get(name, [])]
