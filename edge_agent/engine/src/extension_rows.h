/* A block of rows as a Python type: what its files share. A block is used by one thread.
 *
 * extension_rows.c makes it, extension_encode.c takes rows of Python values, extension_score.c has a runtime score them and
 * counts them, extension_look.c shows what became of them, extension_lines.c writes their answers down. */
#ifndef FIELDLOOP_EXTENSION_ROWS_H
#define FIELDLOOP_EXTENSION_ROWS_H

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "extension_objects.h"
#include "rows.h"

/* Buffers of a block: those that are read when it is made, and from ROWS on those that stay. */
enum {
    FLAGS, LIMITS, STARTS, EDGES, OUTPUT_EDGES, DISAGREEMENT_EDGES, MEANS, SLOPES, INTERCEPTS, ROWS, ANSWERS, ENTRY, EXIT,
    N_BUFFERS
};

/* Flags of a feature. */
enum { A_CATEGORY = 1, REFUSES_MISSING = 2, REFUSES_OUTSIDE = 4 };

typedef struct {
    PyObject base;
    fl_rows block;
    PyObject *categories; /* tuple: dict of names to indices, or None */
    uint8_t *flags;
    double *low, *high; /* (n_features): what is in range */
    double *slopes, *grid;
    float *rows;    /* (capacity, n_features) */
    float *entry, *exit;
    Py_buffer kept[N_BUFFERS];
    unsigned int n_kept;
    unsigned int knows_objects; /* whether it reads Python's objects where they lie */
    unsigned int place; /* that was being scored when it failed */
} rows_object;

/* "values" and "number". */
extern PyObject *fl_name_of_values, *fl_name_of_number;

static inline PyObject *fl_none(void)
{
    PyObject *value = &_Py_NoneStruct;
    Py_IncRef(value);
    return value;
}

static inline bool fl_is_place(const rows_object *self, Py_ssize_t place)
{
    if (place >= 0 && place < (Py_ssize_t)self->block.capacity)
        return true;
    if (PyErr_Occurred() == NULL)
        PyErr_Format(PyExc_ValueError, "place %zd of a block of %zd rows", place, (Py_ssize_t)self->block.capacity);
    return false;
}

/* How many rows a list has, that a block can take; -1: none that can be taken. */
static inline Py_ssize_t fl_rows_of(const rows_object *self, PyObject *list)
{
    if (list->ob_type != &PyList_Type) {
        PyErr_SetString(PyExc_TypeError, "rows are a list");
        return -1;
    }
    const Py_ssize_t n = PyList_Size(list);
    return n == 0 || fl_is_place(self, n - 1) ? n : -1;
}

/* An attribute of the row at a place of a list, which is held meanwhile: its class may have code of its own. */
static inline PyObject *fl_of_row(PyObject *list, Py_ssize_t place, PyObject *name)
{
    PyObject *row = PyList_GetItem(list, place);
    if (row == NULL)
        return NULL;
    Py_IncRef(row);
    PyObject *found = PyObject_GetAttr(row, name);
    Py_DecRef(row);
    return found;
}

/* The methods, in the order of edge_agent/engine/face.py. */
PyObject *fl_block_encode(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments);
PyObject *fl_block_put(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments);
PyObject *fl_block_score_each(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments);
PyObject *fl_block_scored(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments);
PyObject *fl_block_settle(PyObject *object, PyObject *argument);
PyObject *fl_block_counts(PyObject *object, PyObject *argument);
PyObject *fl_block_portable(PyObject *object, PyObject *argument);
PyObject *fl_block_forget(PyObject *object, PyObject *argument);
PyObject *fl_block_states(PyObject *object, PyObject *argument);
PyObject *fl_block_answer(PyObject *object, PyObject *argument);
PyObject *fl_block_outputs(PyObject *object, PyObject *argument);
PyObject *fl_block_values(PyObject *object, PyObject *argument);
PyObject *fl_block_packed(PyObject *object, PyObject *argument);
PyObject *fl_block_lines(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments);

#endif
