# SPDX-License-Identifier: Apache-2.0
"""Finding and loading libmom.so, once, when it is first needed.

In this order: the path given to `use_library`, the environment variable MOM_LIBRARY,
the
library that a wheel carries in `mom/_lib`, the build of the checkout that this package
lies in, and the system's.
"""
from __future__ import annotations

import ctypes
import ctypes.util
import os
import struct
import threading
from typing import Any, List, Optional, Tuple

from . import _declare
from ._version import __version__

_lock = threading.Lock()
_loaded: Optional[Any] = None
_chosen: Optional[str] = None
_HERE = os.path.dirname(os.path.abspath(__file__))


def use_library(path: "str | os.PathLike[str]") -> None:
    """Takes the library at `path` instead of looking for one. Before any other call.

    Raises mom.Conflict when a library was loaded already.
    """
    global _chosen
    with _lock:
        if _loaded is not None:
            from .errors import Conflict

            raise Conflict(f"libmom.so is loaded already: {_loaded._name}")
        _chosen = os.fspath(path)


def library() -> Any:
    """The library with its functions declared; loads it when that was not done yet.

    Raises mom.LibraryNotFound, mom.VersionMismatch.
    """
    return _loaded if _loaded is not None else _load()


def library_version() -> str:
    """The version of libmom.so that runs, "0.1.0"."""
    return str(library().mom_version().decode())


def library_path() -> str:
    """Where libmom.so was loaded from."""
    return str(library()._name)


def _load() -> Any:
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _open()
        return _loaded


def _open() -> Any:
    from .errors import LibraryNotFound

    if struct.calcsize("P") != 8:
        raise LibraryNotFound("mom needs a 64-bit Python")
    tried: List[str] = []
    for how, path in _candidates():
        if os.path.isabs(path) and not os.path.exists(path):
            tried.append(f"{how}: {path} is not there")
            if how in ("use_library", "MOM_LIBRARY"):
                break  # whoever names one does not want another
            continue
        try:
            lib = ctypes.CDLL(path)
        except OSError as error:
            tried.append(f"{how}: {error}")
            if how in ("use_library", "MOM_LIBRARY"):
                break
            continue
        return _checked(lib, path)
    raise LibraryNotFound(
        "libmom.so cannot be loaded. Build it (cmake -B build -G Ninja && "
        "ninja -C build) or install it, or name it in the environment variable MOM_LIBRARY. Tried: "
        + "; ".join(tried)
    )


def _candidates() -> List[Tuple[str, str]]:
    if _chosen is not None:
        return [("use_library", os.path.abspath(_chosen))]
    named = os.environ.get("MOM_LIBRARY")
    if named:
        return [("MOM_LIBRARY", os.path.abspath(named))]
    found = [("beside the package", os.path.join(_HERE, "_lib", "libmom.so.0"))]
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(_HERE)))
    if os.path.exists(os.path.join(checkout, "include", "mom", "mom.h")):
        build = os.environ.get("MOM_BUILD_DIR", os.path.join(checkout, "build"))
        found.append(("the build", os.path.join(build, "lib", "libmom.so.0")))
    found.append(("the system", ctypes.util.find_library("mom") or "libmom.so.0"))
    return found


def _checked(lib: ctypes.CDLL, path: str) -> Any:
    """Declares the functions, if the versions fit: before 1.0 the second number
    counts."""
    from .errors import LibraryNotFound, VersionMismatch

    try:
        lib.mom_version.restype = ctypes.c_char_p
        version = str(lib.mom_version().decode())
    except AttributeError:
        raise LibraryNotFound(f"{path} is a library, but not libmom") from None
    if version.split(".")[:2] != __version__.split(".")[:2]:
        raise VersionMismatch(
            f"{path} is version {version}, the Python package {__version__}: install the "
            "package of the library's version, or point MOM_LIBRARY to another library"
        )
    missing = _declare.declare(lib)
    if missing:
        raise VersionMismatch(
            f"{path} has no {', '.join(missing)}: it is older than the Python package"
        )
    return lib
