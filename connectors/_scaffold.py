"""The beginnings of a connector.  In: a name.  Out: files to fill in, whose tests fail until that is done.

``tandem connector new`` is this.  The texts are in ``_templates``; the way on is docs/add-a-connector.md.
"""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_TAKEN = frozenset({"contract"})  # modules of ``connectors`` that are no vendor
_LONGEST = 30

FILES = {  # template -> where it goes
    "connector.py": "connectors/{name}.py",
    "mapping.yaml": "mappings/{name}.yaml",
    "sandbox.py": "sandbox/{name}.py",
    "example.py": "tests/examples/{name}.py",
}
SUITE = Path("tests", "test_conformance.py")

_IMPORT = re.compile(r"^(?:from|import) ((?:connectors|tests)\S*).*\n", re.MULTILINE)
_LINE = re.compile(r"^Test\w+ = conformance\(.*\n", re.MULTILINE)


def scaffold(name: str, root: Path) -> list[Path]:
    """Write the files of a new connector and enter it in the suite; the paths that were written.

    ``root``: the directory that holds ``connectors`` and ``tests``.  Raises ValueError for a name that cannot be one,
    FileExistsError where one of the files is there; then nothing is written.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise ValueError(
            f"{name!r} cannot be a connector's name: lower-case letters, digits and single underscores, beginning with "
            f"a letter, at most {_LONGEST} characters, such as 'acme' or 'acme_crm'"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in _TAKEN:
        raise ValueError(f"{name!r} cannot be a connector's name: the word is taken; try {name + '_crm'!r}")
    words = {
        "name": name,
        "class": "".join(part.capitalize() for part in name.split("_")),
        "const": name.upper(),
        "host": name.replace("_", "-"),
    }
    made = {root / path.format(name=name): _text(template, words) for template, path in FILES.items()}
    there = [str(path) for path in made if path.exists()]
    if there:
        raise FileExistsError(f"not overwritten: {', '.join(there)}; remove it first, or choose another name")
    suite = root / SUITE
    if suite.is_file():
        made[suite] = _joined(suite.read_text(encoding="utf-8"), words)
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(made)


def line(name: str) -> str:
    """What enters this connector in the suite, where that is to be done by hand."""
    class_ = "".join(part.capitalize() for part in name.split("_"))
    return f"Test{class_} = conformance({class_}, {name.upper()})"


def _text(template: str, words: dict[str, str]) -> str:
    source = files("connectors") / "_templates" / f"{template}.tmpl"
    return Template(source.read_text(encoding="utf-8")).substitute(words)


def _joined(suite: str, words: dict[str, str]) -> str:
    """The suite with the connector's two imports, in their order, and its line behind the last of its kind."""
    for module, thing in (("connectors.{name}", "{class}"), ("tests.examples.{name}", "{const}")):
        entry = f"from {module} import {thing}\n".format_map(words)
        suite = _put(suite, entry, [f.end() for f in _IMPORT.finditer(suite) if f[1] < module.format_map(words)])
    return _put(suite, f"{line(words['name'])}\n", [f.end() for f in _LINE.finditer(suite)])


def _put(text: str, entry: str, places: list[int]) -> str:
    at = places[-1] if places else len(text)
    return text[:at] + entry + text[at:]
