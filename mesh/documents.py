"""YAML and JSON documents, and the file and line each came from.

A file is first cut into its documents, so that a document whose text is known is not parsed again
wherever it has moved, and equal text is the same value (DESIGN D1). Each is then read event by
event: no node tree, no recursion, bounded depth and bounded expansion of aliases, whoever wrote it.

Scalars mean what they mean to Kubernetes (``sigs.k8s.io/yaml``): YAML 1.1's booleans, but no dates
and no sexagesimal numbers. JSON is read as the YAML that it nearly is. What a document says is not
judged here.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar

import yaml
from yaml._yaml import CParser

from mesh.names import ObjectKey
from mesh.places import Lines, Path, Place, Table
from mesh.problems import Problem, Where

# A hundred times any hand-written file; as YAML it becomes some fifty times as much in memory.
FILE_BYTES_MAX: Final = 8 * 1024 * 1024
DOCUMENTS_MAX: Final = 20_000  # in one file
DEPTH_MAX: Final = 64
# Far above any real document, far below what a "billion laughs" expands to.
NODES_MAX: Final = 1_000_000
ALIASED_NODES_MAX: Final = 50_000

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Remembered(Generic[K, T]):
    """Values by what they were made from, one generation deep. Owned by the task that reads."""

    def __init__(self) -> None:
        self._values: dict[K, T] = {}
        self._used: set[K] = set()

    def get(self, key: K) -> T | None:
        self._used.add(key)
        return self._values.get(key)

    def keep(self, key: K, value: T) -> T:
        self._used.add(key)
        self._values[key] = value
        return value

    def drop_unused(self) -> None:
        """Forget what was not asked for since the last call."""
        self._values = {key: self._values[key] for key in self._used if key in self._values}
        self._used = set()

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One object as written: a mapping, and where it starts (lines from 1)."""

    file: str
    line: int
    data: Mapping[str, Any]
    digest: bytes
    lines: Lines

    def place(self, key: ObjectKey | None = None) -> Place:
        return Place(file=self.file, line=self.line, lines=self.lines, object=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """What keeps a document from being read; the line is relative to its text."""

    code: str
    line: int
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One object within a document's text: the document itself, or an item of a List."""

    inside: Path
    line: int
    data: Mapping[str, Any]
    digest: bytes
    lines: Lines


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one document's text holds, wherever it stands."""

    items: tuple[Item, ...] = ()
    flaws: tuple[Flaw, ...] = ()


DocumentCache = Remembered[bytes, Parsed]


def parse_file(
    file: str, content: bytes, cache: DocumentCache | None = None
) -> tuple[tuple[Document, ...], tuple[Problem, ...]]:
    """Every document of a file, and what is wrong with those that cannot be read.

    :param cache: what earlier calls have parsed; unchanged documents share their ``data``.
    """
    known = cache if cache is not None else DocumentCache()
    if len(content) > FILE_BYTES_MAX:
        message = f"the file has {len(content)} bytes, more than {FILE_BYTES_MAX}"
        return (), (_flawed(file, 0, Flaw(code="MW0001", line=0, message=message, hint="split it")),)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n")
        flaw = Flaw(
            code="MW0001", line=line, message=f"not UTF-8 at byte {error.start}", hint="save as UTF-8"
        )
        return (), (_flawed(file, 1, flaw),)
    if file.endswith(".json"):
        text = _SURROGATES.sub(_one_escape, text)
    documents: list[Document] = []
    problems: list[Problem] = []
    for number, (start, chunk) in enumerate(_chunks(text)):
        if number >= DOCUMENTS_MAX:
            message = f"more than {DOCUMENTS_MAX} documents in one file"
            problems.append(
                _flawed(file, start, Flaw(code="MW0001", line=0, message=message, hint="split it"))
            )
            break
        digest = _digest(chunk)
        parsed = known.get(digest) or known.keep(digest, _parse(chunk))
        documents += (
            Document(file=file, line=start + item.line, data=item.data, digest=item.digest, lines=item.lines)
            for item in parsed.items
        )
        problems += (_flawed(file, start, flaw) for flaw in parsed.flaws)
    return tuple(documents), tuple(problems)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _flawed(file: str, start: int, flaw: Flaw) -> Problem:
    where = Where(file=file, line=start + flaw.line)
    return Problem(code=flaw.code, where=where, message=flaw.message, hint=flaw.hint)


# A marker at the start of a line ends a document even within a block scalar (YAML 1.2, 9.1.2),
# so cutting there before parsing is exact.
_MARKER = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_BLANK = re.compile(r"(?:[ \t\r]*(?:#[^\n]*|%[^\n]*)?(?:\n|\Z))*")


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Each document's own text and its first line (from 1), without blank lines before it."""
    for line, start, end in _cuts(text):
        yield line, text[start:end]


def _cuts(text: str) -> Iterator[tuple[int, int, int]]:
    """The first line of each document's own text, and from where to where it goes."""
    line, start = 1, 0
    for end, following in [
        *((found.start(), found.end()) for found in _MARKER.finditer(text)),
        (len(text),) * 2,
    ]:
        chunk = text[start:end]
        blank = _BLANK.match(chunk)
        skipped = blank.end() if blank else 0
        # Only whole lines are skipped: indentation is part of what follows.
        skipped = chunk.rfind("\n", 0, skipped) + 1 if skipped < len(chunk) else skipped
        if skipped < len(chunk):
            yield line + chunk.count("\n", 0, skipped), start + skipped, end
        line += text.count("\n", start, following)
        start = following


# JSON writes characters outside the basic plane as two escapes, YAML as one. An escaped backslash
# before a `u` is taken along first, so that it cannot be misread.
_SURROGATES = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def _one_escape(pair: re.Match[str]) -> str:
    if pair[1] is None:
        return pair[0]
    high, low = int(pair[1], 16), int(pair[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _parse(text: str) -> Parsed:
    reader = _Reader(text)
    try:
        data = reader.read()
    except _Unreadable as error:
        if error.quoted is not None:
            return _parse(error.quoted)
        return Parsed(flaws=(*reader.flaws, error.flaw))
    flaws = tuple(reader.flaws)
    if data is None:
        return Parsed(flaws=flaws)
    if not isinstance(data, dict):
        found = "a list" if isinstance(data, list) else "a single value"
        message = f"expected an object (a mapping), found {found}"
        return Parsed(flaws=(*flaws, Flaw(code="MW0001", line=0, message=message)))
    if data.get("kind") == "List" and isinstance(data.get("items"), list):
        items, broken = _items(data["items"], text)
        return Parsed(items, (*flaws, *broken))
    return Parsed((Item((), 0, data, _digest(text), Lines(text, trace)),), flaws)


def _items(listed: list[Any], text: str) -> tuple[tuple[Item, ...], tuple[Flaw, ...]]:
    items: list[Item] = []
    flaws: list[Flaw] = []
    table = trace(text)
    for index, data in enumerate(listed):
        inside: Path = ("items", index)
        line = table.line(inside)
        if isinstance(data, dict):
            # The value, not its place in the list, so that an unchanged item stays the same.
            own = _digest(f"item {data!r}")
            items.append(Item(inside, line, data, own, Lines(text, trace, inside)))
        else:
            message = f"expected items[{index}] to be an object (a mapping)"
            flaws.append(Flaw(code="MW0001", line=line, message=message))
    return tuple(items), tuple(flaws)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One document as it stands in its file: what is written before it, its own text, and its first line."""

    before: str
    text: str
    line: int


def pieces(text: str) -> Iterator[Piece]:
    """The documents of a file, for who passes some of them on untouched: put together, they are the file.

    What follows the last document comes as a piece without a text.
    """
    at = 0
    for line, start, end in _cuts(text):
        yield Piece(before=text[at:start], text=text[start:end], line=line)
        at = end
    if at < len(text):
        yield Piece(before=text[at:], text="", line=1 + text.count("\n", 0, at))


def value(text: str) -> Any:
    """What one document's text says, a List with its items; the text is known to be readable."""
    try:
        return _Reader(text).read()
    except _Unreadable as error:
        if error.quoted is None:
            raise
        return value(error.quoted)


def dump(written: Mapping[str, Any]) -> str:
    """A document as YAML: keys in their own order, nothing shared, and read again as the same value."""
    text = yaml.dump(written, Dumper=_Plain, sort_keys=False, width=110, allow_unicode=True)
    return str(text)


class _Plain(yaml.SafeDumper):
    """YAML as people write it for Kubernetes."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the base class asks so)
        return True


def _represented(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Quoted wherever Kubernetes would take it for something else than text; several lines as a block."""
    style = "|" if "\n" in text else None
    # `y` and `n` are words of YAML 1.1 that some readers know.
    if plain_scalar(text) != text or text.lower() in {"y", "n"}:
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Plain.add_representer(str, _represented)


def trace(text: str) -> Table:
    """The table of lines of one document's text, which is known to be readable."""
    reader = _Reader(text, Table())
    reader.read()
    return reader.table or Table()


# Two colons before a bracket end an IPv6 address (`[2001:db8::]`), which Go's YAML takes and
# libyaml does not.
_IPV6 = re.compile(r"[0-9A-Fa-f:]*::(?=[ \t]*[,\]}])")
_ADDRESSES_MAX: Final = 100


def _quoted_address(text: str, error: yaml.MarkedYAMLError) -> str | None:
    if error.problem != "found unexpected ':'" or error.context_mark is None:
        return None
    start = error.context_mark.index
    found = _IPV6.match(text, start)
    if found is None or text.count('::"') > _ADDRESSES_MAX:
        return None
    return f'{text[:start]}"{found[0]}"{text[found.end() :]}'


class _Unreadable(Exception):
    """Leaves the reader with what is wrong; never leaves this module."""

    def __init__(self, code: str, line: int, message: str, hint: str = "", quoted: str | None = None) -> None:
        super().__init__(message)
        self.flaw = Flaw(code=code, line=line, message=message, hint=hint)
        # The same text with quotes where Go's YAML needs none and libyaml does.
        self.quoted = quoted


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that is being read."""

    value: Any
    node: int
    line: int
    anchor: str | None
    before: int
    key: str | None = None
    key_line: int = 0
    merges: list[tuple[Any, int]] = field(default_factory=list)


# No key of a document can be this one: YAML has no NUL.
_MERGE: Final = "\0<<"


def _line(event: yaml.Event) -> int:
    return event.start_mark.line if event.start_mark is not None else 0


class _Reader:
    """One document's text, event by event, into a plain value and, if asked, a table of lines."""

    def __init__(self, text: str, table: Table | None = None) -> None:
        self.table = table
        self.flaws: list[Flaw] = []
        self._text = text
        self._root: Any = None
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._nodes = 0
        self._aliased = 0

    def read(self) -> Any:
        """The value; ``None`` when the document is empty.

        :raises _Unreadable: when it is no YAML, or too deep or too large to be a document of ours.
        """
        parser = CParser(self._text)
        try:
            while not isinstance(event := parser.get_event(), yaml.StreamEndEvent):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = error.problem or error.context or "no reason given"
            # What is missing at the end is reported on the last line, not below it.
            line = min(mark.line if mark else 0, self._text.rstrip().count("\n"))
            quoted, hint = _quoted_address(self._text, error), self._hint(line)
            raise _Unreadable("MW0001", line, f"not readable as YAML: {what}", hint, quoted) from None
        except yaml.reader.ReaderError as error:
            line = self._text.encode()[: error.position].count(b"\n")
            raise _Unreadable("MW0001", line, f"not readable as YAML: {error.reason}") from None
        return self._root

    def _hint(self, line: int) -> str:
        """What people most often take for YAML, and is not."""
        text = "".join(self._text.splitlines()[line : line + 1])
        if "\t" in text[: len(text) - len(text.lstrip())]:
            return "indent with spaces"
        # An action of a template spoils a line below its own as well.
        if "{{" in self._text:
            return "this looks like a template: commit what it renders to, or exclude it in the paths of Mesh"
        return ""

    def _take(self, event: yaml.Event | None) -> None:
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._begin({}, event)
            case yaml.SequenceStartEvent():
                self._begin([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end()
            case yaml.AliasEvent():
                self._alias(event)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        line = _line(event)
        plain = event.implicit[0] and event.tag is None
        if self._open and self._open[-1].key is None and isinstance(self._open[-1].value, dict):
            self._key(event.value, line, plain=plain)
            return
        value = plain_scalar(event.value) if plain else self._tagged(event)
        self._count(1, line)
        node = self.table.node(line) if self.table is not None else 0
        if event.anchor is not None:
            self._anchors[event.anchor] = value, node, 1
        self._attach(value, node, line)

    def _tagged(self, event: yaml.ScalarEvent) -> Any:
        match event.tag:
            case None | "!" | "tag:yaml.org,2002:str":
                return event.value
            case "tag:yaml.org,2002:null" | "tag:yaml.org,2002:bool" | "tag:yaml.org,2002:int":
                return plain_scalar(event.value)
            case "tag:yaml.org,2002:float":
                value = plain_scalar(event.value)
                return float(value) if isinstance(value, int) else value
            case tag:
                line = _line(event)
                raise _Unreadable(
                    "MW0001", line, f"the tag {tag!r} has no meaning here", "write a plain value"
                )

    def _key(self, text: str, line: int, *, plain: bool) -> None:
        top = self._open[-1]
        if plain and text == "<<":
            key = _MERGE
        elif plain and isinstance(word := plain_scalar(text), bool):
            # As Kubernetes does when it makes JSON of it.
            key = "true" if word else "false"
        else:
            key = text
        if key in top.value:
            self.flaws.append(Flaw(code="MW0002", line=line, message=f"the key {text!r} appears twice"))
        top.key, top.key_line = key, line

    def _begin(self, value: Any, event: yaml.CollectionStartEvent) -> None:
        line = _line(event)
        if self._open and self._open[-1].key is None and isinstance(self._open[-1].value, dict):
            message = "a key must be text, found a mapping or a list"
            raise _Unreadable("MW0001", line, message, self._hint(line))
        if event.tag not in {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            raise _Unreadable(
                "MW0001", line, f"the tag {event.tag!r} has no meaning here", "write a plain value"
            )
        if len(self._open) >= DEPTH_MAX:
            raise _Unreadable(
                "MW0001", line, f"nested deeper than {DEPTH_MAX} levels", "flatten the document"
            )
        self._count(1, line)
        node = self.table.node(line) if self.table is not None else 0
        self._open.append(_Open(value, node, line, event.anchor, self._nodes))

    def _end(self) -> None:
        done = self._open.pop()
        for merged, node in done.merges:
            for key, value in merged.items():
                done.value.setdefault(key, value)
            if self.table is not None:
                self.table.merge(done.node, node)
        if done.anchor is not None:
            self._anchors[done.anchor] = done.value, done.node, 1 + self._nodes - done.before
        self._attach(done.value, done.node, done.line)

    def _alias(self, event: yaml.AliasEvent) -> None:
        line = _line(event)
        if event.anchor not in self._anchors:
            raise _Unreadable("MW0001", line, f"no anchor named {event.anchor!r} comes before this alias")
        value, node, nodes = self._anchors[event.anchor]
        self._aliased += nodes
        if self._aliased > ALIASED_NODES_MAX:
            message = f"aliases expand to more than {ALIASED_NODES_MAX} values"
            raise _Unreadable("MW0001", line, message, "write the document out, or split it")
        self._count(nodes, line)
        if self._open and self._open[-1].key is None and isinstance(self._open[-1].value, dict):
            if not isinstance(value, str):
                raise _Unreadable("MW0001", line, "a key must be text, found an alias of something else")
            self._key(value, line, plain=False)
            return
        self._attach(value, node, line)

    def _count(self, nodes: int, line: int) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            raise _Unreadable("MW0001", line, f"more than {NODES_MAX} values in one document", "split it")

    def _attach(self, value: Any, node: int, line: int) -> None:
        if not self._open:
            self._root = value
            return
        top = self._open[-1]
        if isinstance(top.value, list):
            if self.table is not None:
                self.table.child(top.node, len(top.value), node, line)
            top.value.append(value)
            return
        key, top.key = top.key, None
        if key == _MERGE:
            self._merge(top, value, node, line)
        elif key is not None and key not in top.value:
            # The first of two equal keys stays; the second has been reported.
            top.value[key] = value
            if self.table is not None:
                self.table.child(top.node, key, node, top.key_line)

    def _merge(self, top: _Open, value: Any, node: int, line: int) -> None:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise _Unreadable("MW0001", line, "'<<' takes a mapping or a list of mappings")
        top.merges += ((source, node) for source in sources)


_WORDS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **{
        spelling: meaning
        for word, meaning in (("true", True), ("yes", True), ("on", True))
        for spelling in (word, word.title(), word.upper())
    },
    **{
        spelling: meaning
        for word, meaning in (("false", False), ("no", False), ("off", False))
        for spelling in (word, word.title(), word.upper())
    },
}
_INTEGER = re.compile(r"[-+]?(?:0[bB][01_]+|0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]*|[1-9][0-9_]*)")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INT64_DIGITS: Final = 18


def plain_scalar(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means: Go's ``yaml.v2``, which Kubernetes reads with."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text) and len(text) <= _INT64_DIGITS:
        digits = text.replace("_", "")
        # `0777` is octal in YAML 1.1 and an error in Python.
        octal = re.sub(r"^([-+]?)0(?=[0-7])", r"\g<1>0o", digits)
        try:
            return int(octal, 0)
        except ValueError:
            return text
    return float(text) if _DECIMAL.fullmatch(text) else text
