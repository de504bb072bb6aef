/* Makes records of Python's types of what a pack holds. */
#ifndef FIELDLOOP_EXTENSION_RECORDS_H
#define FIELDLOOP_EXTENSION_RECORDS_H

#if defined(FIELDLOOP_WITH_PYTHON_H)
#define Py_LIMITED_API 0x030c0000
#include <Python.h>
#else
#include "python_abi.h"
#endif

#include "window.h"

/* What makes each part; `broker/messages.py` has them. */
enum maker { MAKES_KEY, MAKES_BUNDLE, MAKES_FEATURE, MAKES_RESOURCES, MAKES_WINDOW, N_MAKERS };

/* Return the tuple (key, window), or NULL with Python's error set. */
PyObject *make_record(PyObject *const *makers, const pack *p, const window *w);
/* Return the tuple (key, window, payload), or NULL with Python's error set; takes the payload over, or its failure. */
PyObject *make_whole(PyObject *const *makers, const pack *p, const window *w, PyObject *payload);

#endif
