/* Every object here is made for one record; a failure anywhere lets go of all of it. */
#include "extension_records.h"

#define N_SMALL 1024

/* Most counts are small: they are made once. */
static PyObject *small[N_SMALL];

static PyObject *number_of(int64_t value)
{
    if (value < 0 || value >= N_SMALL)
        return PyLong_FromLongLong(value);
    if (small[value] == NULL)
        small[value] = PyLong_FromLongLong(value);
    if (small[value] != NULL)
        Py_IncRef(small[value]);
    return small[value];
}

static PyObject *nothing(void)
{
    Py_IncRef(&_Py_NoneStruct);
    return &_Py_NoneStruct;
}

/* Put an item, which is the tuple's from then on; false: there is no item, or no tuple. */
static bool is_put(PyObject *tuple, uint32_t at, PyObject *item)
{
    if (item == NULL)
        return false;
    if (tuple == NULL) {
        Py_DecRef(item);
        return false;
    }
    return PyTuple_SetItem(tuple, (Py_ssize_t)at, item) == 0;
}

/* Return a tuple of parts, which are its own from then on; NULL if one of them is, and the others are let go. */
static PyObject *tuple_of(PyObject *const *parts, uint32_t n)
{
    PyObject *made = PyTuple_New((Py_ssize_t)n);
    bool is_whole = made != NULL;
    for (uint32_t i = 0; i < n; i++)
        is_whole = is_put(made, i, parts[i]) && is_whole;
    if (is_whole || made == NULL)
        return made;
    Py_DecRef(made);
    return NULL;
}

/* Call a maker with parts, which are let go of; NULL if one of them is, or anything failed before. */
static PyObject *made_by(PyObject *maker, PyObject *const *parts, uint32_t n)
{
    bool is_whole = PyErr_Occurred() == NULL;
    for (uint32_t i = 0; i < n; i++)
        is_whole = is_whole && parts[i] != NULL;
    PyObject *made = is_whole ? PyObject_Vectorcall(maker, parts, n, NULL) : NULL;
    for (uint32_t i = 0; i < n; i++)
        if (parts[i] != NULL)
            Py_DecRef(parts[i]);
    return made;
}

static PyObject *text_of(const text *value)
{
    return PyUnicode_FromStringAndSize((const char *)value->bytes, (Py_ssize_t)value->size);
}

static PyObject *counts_of(const pack *p, slice counts)
{
    PyObject *made = PyTuple_New((Py_ssize_t)counts.n);
    for (uint32_t i = 0; made != NULL && i < counts.n; i++)
        if (!is_put(made, i, number_of(p->counts[counts.at + i]))) {
            Py_DecRef(made);
            return NULL;
        }
    return made;
}

static PyObject *names_of(const named_counts *named)
{
    PyObject *made = PyTuple_New((Py_ssize_t)named->n);
    for (uint32_t i = 0; made != NULL && i < named->n; i++) {
        PyObject *const pair[] = {text_of(&named->names[i]), number_of(named->counts[i])};
        if (!is_put(made, i, tuple_of(pair, 2))) {
            Py_DecRef(made);
            return NULL;
        }
    }
    return made;
}

static PyObject *latency_of(const window *w)
{
    PyObject *made = PyTuple_New((Py_ssize_t)w->n_pairs);
    for (uint32_t i = 0; made != NULL && i < w->n_pairs; i++) {
        PyObject *const pair[] = {number_of(w->buckets[i]), number_of(w->rows[i])};
        if (!is_put(made, i, tuple_of(pair, 2))) {
            Py_DecRef(made);
            return NULL;
        }
    }
    return made;
}

static PyObject *features_of(PyObject *maker, const pack *p, const window *w)
{
    PyObject *made = PyTuple_New((Py_ssize_t)w->n_features);
    for (uint32_t i = 0; made != NULL && i < w->n_features; i++) {
        const feature *each = &p->features[i];
        PyObject *const parts[] = {counts_of(p, each->counts), number_of(each->missing), number_of(each->outside)};
        if (!is_put(made, i, made_by(maker, parts, 3))) {
            Py_DecRef(made);
            return NULL;
        }
    }
    return made;
}

static PyObject *resources_of(PyObject *maker, const resources *told)
{
    if (!told->is_told)
        return nothing();
    PyObject *const parts[] = {
        number_of(told->rss_bytes),
        PyFloat_FromDouble(told->cpu_s),
        number_of(told->free_disk_bytes),
        told->has_temperature ? PyFloat_FromDouble(told->temperature_c) : nothing(),
        told->throttled < 0 ? nothing() : PyBool_FromLong(told->throttled),
    };
    return made_by(maker, parts, 5);
}

static PyObject *key_of(PyObject *maker, const record_key *key)
{
    PyObject *const parts[] = {number_of(key->epoch), number_of(key->sequence), number_of(key->previous)};
    return made_by(maker, parts, 3);
}

static PyObject *window_of(PyObject *const *makers, const pack *p, const window *w)
{
    PyObject *const bundle[] = {text_of(&w->bundle), number_of((int64_t)w->version)};
    PyObject *const parts[] = {
        made_by(makers[MAKES_BUNDLE], bundle, 2),
        text_of(&w->variant),
        PyFloat_FromDouble(w->started_s),
        PyFloat_FromDouble(w->ended_s),
        number_of(w->first_row),
        number_of(w->last_row),
        number_of(w->rows_scored),
        names_of(&w->refused),
        features_of(makers[MAKES_FEATURE], p, w),
        counts_of(p, w->predictions),
        counts_of(p, w->agreement),
        latency_of(w),
        names_of(&w->errors),
        resources_of(makers[MAKES_RESOURCES], &w->resources),
    };
    return made_by(makers[MAKES_WINDOW], parts, sizeof parts / sizeof *parts);
}

PyObject *make_record(PyObject *const *makers, const pack *p, const window *w)
{
    PyObject *const record[] = {key_of(makers[MAKES_KEY], &w->key), window_of(makers, p, w)};
    return tuple_of(record, 2);
}

PyObject *make_whole(PyObject *const *makers, const pack *p, const window *w, PyObject *payload)
{
    PyObject *const record[] = {key_of(makers[MAKES_KEY], &w->key), window_of(makers, p, w), payload};
    return tuple_of(record, 3);
}
