/* A block of rows as a Python type: takes rows of Python values, has a runtime score them, counts them, writes them down.
 *
 * What is unusual in a row is left to Python: `encode` stops at such a row, and edge_agent/scoring/schema.py, which has
 * all the rules and all the words, decides it. A block is used by one thread. */
#include "extension_objects.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "rows.h"

enum { A_CATEGORY = 1, REFUSES_MISSING = 2, REFUSES_OUTSIDE = 4 };

/* Arguments of `rows`, in their order. */
enum { CAPACITY, N_OUTPUTS, N_AGREEMENT, IS_CLASSIFICATION, CATEGORIES, N_NUMBERS };
/* Then buffers: those that are read when the block is made, and from ROWS on those that stay. */
enum {
    FLAGS, LIMITS, STARTS, EDGES, OUTPUT_EDGES, DISAGREEMENT_EDGES, MEANS, SLOPES, INTERCEPTS, ROWS, ANSWERS, ENTRY, EXIT,
    N_BUFFERS
};

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

static PyTypeObject *rows_type;
static PyObject *name_of_values, *name_of_number;

static PyObject *none_again(void)
{
    PyObject *value = &_Py_NoneStruct;
    Py_IncRef(value);
    return value;
}

/* --- encode ----------------------------------------------------------------------------------------------------- */

static bool read_text(PyObject *value, double *number)
{
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(value, &length);
    if (text == NULL) {
        PyErr_Clear();
        return false;
    }
    while (length > 0 && *text == ' ') {
        text++;
        length--;
    }
    if (length == 0) {
        *number = (double)NAN;
        return true;
    }
    if (fl_read_decimal(text, (size_t)length, number))
        return true;
    /* float() takes more than this, and Python shall say what of it is meant; here plain numbers only. */
    for (Py_ssize_t i = 0; i < length; i++)
        if (strchr("0123456789.eE+-", text[i]) == NULL || text[i] == '\0')
            return false;
    *number = PyOS_string_to_double(text, NULL, NULL);
    if (*number == -1.0 && PyErr_Occurred() != NULL) {
        PyErr_Clear();
        return false;
    }
    return true;
}

/* A value that is no float. */
static bool read_value(PyObject *value, double *number)
{
    if (value->ob_type == &PyUnicode_Type)
        return read_text(value, number);
    if (value == &_Py_NoneStruct) {
        *number = (double)NAN;
        return true;
    }
    if (value->ob_type != &PyLong_Type)
        return false;
    *number = PyLong_AsDouble(value);
    if (*number == -1.0 && PyErr_Occurred() != NULL) {
        PyErr_Clear();
        return false;
    }
    return true;
}

static bool read_category(PyObject *value, PyObject *names, double *number)
{
    if (value->ob_type != &PyUnicode_Type)
        return false;
    PyObject *index = PyDict_GetItemWithError(names, value);
    if (index == NULL) {
        PyErr_Clear();
        return false;
    }
    *number = PyFloat_AsDouble(index);
    return true;
}

/* Look at numbers of which one is missing or out of range, each by its rule; false: Python must look at the row. */
static bool judge(rows_object *self, uint32_t place)
{
    const uint32_t n = self->block.n_features;
    const double *values = self->block.values + (size_t)place * n;
    uint8_t *outside = self->block.outside + (size_t)place * n;
    fl_row *row = self->block.rows + place;
    memset(outside, 0, n);
    for (uint32_t i = 0; i < n; i++) {
        if (isnan(values[i])) {
            if (self->flags[i] & REFUSES_MISSING)
                return false;
            row->has_missing = 1;
        } else if (fabs(values[i]) > (double)FLT_MAX) {
            return false;
        } else if (values[i] < self->low[i] || values[i] > self->high[i]) {
            if (self->flags[i] & REFUSES_OUTSIDE)
                return false;
            outside[i] = row->has_outside = 1;
        }
    }
    return true;
}

/* Encode one row into its place; false: Python must look at it. */
static bool take(rows_object *self, uint32_t place, PyObject *raw)
{
    fl_rows *block = &self->block;
    const uint32_t n = block->n_features;
    double *values = block->values + (size_t)place * n;
    fl_row *row = block->rows + place;
    const bool is_list = raw->ob_type == &PyList_Type;
    row->state = FL_ROW_NONE;
    row->has_missing = row->has_outside = 0;
    if (!is_list && raw->ob_type != &PyTuple_Type)
        return false;
    if ((is_list ? PyList_Size(raw) : PyTuple_Size(raw)) != (Py_ssize_t)n)
        return false;
    PyObject *const *items = self->knows_objects ? fl_items(raw, is_list) : NULL;
    for (uint32_t i = 0; i < n; i++) {
        PyObject *value = items ? items[i] : is_list ? PyList_GetItem(raw, i) : PyTuple_GetItem(raw, i);
        if (self->flags[i] & A_CATEGORY) {
            if (!read_category(value, PyTuple_GetItem(self->categories, i), values + i))
                return false;
        } else if (value->ob_type == &PyFloat_Type) {
            values[i] = items ? fl_number(value) : PyFloat_AsDouble(value);
        } else if (!read_value(value, values + i)) {
            return false;
        }
    }
    if (!block->ways->check(values, self->low, self->high, self->rows + (size_t)place * n, n) && !judge(self, place))
        return false;
    row->state = FL_ROW_TAKEN;
    return true;
}

static bool is_place(const rows_object *self, Py_ssize_t place)
{
    if (place >= 0 && place < (Py_ssize_t)self->block.capacity)
        return true;
    if (PyErr_Occurred() == NULL)
        PyErr_Format(PyExc_ValueError, "place %zd of a block of %zd rows", place, (Py_ssize_t)self->block.capacity);
    return false;
}

/* How many rows a list has, that a block can take; -1: none that can be taken. */
static Py_ssize_t rows_of(const rows_object *self, PyObject *list)
{
    if (list->ob_type != &PyList_Type) {
        PyErr_SetString(PyExc_TypeError, "rows are a list");
        return -1;
    }
    const Py_ssize_t n = PyList_Size(list);
    return n == 0 || is_place(self, n - 1) ? n : -1;
}

/* An attribute of the row at a place of a list, which is held meanwhile: its class may have code of its own. */
static PyObject *of_row(PyObject *list, Py_ssize_t place, PyObject *name)
{
    PyObject *row = PyList_GetItem(list, place);
    if (row == NULL)
        return NULL;
    Py_IncRef(row);
    PyObject *found = PyObject_GetAttr(row, name);
    Py_DecRef(row);
    return found;
}

static void empty(rows_object *self, uint32_t place)
{
    /* It may be scored together with its neighbours: zeros are what every model was tried with. */
    self->block.rows[place].state = FL_ROW_NONE;
    memset(self->rows + (size_t)place * self->block.n_features, 0, self->block.n_features * sizeof(float));
}

static PyObject *rows_encode(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    rows_object *self = (rows_object *)object;
    if (n_arguments != 2) {
        PyErr_SetString(PyExc_TypeError, "encode(rows, start)");
        return NULL;
    }
    const Py_ssize_t n = rows_of(self, arguments[0]);
    Py_ssize_t place = PyLong_AsSsize_t(arguments[1]);
    if (n < 0 || PyErr_Occurred() != NULL || (place < n && !is_place(self, place)))
        return NULL;
    for (; place < n && place < PyList_Size(arguments[0]); place++) {
        PyObject *values = of_row(arguments[0], place, name_of_values);
        if (values == NULL)
            return NULL;
        const bool is_taken = take(self, (uint32_t)place, values);
        Py_DecRef(values);
        if (!is_taken) {
            empty(self, (uint32_t)place);
            break;
        }
    }
    return PyLong_FromSsize_t(place);
}

static PyObject *rows_put(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    rows_object *self = (rows_object *)object;
    fl_rows *block = &self->block;
    if (n_arguments != 3 || arguments[1]->ob_type != &PyList_Type || arguments[2]->ob_type != &PyList_Type ||
        PyList_Size(arguments[1]) != (Py_ssize_t)block->n_features) {
        PyErr_SetString(PyExc_TypeError, "put(place, values, out_of_range): two lists");
        return NULL;
    }
    const Py_ssize_t place = PyLong_AsSsize_t(arguments[0]);
    if (!is_place(self, place))
        return NULL;
    fl_row *row = block->rows + place;
    double *values = block->values + (size_t)place * block->n_features;
    uint8_t *outside = block->outside + (size_t)place * block->n_features;
    empty(self, (uint32_t)place);
    memset(outside, 0, block->n_features);
    row->has_missing = row->has_outside = 0;
    for (uint32_t i = 0; i < block->n_features; i++) {
        const double number = PyFloat_AsDouble(PyList_GetItem(arguments[1], i));
        if (number == -1.0 && PyErr_Occurred() != NULL)
            return NULL;
        /* What is rounded to the greatest number of float32 is let pass, as by struct and by the runtimes. */
        if (isinf((float)number)) {
            PyErr_Format(PyExc_OverflowError, "value %zd of the row does not fit into float32", (Py_ssize_t)i);
            return NULL;
        }
        row->has_missing |= isnan(number) != 0;
        values[i] = number;
        self->rows[(size_t)place * block->n_features + i] = (float)number;
    }
    for (Py_ssize_t i = 0; i < PyList_Size(arguments[2]); i++) {
        const Py_ssize_t feature = PyLong_AsSsize_t(PyList_GetItem(arguments[2], i));
        if (feature < 0 || feature >= (Py_ssize_t)block->n_features) {
            if (PyErr_Occurred() == NULL)
                PyErr_SetString(PyExc_ValueError, "no such feature");
            return NULL;
        }
        outside[feature] = row->has_outside = 1;
    }
    row->state = FL_ROW_TAKEN;
    return none_again();
}

/* --- score ------------------------------------------------------------------------------------------------------ */

static bool now(PyObject *clock, double *seconds)
{
    PyObject *time = PyObject_CallObject(clock, NULL);
    if (time == NULL)
        return false;
    *seconds = PyFloat_AsDouble(time);
    Py_DecRef(time);
    return !(*seconds == -1.0 && PyErr_Occurred() != NULL);
}

static PyObject *rows_score_each(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments)
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
    if (PyErr_Occurred() != NULL || (n > 0 && !is_place(self, n - 1)) || start < 0 || !now(arguments[4], &began_s))
        return PyErr_Occurred() != NULL ? NULL : none_again();
    const size_t row_bytes = block->n_features * sizeof(float), answer_bytes = block->n_outputs * sizeof(float);
    for (Py_ssize_t place = start; place < n; place++, began_s = ended_s) {
        fl_row *row = block->rows + place;
        ended_s = began_s;
        if (row->state != FL_ROW_TAKEN)
            continue;
        self->place = (unsigned int)place;
        memcpy(self->entry, self->rows + (size_t)place * block->n_features, row_bytes);
        PyObject *done = PyObject_CallObject(arguments[2], arguments[3]);
        if (done == NULL)
            return NULL;
        Py_DecRef(done);
        memcpy((float *)block->answers + (size_t)place * block->n_outputs, self->exit, answer_bytes);
        if (!now(arguments[4], &ended_s))
            return NULL;
        row->latency_us = (ended_s - began_s) * 1e6 + more_us;
        row->state = FL_ROW_SCORED;
    }
    return none_again();
}

static PyObject *rows_scored(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    rows_object *self = (rows_object *)object;
    if (n_arguments != 2) {
        PyErr_SetString(PyExc_TypeError, "scored(n, latency_us)");
        return NULL;
    }
    const Py_ssize_t n = PyLong_AsSsize_t(arguments[0]);
    const double latency_us = PyFloat_AsDouble(arguments[1]);
    if (PyErr_Occurred() != NULL || (n > 0 && !is_place(self, n - 1)))
        return NULL;
    for (Py_ssize_t place = 0; place < n; place++)
        if (self->block.rows[place].state == FL_ROW_TAKEN) {
            self->block.rows[place].state = FL_ROW_SCORED;
            self->block.rows[place].latency_us = latency_us;
        }
    return none_again();
}

/* --- count ------------------------------------------------------------------------------------------------------ */

static PyObject *rows_settle(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t n = PyLong_AsSsize_t(argument);
    if (PyErr_Occurred() != NULL || (n > 0 && !is_place(self, n - 1)))
        return NULL;
    return PyLong_FromSsize_t(n > 0 ? (Py_ssize_t)fl_rows_settle(&self->block, (uint32_t)n) : 0);
}

static PyObject *rows_counts(PyObject *object, PyObject *unused)
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

static PyObject *rows_portable(PyObject *object, PyObject *unused)
{
    (void)unused;
    ((rows_object *)object)->block.ways = fl_rows_portable();
    ((rows_object *)object)->knows_objects = 0;
    return none_again();
}

static PyObject *rows_forget(PyObject *object, PyObject *unused)
{
    (void)unused;
    fl_rows_clear(&((rows_object *)object)->block);
    return none_again();
}

/* --- look ------------------------------------------------------------------------------------------------------- */

static PyObject *rows_states(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t n = PyLong_AsSsize_t(argument);
    if (PyErr_Occurred() != NULL || (n > 0 && !is_place(self, n - 1)))
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

static PyObject *rows_answer(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t place = PyLong_AsSsize_t(argument);
    if (!is_place(self, place))
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

static PyObject *rows_outputs(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t place = PyLong_AsSsize_t(argument);
    if (!is_place(self, place))
        return NULL;
    const uint32_t n = self->block.n_outputs;
    PyObject *outputs = PyTuple_New(n);
    for (uint32_t o = 0; outputs != NULL && o < n; o++)
        PyTuple_SetItem(outputs, o, PyFloat_FromDouble((double)self->block.answers[(size_t)place * n + o]));
    return outputs;
}

static PyObject *rows_values(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t place = PyLong_AsSsize_t(argument);
    if (!is_place(self, place))
        return NULL;
    const double *values = self->block.values + (size_t)place * self->block.n_features;
    PyObject *tuple = PyTuple_New(self->block.n_features);
    for (uint32_t i = 0; tuple != NULL && i < self->block.n_features; i++)
        PyTuple_SetItem(tuple, i, isnan(values[i]) ? none_again() : PyFloat_FromDouble(values[i]));
    return tuple;
}

static PyObject *rows_packed(PyObject *object, PyObject *argument)
{
    rows_object *self = (rows_object *)object;
    const Py_ssize_t place = PyLong_AsSsize_t(argument);
    const size_t row_bytes = self->block.n_features * sizeof(double);
    if (!is_place(self, place))
        return NULL;
    return PyBytes_FromStringAndSize((const char *)self->block.values + (size_t)place * row_bytes, (Py_ssize_t)row_bytes);
}

/* --- write ------------------------------------------------------------------------------------------------------ */

typedef struct {
    char *bytes;
    size_t used, size;
    bool is_broken;
} text;

static void append(text *to, const char *bytes, size_t n)
{
    if (n == 0)
        return;
    if (to->used + n > to->size) {
        const size_t size = 2 * to->size + n + 4096;
        char *grown = to->is_broken ? NULL : realloc(to->bytes, size);
        if (grown == NULL) {
            to->is_broken = true;
            return;
        }
        to->bytes = grown;
        to->size = size;
    }
    memcpy(to->bytes + to->used, bytes, n);
    to->used += n;
}

static void append_whole(text *to, long long number)
{
    char digits[24];
    size_t at = sizeof digits;
    unsigned long long rest = number < 0 ? 0ULL - (unsigned long long)number : (unsigned long long)number;
    do
        digits[--at] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (number < 0)
        digits[--at] = '-';
    append(to, digits + at, sizeof digits - at);
}

/* A number from 0 to 1, with six places at most. */
static void append_share(text *to, double share)
{
    unsigned long parts = (unsigned long)nearbyint(share * 1e6);
    char digits[9] = "0.000000";
    size_t n = 8;
    digits[0] = parts >= 1000000 ? '1' : '0';
    parts %= 1000000;
    for (size_t at = 7; at > 1; at--, parts /= 10)
        digits[at] = (char)('0' + parts % 10);
    while (n > 3 && digits[n - 1] == '0')
        n--;
    append(to, digits, n);
}

static void append_double(text *to, double number)
{
    char *digits = PyOS_double_to_string(number, 'r', 0, 2 /* Py_DTSF_ADD_DOT_0 */, NULL);
    if (digits == NULL)
        to->is_broken = true;
    else
        append(to, digits, strlen(digits));
    PyMem_Free(digits);
}

static void append_bytes(text *to, PyObject *bytes)
{
    char *characters;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(bytes, &characters, &length) != 0)
        to->is_broken = true;
    else
        append(to, characters, (size_t)length);
}

/* lines(rows, begins, middle, labels): one line of JSON for each row that was counted, as sensing/answer_lines.py says. */
static PyObject *rows_lines(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    rows_object *self = (rows_object *)object;
    const fl_rows *block = &self->block;
    if (n_arguments != 5 || arguments[3]->ob_type != &PyTuple_Type ||
        PyTuple_Size(arguments[3]) != (Py_ssize_t)(block->is_classification ? block->n_outputs : 1)) {
        PyErr_SetString(PyExc_TypeError, "lines(rows, begin, middle, labels, abstain_below)");
        return NULL;
    }
    const double abstain_below = PyFloat_AsDouble(arguments[4]);
    const Py_ssize_t n = rows_of(self, arguments[0]);
    text made = {0};
    if (n < 0 || PyErr_Occurred() != NULL)
        return NULL;
    for (Py_ssize_t place = 0; place < n && !made.is_broken && place < PyList_Size(arguments[0]); place++) {
        const fl_row *row = block->rows + place;
        if (row->state != FL_ROW_COUNTED)
            continue;
        PyObject *number = of_row(arguments[0], place, name_of_number);
        const long long whole = number ? PyLong_AsLongLong(number) : -1;
        Py_DecRef(number);
        if (whole == -1 && PyErr_Occurred() != NULL)
            break;
        const bool abstains = block->is_classification && row->confidence < abstain_below;
        append_bytes(&made, arguments[1]);
        append_whole(&made, whole);
        append(&made, "\",\"row\":", 8);
        append_whole(&made, whole);
        append_bytes(&made, arguments[2]);
        if (abstains)
            append(&made, "\"label\":null", 12);
        else
            append_bytes(&made, PyTuple_GetItem(arguments[3], block->is_classification ? row->label : 0));
        if (!block->is_classification)
            append_double(&made, row->value);
        append(&made, ",\"confidence\":", 14);
        append_share(&made, row->confidence);
        append(&made, abstains ? ",\"abstained\":true}\n" : "}\n", abstains ? 19 : 2);
    }
    PyObject *lines = NULL;
    if (PyErr_Occurred() == NULL)
        lines = made.is_broken ? PyErr_NoMemory() : PyBytes_FromStringAndSize(made.bytes, (Py_ssize_t)made.used);
    free(made.bytes);
    return lines;
}

/* --- make ------------------------------------------------------------------------------------------------------- */

static void rows_dealloc(PyObject *object)
{
    rows_object *self = (rows_object *)object;
    PyTypeObject *type = object->ob_type;
    for (unsigned int i = 0; i < self->n_kept; i++)
        PyBuffer_Release(&self->kept[i]);
    Py_DecRef(self->categories);
    free(self->block.values);
    free(self->block.outside);
    free(self->block.rows);
    free(self->block.second);
    free(self->block.filled);
    free(self->slopes);
    free(self->grid);
    free(self->low);
    free(self->high);
    free(self->block.counts);
    free(self->block.latencies);
    PyObject_Free(object);
    Py_DecRef((PyObject *)type);
}

/* Whether the buffers are of the sizes that the numbers of features, outputs and edges ask for. */
static bool fits(const rows_object *self)
{
    const fl_rows *block = &self->block;
    const Py_buffer *kept = self->kept;
    const Py_ssize_t n = block->n_features, o = block->n_outputs, c = block->capacity;
    const Py_ssize_t d = (Py_ssize_t)sizeof(double), f = (Py_ssize_t)sizeof(float);
    bool is_fit = n > 0 && o > 0 && c > 0 && PyTuple_Size(self->categories) == n && kept[LIMITS].len == 2 * n * d &&
                  kept[STARTS].len == (n + 1) * (Py_ssize_t)sizeof(uint32_t) && kept[MEANS].len == n * d &&
                  kept[SLOPES].len == n * o * d && kept[INTERCEPTS].len == o * d && kept[ROWS].len == c * n * f &&
                  kept[ANSWERS].len == c * o * f && kept[ENTRY].len == n * f && kept[EXIT].len == o * f;
    is_fit = is_fit && block->starts[0] == 0 && kept[EDGES].len == (Py_ssize_t)block->starts[n] * d;
    for (Py_ssize_t i = 0; is_fit && i < n; i++)
        is_fit = block->starts[i] <= block->starts[i + 1];
    const Py_ssize_t n_agreement =
        block->is_classification ? 2 * (Py_ssize_t)FL_CONFIDENCE_BINS : (Py_ssize_t)block->n_disagreement_edges + 1;
    return is_fit && (Py_ssize_t)block->n_agreement == n_agreement && (block->is_classification || o == 1);
}

static uint32_t padded(uint32_t n)
{
    return (n + FL_PADDING - 1) / FL_PADDING * FL_PADDING;
}

/* Lay limits, slopes and edges as they are read fastest; false: there is no memory. */
static bool lay(rows_object *self)
{
    fl_rows *block = &self->block;
    const double *slopes = self->kept[SLOPES].buf, *limits = self->kept[LIMITS].buf;
    const uint32_t n = block->n_features, o = block->n_outputs;
    self->low = calloc(n, sizeof(double));
    self->high = calloc(n, sizeof(double));
    if (self->low == NULL || self->high == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        self->low[i] = limits[2 * i];
        self->high[i] = limits[2 * i + 1];
    }
    block->n_padded = padded(o);
    block->second = calloc(2 * (size_t)block->n_padded, sizeof(double));
    block->filled = calloc(2 * (size_t)n, sizeof(double));
    block->slopes = self->slopes = calloc((size_t)n * block->n_padded, sizeof(double));
    if (block->second == NULL || block->filled == NULL || self->slopes == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++)
        memcpy(self->slopes + (size_t)i * block->n_padded, slopes + (size_t)i * o, o * sizeof(double));
    uint32_t width = 0;
    for (uint32_t i = 0; i < n; i++)
        if (block->starts[i + 1] - block->starts[i] > width)
            width = block->starts[i + 1] - block->starts[i];
    block->grid_width = width = padded(width ? width : 1);
    if (width > FL_MOST_COMPARED)
        return true;
    block->grid = self->grid = calloc((size_t)n * width, sizeof(double));
    for (uint32_t i = 0; self->grid != NULL && i < n; i++)
        for (uint32_t k = 0; k < width; k++)
            self->grid[(size_t)i * width + k] =
                block->starts[i] + k < block->starts[i + 1] ? block->edges[block->starts[i] + k] : (double)INFINITY;
    return self->grid != NULL;
}

PyObject *fl_make_rows(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    (void)module;
    if (n_arguments != N_NUMBERS + N_BUFFERS || arguments[CATEGORIES]->ob_type != &PyTuple_Type) {
        PyErr_SetString(PyExc_TypeError, "rows(...): see edge_agent/engine/rows.py");
        return NULL;
    }
    unsigned long numbers[CATEGORIES];
    for (int i = 0; i < CATEGORIES; i++) {
        numbers[i] = PyLong_AsUnsignedLong(arguments[i]);
        if (PyErr_Occurred() != NULL)
            return NULL;
        if (numbers[i] > 1u << 20) {
            PyErr_SetString(PyExc_ValueError, "rows(...): a number is too large");
            return NULL;
        }
    }
    rows_object *self = (rows_object *)PyType_GenericAlloc(rows_type, 0);
    if (self == NULL)
        return NULL;
    self->categories = arguments[CATEGORIES];
    Py_IncRef(self->categories);
    for (; self->n_kept < N_BUFFERS; self->n_kept++) {
        const int flags = self->n_kept == ANSWERS || self->n_kept == ROWS || self->n_kept == ENTRY ? PyBUF_WRITABLE : PyBUF_SIMPLE;
        if (PyObject_GetBuffer(arguments[N_NUMBERS + self->n_kept], &self->kept[self->n_kept], flags) != 0) {
            Py_DecRef((PyObject *)self);
            return NULL;
        }
    }
    fl_rows *block = &self->block;
    const Py_buffer *kept = self->kept;
    block->ways = fl_rows_fastest();
    self->knows_objects = fl_knows_objects;
    block->capacity = (uint32_t)numbers[CAPACITY];
    block->n_outputs = (uint32_t)numbers[N_OUTPUTS];
    block->n_agreement = (uint32_t)numbers[N_AGREEMENT];
    block->is_classification = numbers[IS_CLASSIFICATION] != 0;
    block->n_features = (uint32_t)kept[FLAGS].len;
    block->n_output_edges = (uint32_t)(kept[OUTPUT_EDGES].len / (Py_ssize_t)sizeof(double));
    block->n_disagreement_edges = (uint32_t)(kept[DISAGREEMENT_EDGES].len / (Py_ssize_t)sizeof(double));
    self->flags = kept[FLAGS].buf;
    block->starts = kept[STARTS].buf;
    block->edges = kept[EDGES].buf;
    block->output_edges = kept[OUTPUT_EDGES].buf;
    block->disagreement_edges = kept[DISAGREEMENT_EDGES].buf;
    block->means = kept[MEANS].buf;
    block->intercepts = kept[INTERCEPTS].buf;
    self->rows = kept[ROWS].buf;
    block->answers = kept[ANSWERS].buf;
    self->entry = kept[ENTRY].buf;
    self->exit = kept[EXIT].buf;
    if (!fits(self)) {
        Py_DecRef((PyObject *)self);
        PyErr_SetString(PyExc_ValueError, "rows(...): parts do not fit each other");
        return NULL;
    }
    block->values = calloc((size_t)block->capacity * block->n_features, sizeof(double));
    block->outside = calloc((size_t)block->capacity * block->n_features, 1);
    block->rows = calloc(block->capacity, sizeof(fl_row));
    block->counts = calloc(fl_rows_counts(block), sizeof(uint64_t));
    block->latencies = calloc(FL_BUCKETS, sizeof(uint32_t));
    block->first_bucket = block->last_bucket = FL_BUCKETS;
    /* No latency equals it. */
    block->latency_us = (double)NAN;
    if (!lay(self) || !block->values || !block->outside || !block->rows || !block->counts || !block->latencies) {
        Py_DecRef((PyObject *)self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

static PyMethodDef rows_methods[] = {
    {"encode", FAST(rows_encode), "Check and encode rows from a place on; return the place of one that Python must look at."},
    {"put", FAST(rows_put), "Take a row that Python encoded."},
    {"score_each", FAST(rows_score_each), "Have a runtime score row by row."},
    {"scored", FAST(rows_scored), "Take the rows' answers as they stand in the answers."},
    {"settle", rows_settle, METH_O, "Decide and count what was scored; return how many rows that were."},
    {"counts", rows_counts, METH_NOARGS, "Return the counts and start anew."},
    {"portable", rows_portable, METH_NOARGS, "Use nothing that not every processor or Python has."},
    {"forget", rows_forget, METH_NOARGS, "Forget the counts."},
    {"states", rows_states, METH_O, "Return what became of each place."},
    {"answer", rows_answer, METH_O, "Return what is known of one scored row."},
    {"outputs", rows_outputs, METH_O, "Return the numbers that the model answered for one scored row."},
    {"values", rows_values, METH_O, "Return a row as it was encoded, None where it is missing."},
    {"packed", rows_packed, METH_O, "Return a row as it was encoded, as bytes of float64."},
    {"lines", FAST(rows_lines), "Write one line for each counted row."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef rows_members[] = {
    {"place", Py_T_UINT, offsetof(rows_object, place), Py_READONLY, NULL},
    {"knows_objects", Py_T_UINT, offsetof(rows_object, knows_objects), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot rows_slots[] = {
    {Py_tp_dealloc, (void *)rows_dealloc},
    {Py_tp_methods, rows_methods},
    {Py_tp_members, rows_members},
    {Py_tp_doc, (void *)"A block of rows; used by one thread."},
    {0, NULL},
};

static PyType_Spec rows_spec = {
    "fieldloop_engine.Rows", sizeof(rows_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, rows_slots,
};

int fl_add_rows(PyObject *module)
{
    if (rows_type == NULL) {
        rows_type = (PyTypeObject *)PyType_FromSpec(&rows_spec);
        name_of_values = PyUnicode_InternFromString("values");
        name_of_number = PyUnicode_InternFromString("number");
    }
    if (rows_type == NULL || name_of_values == NULL || name_of_number == NULL)
        return -1;
    return PyModule_AddObjectRef(module, "Rows", (PyObject *)rows_type);
}
