/* Shows what became of the rows of a block, and what was counted, as Python values. */
#include "extension_rows.h"

PyObject *fl_block_states(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t n = PyLong_AsSsize_t(argument);
    if (PyErr_Occurred() != NULL || (n > 0 && !fl_is_place(self, n - 1)))
        return NULL;
    PyObject *states = PyBytes_FromStringAndSize(NULL, n < 0 ? 0 : n);
    char *bytes;
    Py_ssize_t length;
    if (states == NULL || PyBytes_AsStringAndSize(states, &bytes, &length) != 0)
        return NULL;
    for (Py_ssize_t place = 0; place < length; place++)
        bytes[place] = (char)self->block.rows[place].state;
    return states;
}

static PyObject *tuple_of(PyObject *const *items, Py_ssize_t n)
{
    bool is_whole = true;
    for (Py_ssize_t i = 0; i < n; i++)
        is_whole = is_whole && items[i] != NULL;
    PyObject *tuple = is_whole ? PyTuple_New(n) : NULL;
    for (Py_ssize_t i = 0; i < n; i++)
        if (tuple != NULL)
            PyTuple_SetItem(tuple, i, items[i]);
        else
            Py_DecRef(items[i]);
    return tuple;
}

PyObject *fl_block_answer(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t place = PyLong_AsSsize_t(argument);
    if (!fl_is_place(self, place))
        return NULL;
    const fl_row *row = self->block.rows + place;
    PyObject *items[] = {
        PyLong_FromSsize_t((Py_ssize_t)row->label),
        PyFloat_FromDouble(row->value),
        PyFloat_FromDouble(row->confidence),
        PyLong_FromSsize_t(row->agrees),
        PyLong_FromSsize_t((Py_ssize_t)row->agreement),
        PyFloat_FromDouble(row->uncertainty),
        PyFloat_FromDouble(row->latency_us),
    };
    return tuple_of(items, sizeof items / sizeof *items);
}

PyObject *fl_block_outputs(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t place = PyLong_AsSsize_t(argument);
    if (!fl_is_place(self, place))
        return NULL;
    const uint32_t n = self->block.n_outputs;
    PyObject *outputs = PyTuple_New(n);
    for (uint32_t o = 0; outputs != NULL && o < n; o++)
        PyTuple_SetItem(outputs, o, PyFloat_FromDouble((double)self->block.answers[(size_t)place * n + o]));
    return outputs;
}

PyObject *fl_block_values(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t place = PyLong_AsSsize_t(argument);
    if (!fl_is_place(self, place))
        return NULL;
    const double *values = self->block.values + (size_t)place * self->block.n_features;
    PyObject *tuple = PyTuple_New(self->block.n_features);
    for (uint32_t i = 0; tuple != NULL && i < self->block.n_features; i++)
        PyTuple_SetItem(tuple, i, isnan(values[i]) ? fl_none() : PyFloat_FromDouble(values[i]));
    return tuple;
}

PyObject *fl_block_packed(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t place = PyLong_AsSsize_t(argument);
    const size_t row_bytes = self->block.n_features * sizeof(double);
    if (!fl_is_place(self, place))
        return NULL;
    return PyBytes_FromStringAndSize((const char *)self->block.values + (size_t)place * row_bytes, (Py_ssize_t)row_bytes);
}
