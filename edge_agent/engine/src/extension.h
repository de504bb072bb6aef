/* What the files of the extension module share. */
#ifndef FIELDLOOP_EXTENSION_H
#define FIELDLOOP_EXTENSION_H

#if defined(FIELDLOOP_WITH_PYTHON_H)
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <structmember.h>
#define Py_T_UINT T_UINT
#define Py_T_ULONGLONG T_ULONGLONG
#define Py_READONLY READONLY
#define PyFastFunction _PyCFunctionFast
#else
#include "python_abi.h"
#endif

/* Add the type `Rows` and tell how one is made: `rows(...)`, see extension_rows.c. */
int fl_add_rows(PyObject *module);
PyObject *fl_make_rows(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments);

#endif
