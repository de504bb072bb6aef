/* Has a runtime score the rows of a block, and counts them. */
#include "extension_rows.h"

static bool now(PyObject *clock, double *seconds)
{
    PyObject *time = PyObject_CallObject(clock, NULL);
    if (time == NULL)
        return false;
    *seconds = PyFloat_AsDouble(time);
    Py_DecRef(time);
    return !(*seconds == -1.0 && PyErr_Occurred() != NULL);
}

PyObject *fl_block_score_each(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    rows_object *self = (rows_object *)object;
    fl_rows *block = &self->block;
    if (n_arguments != 6) {
        PyErr_SetString(PyExc_TypeError, "score_each(start, n, run, arguments, clock, more_us)");
        return NULL;
    }
    const Py_ssize_t start = PyLong_AsSsize_t(arguments[0]), n = PyLong_AsSsize_t(arguments[1]);
    const double more_us = PyFloat_AsDouble(arguments[5]);
    double began_s, ended_s;
    if (PyErr_Occurred() != NULL || (n > 0 && !fl_is_place(self, n - 1)) || start < 0 || !now(arguments[4], &began_s))
        return PyErr_Occurred() != NULL ? NULL : fl_none();
    /* A call of nothing is quicker than one of an empty tuple. */
    PyObject *call_arguments =
        arguments[3]->ob_type == &PyTuple_Type && PyTuple_Size(arguments[3]) == 0 ? NULL : arguments[3];
    const size_t row_bytes = block->n_features * sizeof(float), answer_bytes = block->n_outputs * sizeof(float);
    for (Py_ssize_t place = start; place < n; place++, began_s = ended_s) {
        fl_row *row = block->rows + place;
        ended_s = began_s;
        if (row->state != FL_ROW_TAKEN)
            continue;
        self->place = (unsigned int)place;
        memcpy(self->entry, self->rows + (size_t)place * block->n_features, row_bytes);
        PyObject *done = PyObject_CallObject(arguments[2], call_arguments);
        if (done == NULL)
            return NULL;
        Py_DecRef(done);
        memcpy((float *)block->answers + (size_t)place * block->n_outputs, self->exit, answer_bytes);
        if (!now(arguments[4], &ended_s))
            return NULL;
        row->latency_us = (ended_s - began_s) * 1e6 + more_us;
        row->state = FL_ROW_SCORED;
    }
    return fl_none();
}

PyObject *fl_block_scored(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    rows_object *self = (rows_object *)object;
    if (n_arguments != 2) {
        PyErr_SetString(PyExc_TypeError, "scored(n, latency_us)");
        return NULL;
    }
    const Py_ssize_t n = PyLong_AsSsize_t(arguments[0]);
    const double latency_us = PyFloat_AsDouble(arguments[1]);
    if (PyErr_Occurred() != NULL || (n > 0 && !fl_is_place(self, n - 1)))
        return NULL;
    for (Py_ssize_t place = 0; place < n; place++)
        if (self->block.rows[place].state == FL_ROW_TAKEN) {
            self->block.rows[place].state = FL_ROW_SCORED;
            self->block.rows[place].latency_us = latency_us;
        }
    return fl_none();
}

PyObject *fl_block_settle(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t n = PyLong_AsSsize_t(argument);
    if (PyErr_Occurred() != NULL || (n > 0 && !fl_is_place(self, n - 1)))
        return NULL;
    return PyLong_FromSsize_t(n > 0 ? (Py_ssize_t)fl_rows_settle(&self->block, (uint32_t)n) : 0);
}

PyObject *fl_block_counts(PyObject *object, PyObject *unused)
{
    (void)unused;
    fl_rows *block = &((rows_object *)object)->block;
    PyObject *counts = PyBytes_FromStringAndSize((const char *)block->counts,
                                                 (Py_ssize_t)(fl_rows_counts(block) * sizeof *block->counts));
    const uint32_t first = block->first_bucket;
    const size_t n_buckets = first < FL_BUCKETS ? block->last_bucket - first + 1 : 0;
    PyObject *buckets = PyBytes_FromStringAndSize((const char *)(block->latencies + (n_buckets ? first : 0)),
                                                  (Py_ssize_t)(n_buckets * sizeof *block->latencies));
    PyObject *lowest = PyLong_FromSsize_t((Py_ssize_t)first + FL_FIRST_BUCKET);
    PyObject *all = counts && buckets && lowest ? PyTuple_New(3) : NULL;
    if (all == NULL) {
        Py_DecRef(counts);
        Py_DecRef(buckets);
        Py_DecRef(lowest);
        return NULL;
    }
    PyTuple_SetItem(all, 0, counts);
    PyTuple_SetItem(all, 1, lowest);
    PyTuple_SetItem(all, 2, buckets);
    fl_rows_clear(block);
    return all;
}

PyObject *fl_block_portable(PyObject *object, PyObject *unused)
{
    (void)unused;
    ((rows_object *)object)->block.ways = fl_rows_portable();
    ((rows_object *)object)->knows_objects = 0;
    return fl_none();
}

PyObject *fl_block_forget(PyObject *object, PyObject *unused)
{
    (void)unused;
    fl_rows_clear(&((rows_object *)object)->block);
    return fl_none();
}
