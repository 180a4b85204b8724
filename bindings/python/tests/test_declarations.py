# SPDX-License-Identifier: Apache-2.0
"""What ctypes was told is what the headers say."""
from __future__ import annotations

import re
from ctypes import c_bool, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, List, Tuple

import pytest
from conftest import ROOT

import mom
from mom import _declare
from mom import errors

HEADERS = sorted((ROOT / "include" / "mom").glob("*.h"))
pytestmark = pytest.mark.skipif(not HEADERS, reason="not in a checkout")

SCALARS = {"int": "i", "size_t": "z", "uint64_t": "q", "uint32_t": "u", "bool": "b"}
ENUMS = {"mom_role", "mom_log_level", "mom_handled", "mom_from"}


def text_of_headers() -> str:
    text = "".join(header.read_text() for header in HEADERS)
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r"^\s*#define(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.M)


def letter(declared: str) -> str:
    """The letter of _declare for a C type with or without the name of the argument."""
    declared = " ".join(declared.split())
    pointers = declared.count("*")
    if re.fullmatch(r"const char \*\w*", declared):
        return "t"
    if pointers or "_fn" in declared:
        return "p"
    word = declared.split()[0]
    if word == "void":
        return "v"
    return "i" if word in ENUMS else SCALARS[word]


def functions_of_headers() -> Dict[str, str]:
    found = {}
    pattern = r"MOM_API\s+([\w\s*]+?)(mom_\w+)\(([^;]*?)\);"
    for result, name, arguments in re.findall(pattern, text_of_headers()):
        taken = [] if arguments.strip() == "void" else arguments.split(",")
        found[name] = letter(result) + "".join(map(letter, taken))
    return found


def test_every_function_is_declared_as_in_the_headers() -> None:
    headers = functions_of_headers()
    exported = (ROOT / "tests" / "lint" / "exports.txt").read_text().split()
    assert set(headers) == set(exported)
    for name, letters in _declare.FUNCTIONS.items():
        assert headers.get(name) == letters, name


def test_every_other_function_has_a_reason() -> None:
    declared, unused = set(_declare.FUNCTIONS), set(_declare.UNUSED)
    assert not declared & unused
    assert declared | unused == set(functions_of_headers())
    assert all(len(reason) > 10 for reason in _declare.UNUSED.values())


def test_the_parser_sees_a_difference() -> None:
    assert letter("const char *name") == "t"
    assert letter("mom_message *const *messages") == "p"
    assert letter("uint64_t index") == "q"
    assert letter("size_t index") != letter("uint32_t index")


def fields_of_headers(struct: str) -> List[Tuple[str, str, str]]:
    """Type, name and array bound of each member."""
    body = re.search(rf"struct {struct} \{{(.*?)\}}", text_of_headers(), re.S)
    assert body is not None, struct
    found = []
    for member in filter(None, map(str.strip, body[1].split(";"))):
        match = re.fullmatch(r"(.+?[\s*])(\w+)(?:\[(\w+)\])?", " ".join(member.split()))
        assert match is not None, member
        found.append((match[1], match[2], match[3] or ""))
    return found


def kind_of(declared: str, bound: str) -> Any:
    bounds = {"MOM_REPLICAS_MAX": 9, "MOM_MESH_ID_TEXT": 33}
    simple = {"i": c_int, "z": c_size_t, "q": c_uint64, "u": c_uint32, "b": c_bool,
              "t": c_char_p, "p": c_void_p}
    if bound:
        element = c_char if declared.strip() == "char" else simple[letter(declared)]
        return element * bounds.get(bound, int(bound) if bound.isdigit() else 0)
    return simple[letter(declared)]


@pytest.mark.parametrize("struct", sorted(_declare.STRUCTS))
def test_structs_have_the_fields_of_the_headers(struct: str) -> None:
    kind = _declare.STRUCTS[struct]
    expected = [(name, kind_of(declared, bound))
                for declared, name, bound in fields_of_headers(struct)]
    not_terminated = {c_char_p: c_void_p}  # addresses, where no zero follows
    found = list(kind._fields_)
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (name, mine), (_, theirs) in zip(found, expected):
        assert mine in (theirs, not_terminated.get(theirs)), name


def test_constants_are_those_of_the_headers() -> None:
    headers = "".join(header.read_text() for header in HEADERS)
    for name, value in (("MOM_REPLICAS_MAX", _declare.REPLICAS_MAX),
                        ("MOM_MANY_MAX", _declare.MANY_MAX)):
        assert re.search(rf"#define {name}\s+{value}u?\b", headers), name
    assert re.search(r"#define MOM_FOREVER \(-1\)", headers)
    assert f'#define MOM_VERSION_STRING "{mom.__version__}"' in headers


def test_there_is_one_exception_for_each_result_class() -> None:
    header = (ROOT / "include" / "mom" / "error.h").read_text()
    rows = {int(number): name for name, number in re.findall(r"X\((\w+), (\d+),", header)}
    assert len(rows) > 15
    assert {code: kind.result for code, kind in errors.CLASSES.items()} == rows
    for code, kind in errors.CLASSES.items():
        made = errors.error_of(-code, "what", "why")
        assert type(made) is kind
        assert isinstance(made, mom.Error)
        assert "what: why (" in str(made)
        assert kind.__name__ in mom.__all__


def test_builtin_exceptions_are_caught_as_one_guesses() -> None:
    assert issubclass(mom.Timeout, TimeoutError)
    assert issubclass(mom.Invalid, ValueError)
    assert issubclass(mom.NotFound, LookupError)
    assert issubclass(mom.Unavailable, ConnectionError)
