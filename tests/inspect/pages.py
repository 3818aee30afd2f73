"""Reads pages with the parser of the standard library, as a witness that they are what they should be."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "wbr", "br", "col", "link", "img", "input", "hr"}
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "details", "summary"),
    *("h1", "h2", "h3", "p", "div", "span", "code", "mark", "wbr", "small", "ul", "li", "dl", "dt", "dd"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
LOADING = {"src", "href", "srcset", "action", "background", "poster", "data", "formaction"}


class Page(HTMLParser):
    """Checks that tags balance while it reads; keeps the elements, their attributes and the text."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts, self.marked = [], [], [], []
        self.feed(source)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        assert tag in ELEMENTS, f"unexpected <{tag}>"
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)
            if "mark" in self.open:
                self.marked.append(data)

    @property
    def text(self):
        return "".join(self.texts)

    def classes(self, word):
        """The elements of a class."""
        return [attributes for _, attributes in self.elements if word in (attributes.get("class") or "").split()]


def checked(source):
    """The page, after checks that every page must pass: well formed, self-contained, without anything that runs."""
    page = Page(source)
    lower = source.lower()
    assert source.startswith("<!doctype html>")
    assert "http://" not in lower
    assert "https://" not in lower
    assert "@import" not in lower
    assert "url(" not in lower
    assert "<script" not in lower
    for _, attributes in page.elements:
        assert not LOADING & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    return page
