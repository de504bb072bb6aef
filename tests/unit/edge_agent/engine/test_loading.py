"""The engine is found for the machine, loaded in the way that the interpreter can, and missed with advice."""

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.extensions import takes_extensions
from edge_agent.engine import loading
from edge_agent.engine.compile import SOURCES, sources
from edge_agent.engine.face import INTERFACE
from edge_agent.engine.foreign import ForeignEngine
from edge_agent.engine.library import FILE_NAME, architecture, find_library
from edge_agent.engine.loading import load_engine, load_row_engine


@pytest.mark.parametrize(
    ("machine", "pointer_bytes", "name"),
    [
        ("x86_64", 8, "x86_64"),
        ("AMD64", 8, "x86_64"),
        ("aarch64", 8, "aarch64"),
        ("aarch64", 4, "armv7"),
        ("armv8l", 4, "armv7"),
        ("armv7l", 4, "armv7"),
        ("armv6l", 4, "armv6"),
        ("x86_64", 4, "x86_64-32"),
        ("riscv64", 8, "riscv64-64"),
    ],
)
def test_the_architecture_is_that_of_the_process(machine: str, pointer_bytes: int, name: str):
    assert architecture(machine, pointer_bytes) == name


def test_a_board_of_armv7_runs_what_was_built_for_armv6(tmp_path: Path):
    assert find_library(tmp_path, "armv7") is None
    for name in ("armv6", "armv7"):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE_NAME).touch()
        assert find_library(tmp_path, "armv7") == tmp_path / name / FILE_NAME
    assert find_library(tmp_path, "aarch64") is None


def test_a_machine_without_an_engine_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edge_agent.engine.loading.find_library", lambda: None)
    with pytest.raises(ImportError, match=r"no native engine for .*; build it: .* -m edge_agent\.engine\.compile"):
        load_engine()


@pytest.mark.parametrize("face", ["extension", "ctypes"])
def test_a_file_that_is_no_library_is_an_import_error_with_its_name(tmp_path: Path, face: str):
    path = tmp_path / FILE_NAME
    path.write_bytes(b"no library")
    with pytest.raises(ImportError, match=str(path)):
        load_engine(face, path)  # type: ignore[arg-type]  # a parameter is any text


def test_a_library_of_another_interface_is_refused(monkeypatch: pytest.MonkeyPatch):
    library = find_library()
    assert library is not None
    monkeypatch.setattr("edge_agent.engine.foreign.INTERFACE", INTERFACE + 1)
    with pytest.raises(ImportError, match="build it anew"):
        ForeignEngine(library)


def test_this_interpreter_takes_the_extension():
    assert takes_extensions()
    assert type(load_engine()).__name__ == "module"


def test_an_interpreter_without_the_lock_is_served_by_ctypes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "abiflags", f"{sys.abiflags}t")
    assert not takes_extensions()
    assert isinstance(load_engine(), ForeignEngine)


def test_scoring_imports_neither_numpy_nor_ctypes(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from edge_agent.scoring.native_runtime import NativeRuntime;"
        f"print(NativeRuntime(Path({str(tmp_path / 'model')!r}), 2, 2).score([1.0, 2.0]), 'numpy' in sys.modules,"
        "'ctypes' in sys.modules)"
    )
    from tests.unit.edge_agent.examples import write_native_classifier

    write_native_classifier(tmp_path / "model")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("] False False\n")


def test_the_extension_is_written_for_the_abi_of_this_python(tmp_path: Path):
    headers = Path(sysconfig.get_path("include"))
    compiler = next((c for c in ("/usr/bin/gcc", "/usr/bin/cc", "/usr/bin/clang") if Path(c).exists()), None)
    if compiler is None or not (headers / "Python.h").exists():
        pytest.skip("needs a C compiler and Python.h")
    extension = [path for path in sources() if path.name.startswith("extension")]
    include = [f"-I{headers}", f"-I{extension[0].parent}"]
    # Both at once: a type that differs is an error, and so is a number that is defined anew as another one.
    checked = tmp_path / "checked.c"
    checked.write_text(ABI_CHECK, encoding="ascii")
    for command in (
        [compiler, "-DFIELDLOOP_WITH_PYTHON_H", "-fsyntax-only", *map(str, extension)],
        [compiler, "-c", str(checked), "-o", str(tmp_path / "checked.o")],
    ):
        done = subprocess.run([*command, *include], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not takes_extensions(), reason="this interpreter takes no extension module")
def test_numbers_and_their_lists_lie_where_this_python_says(tmp_path: Path):
    headers = Path(sysconfig.get_path("include"))
    compiler = next((c for c in ("/usr/bin/gcc", "/usr/bin/cc", "/usr/bin/clang") if Path(c).exists()), None)
    if compiler is None or not (headers / "Python.h").exists():
        pytest.skip("needs a C compiler and Python.h")
    checked = tmp_path / "checked.c"
    checked.write_text(LAYOUT_CHECK, encoding="ascii")
    command = [compiler, "-DFIELDLOOP_WITH_PYTHON_H", "-fsyntax-only", f"-I{headers}", f"-I{SOURCES}", str(checked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


# What is read without asking, as this Python's own headers have it.
LAYOUT_CHECK = r"""
#include <Python.h>
#include <stddef.h>
#include "extension_objects.h"
#define SAME(a, b) _Static_assert((a) == (b), #a)
SAME(offsetof(PyFloatObject, ob_fval), offsetof(fl_float_object, number));
SAME(offsetof(PyVarObject, ob_size), offsetof(fl_tuple_object, size));
enum { skipped = offsetof(PyTupleObject, ob_item) - offsetof(fl_tuple_object, items) };
_Static_assert(skipped == 0 || skipped == sizeof(PyObject *), "a tuple's items stand elsewhere");
SAME(offsetof(PyVarObject, ob_size), offsetof(fl_list_object, size));
SAME(offsetof(PyListObject, ob_item), offsetof(fl_list_object, items));
_Static_assert(PY_VERSION_HEX < 0x030f0000, "compare the objects of this Python, then raise FIRST_UNKNOWN");
"""


# Sizes and places of the parts, as this Python's own headers have them, against ours under other names.
ABI_CHECK = r"""
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <structmember.h>
enum { flags_default = Py_TPFLAGS_DEFAULT, flags_no_new = Py_TPFLAGS_DISALLOW_INSTANTIATION };
enum { noargs = METH_NOARGS, one = METH_O, fast = METH_FASTCALL, simple = PyBUF_SIMPLE, writable = PyBUF_WRITABLE,
       with_format = PyBUF_FORMAT, dealloc = Py_tp_dealloc, doc = Py_tp_doc, methods = Py_tp_methods,
       members = Py_tp_members, t_uint = T_UINT, t_ulonglong = T_ULONGLONG, readonly = READONLY };
enum { theirs_object = sizeof(PyObject), theirs_method = sizeof(PyMethodDef), theirs_member = sizeof(PyMemberDef),
       theirs_slot = sizeof(PyType_Slot), theirs_spec = sizeof(PyType_Spec), theirs_def = sizeof(PyModuleDef),
       theirs_def_methods = offsetof(PyModuleDef, m_methods), theirs_buffer = sizeof(Py_buffer),
       theirs_format = offsetof(Py_buffer, format), theirs_internal = offsetof(Py_buffer, internal) };
#undef METH_NOARGS
#undef METH_O
#undef METH_FASTCALL
#undef PyBUF_SIMPLE
#undef PyBUF_WRITABLE
#undef PyBUF_FORMAT
#undef Py_TPFLAGS_DEFAULT
#undef Py_TPFLAGS_DISALLOW_INSTANTIATION
#undef Py_tp_dealloc
#undef Py_tp_doc
#undef Py_tp_methods
#undef Py_tp_members
#undef PYTHON_ABI_VERSION
#define PyObject our_PyObject
#define _object our_object
#define PyTypeObject our_PyTypeObject
#define _typeobject our_typeobject
#define PyCFunction our_PyCFunction
#define PyMethodDef our_PyMethodDef
#define PyMemberDef our_PyMemberDef
#define PyType_Slot our_PyType_Slot
#define PyType_Spec our_PyType_Spec
#define PyModuleDef_Base our_PyModuleDef_Base
#define PyModuleDef our_PyModuleDef
#define Py_buffer our_Py_buffer
#define PyThreadState our_PyThreadState
#define _ts our_ts
#define FIELDLOOP_TYPES_ONLY
#include "python_abi.h"
#define SAME(a, b) _Static_assert((a) == (b), #a)
SAME(theirs_object, sizeof(our_PyObject));
SAME(theirs_method, sizeof(our_PyMethodDef));
SAME(theirs_member, sizeof(our_PyMemberDef));
SAME(theirs_slot, sizeof(our_PyType_Slot));
SAME(theirs_spec, sizeof(our_PyType_Spec));
SAME(theirs_def, sizeof(our_PyModuleDef));
SAME(theirs_def_methods, offsetof(our_PyModuleDef, m_methods));
SAME(theirs_buffer, sizeof(our_Py_buffer));
SAME(theirs_format, offsetof(our_Py_buffer, format));
SAME(theirs_internal, offsetof(our_Py_buffer, internal));
SAME(flags_default, Py_TPFLAGS_DEFAULT);
SAME(flags_no_new, Py_TPFLAGS_DISALLOW_INSTANTIATION);
SAME(noargs, METH_NOARGS);
SAME(one, METH_O);
SAME(fast, METH_FASTCALL);
SAME(simple, PyBUF_SIMPLE);
SAME(writable, PyBUF_WRITABLE);
SAME(with_format, PyBUF_FORMAT);
SAME(dealloc, Py_tp_dealloc);
SAME(doc, Py_tp_doc);
SAME(methods, Py_tp_methods);
SAME(members, Py_tp_members);
SAME(t_uint, Py_T_UINT);
SAME(t_ulonglong, Py_T_ULONGLONG);
SAME(readonly, Py_READONLY);
"""


@pytest.mark.parametrize("change", [("find_library", lambda: None), ("takes_extensions", lambda: False)])
def test_without_an_extension_module_there_are_no_blocks_of_rows(
    change: tuple[str, Callable[[], object]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loading, *change)
    assert load_row_engine() is None


def test_a_library_of_older_sources_or_none_at_all_gives_no_blocks_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    library = tmp_path / FILE_NAME
    library.write_bytes(b"no library")
    monkeypatch.setattr(loading, "find_library", lambda: library)
    assert load_row_engine() is None
    monkeypatch.setattr(loading, "_load_extension", lambda _library: SimpleNamespace(open=None))
    assert load_row_engine() is None
